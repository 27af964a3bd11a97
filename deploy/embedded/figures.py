"""What a codec does to speech: `python -m deploy.embedded.figures CODEC FOLDER [--also FOLDER]`, as JSON.

FOLDER holds speech with `manifest.jsonl` files that carry its texts, such as the held-out voices that
`deploy.embedded.corpus --held-out` made; LibriSpeech's own layout will do as well. Whisper hears each utterance as it
is and through the codec.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.codec.encodec import CODEBOOK_SIZE, SAMPLE_RATE, Codec, load_codec
from tasks.audio.audio_files import read

_RATE = 16_000  # Hz, what the judges hear


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description="Measures a codec on speech with known texts.")
    parser.add_argument("codec", help="a known name, `embedded` or a file")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=100, help="utterances of a folder")
    parser.add_argument("--write", type=Path, help="the codec's .json, to put the first folder's figures into")
    options = parser.parse_args()
    codec = load_codec(options.codec)
    found = {folder.name: measure(codec, list(spoken(folder))[: options.most]) for folder in options.folders}
    print(json.dumps(found, indent=1))
    if options.write:
        described = json.loads(options.write.read_text())
        described["figures"] = found[options.folders[0].name]
        options.write.write_text(json.dumps(described, indent=1) + "\n")


def spoken(folder: Path) -> Iterator[tuple[Path, str]]:
    """Audio files and what is said in them."""
    for manifest in sorted(folder.rglob("manifest.jsonl")):
        for line in manifest.read_text("utf-8").splitlines():
            yield manifest.parent / json.loads(line)["path"], json.loads(line)["text"]
    for texts in sorted(folder.rglob("*.trans.txt")):
        for line in texts.read_text("utf-8").splitlines():
            name, _, text = line.partition(" ")
            yield texts.parent / f"{name}.flac", text


def measure(codec: Codec, speech: list[tuple[Path, str]]) -> dict[str, Any]:
    """Means over utterances; WER over all words; the codebooks' entropies in nats.

    `visqol` is MOS-LQO, 1 to 5, in ViSQOL's speech mode (Chinen et al. 2020, arXiv:2004.09584).
    """
    import soxr
    from pesq import pesq
    from pystoi import stoi
    from visqol import VisqolApi

    from model.speaker.verification import VoiceEncoder

    listener, visqol = VoiceEncoder(), VisqolApi()
    visqol.create(mode="speech", use_lattice_model=True)
    rows: list[dict[str, float]] = []
    heard: dict[str, list[Any]] = {"wer": [], "wer_original": []}
    counts = torch.zeros(codec.num_codebooks, CODEBOOK_SIZE)
    for path, _ in speech:
        original = read(path, SAMPLE_RATE)
        codes = codec.encode([torch.from_numpy(original)])
        for book, used in zip(counts, codes[0], strict=True):
            book += torch.bincount(used, minlength=CODEBOOK_SIZE)
        decoded = codec.decode(codes)[0, 0, : len(original)].numpy()
        low, low_decoded = (soxr.resample(x, SAMPLE_RATE, _RATE) for x in (original, decoded))
        heard["wer"].append(low_decoded)
        heard["wer_original"].append(low)
        voices = [listener.embed(x) for x in (low, low_decoded)]
        rows.append(
            {
                "stoi": stoi(original, decoded, SAMPLE_RATE),
                "pesq": pesq(_RATE, low, low_decoded, "wb"),
                "visqol": visqol.measure_from_arrays(low, low_decoded, _RATE).moslqo,
                "speaker_similarity": float(voices[0] @ voices[1]),
            }
        )
    texts = [text for _, text in speech]
    figures = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    figures |= {name: round(wer(texts, waveforms), 4) for name, waveforms in heard.items()}
    shares = counts / counts.sum(1, keepdim=True)
    entropies = [round(float(nats), 2) for nats in torch.special.entr(shares).sum(1)]
    return {"utterances": len(rows)} | figures | {"entropy": entropies}


def wer(texts: list[str], waveforms: list[NDArray[np.float32]]) -> float:
    """What the embedded Whisper mishears, as a share of the words."""
    from model.asr import recognition
    from tasks.evaluation.judges import load_normalizer, word_errors

    normalize = load_normalizer()
    found = recognition.transcribe(recognition.warm_asr("embedded"), waveforms, language="en")
    pairs = zip(texts, found, strict=True)
    counts = [word_errors(normalize(text), normalize(transcript.text)) for text, transcript in pairs]
    return sum(errors for errors, _ in counts) / sum(words for _, words in counts)


if __name__ == "__main__":
    main()
