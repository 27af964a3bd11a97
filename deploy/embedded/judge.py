"""How well a pair speaks in voices that it never heard: `python -m deploy.embedded.judge HELD_OUT [--pair DIR]`.

HELD_OUT is what `deploy.embedded.corpus --held-out` made. Every voice says unseen sentences after 3 s of one of its own
utterances, and goes on with its own from their first 3 s. Whisper writes down what it hears, and Resemblyzer says
whether the voice is nearer to the prompt's than to any other held-out voice's.
"""

import argparse
import json
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.embedded.figures import spoken
from model.asr import recognition
from model.codec.encodec import FRAME_RATE, SAMPLE_RATE, Codec, load_codec
from model.valle.synthesis import Generated, Request, generate, load_pair
from tasks.audio.audio_files import read
from tasks.audio.resynthesis import decode
from tasks.evaluation import checkpoint_pairs
from tasks.evaluation.judges import load_normalizer, word_errors
from tasks.text.phonemization import phonemize
from tasks.text.sentences import sentences
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS

_RATE = 16_000  # Hz, what the judges hear
_PROMPT = (2.0, 3.6)  # seconds of an utterance that serves whole as a prompt
_BETWEEN = [SYMBOL_IDS[BOUNDARY]]

Voices = dict[str, list[tuple[Path, str]]]  # utterances and their texts, by voice


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description="Measures a pair on held-out voices.")
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--pair", default=checkpoint_pairs.EMBEDDED, help="a folder with ar/ and nar/")
    parser.add_argument("--codec", default="embedded")
    parser.add_argument("--sentences", type=int, default=5, help="that each voice says")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder, codec = checkpoint_pairs.folder(options.pair), load_codec(options.codec)
    pair = load_pair(folder / "ar", folder / "nar").beside(codec.codebooks)
    language = pair.ar.settings.languages[0] if pair.ar.settings.languages else None
    voices = _voices(options.held_out)
    unseen = sentences(4_711 + options.seed, held_out=True)
    asked, texts, names, prompts = [], [], [], {}
    for voice, utterances in voices.items():
        path, heard = next(pair_ for pair_ in utterances if _PROMPT[0] <= _seconds(pair_[0]) <= _PROMPT[1])
        prompts[voice] = read(path, SAMPLE_RATE)
        codes = _codes(codec, prompts[voice])
        for number, text in enumerate(islice(unseen, options.sentences)):
            before = phonemize(heard).phone_ids
            phones = np.array([*before, *_BETWEEN, *phonemize(text).phone_ids], np.uint16)
            seed = options.seed + number
            asked.append(Request(phones, codes, seed, language=language, prompt_phones=len(before)))
            texts.append(text)
            names.append(voice)
    said = generate(pair, asked)
    report = _judged(codec, said, texts) | {"nearest": _nearest(codec, said, names, prompts)}
    rest, whole = _continued(pair, codec, voices, options, language)
    report["continual"] = _judged(codec, rest, whole)
    print(json.dumps(report, indent=1, ensure_ascii=False))


def _voices(folder: Path) -> Voices:
    """Every held-out voice's utterances with their texts."""
    found: Voices = defaultdict(list)
    for path, text in spoken(folder):
        found[path.parent.name].append((path, text))
    return found


def _seconds(path: Path) -> float:
    import soundfile

    return float(soundfile.info(path).duration)


def _codes(codec: Codec, waveform: NDArray[np.float32]) -> NDArray[np.uint16]:
    return codec.encode([torch.from_numpy(waveform)])[0].numpy().astype(np.uint16)


def _continued(
    pair: Any,
    codec: Codec,
    voices: dict[str, list[tuple[Path, str]]],
    options: argparse.Namespace,
    language: str | None,
) -> tuple[list[Generated], list[str]]:
    """Utterances of more than 4 s, gone on with from their first 3 s; the speech is whole, its beginning the truth."""
    asked, texts = [], []
    for utterances in voices.values():
        longer = [one for one in utterances if _seconds(one[0]) > 4]
        for number, (path, text) in enumerate(longer[: options.sentences]):
            codes = _codes(codec, read(path, SAMPLE_RATE))[:, : 3 * FRAME_RATE]
            phones = np.array(phonemize(text).phone_ids, np.uint16)
            asked.append(Request(phones, codes, options.seed + number, language=language))
            texts.append(text)
    said = generate(pair, asked)
    whole = [
        Generated(np.concatenate([request.prompt_codes, speech.codes], axis=1), speech.finished)
        for request, speech in zip(asked, said, strict=True)
    ]
    return whole, texts


def _judged(codec: Codec, said: list[Generated], texts: list[str]) -> dict[str, Any]:
    """WER over all words, an empty piece's words all wrong; and every text beside what was heard."""
    normalize = load_normalizer()
    heard = recognition.transcribe(recognition.warm_asr("embedded"), [_low(codec, one) for one in said], language="en")
    counts = [word_errors(normalize(text), normalize(one.text)) for text, one in zip(texts, heard, strict=True)]
    return {
        "wer": round(sum(errors for errors, _ in counts) / sum(words for _, words in counts), 4),
        "pieces": len(said),
        "empty": sum(one.empty for one in said),
        "endless": sum(one.endless for one in said),
        "heard": [f"{text} | {one.text}" for text, one in zip(texts, heard, strict=True)],
    }


def _low(codec: Codec, said: Generated) -> NDArray[np.float32]:
    import soxr

    if said.empty:
        return np.zeros(_RATE, np.float32)
    return np.asarray(soxr.resample(decode(codec, said.codes), SAMPLE_RATE, _RATE)[: 30 * _RATE], np.float32)


def _nearest(codec: Codec, said: list[Generated], names: list[str], prompts: dict[str, NDArray[np.float32]]) -> float:
    """The share of pieces whose voice is nearer to their prompt's than to any other prompt's."""
    import soxr

    from model.speaker.verification import VoiceEncoder

    listener = VoiceEncoder()
    known = {name: listener.embed(soxr.resample(wave, SAMPLE_RATE, _RATE)) for name, wave in prompts.items()}
    right = 0
    for one, name in zip(said, names, strict=True):
        voice = listener.embed(_low(codec, one))
        right += max(known, key=lambda other: float(known[other] @ voice)) == name
    return round(right / len(said), 3)


if __name__ == "__main__":
    main()
