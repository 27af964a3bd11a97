"""Trains the small EnCodec that ships in model/embedded, on a CPU in two hours: `python -m deploy.embedded.codec`.

Four phases. `start`: the weights of a linear transform codec (`klt.py`) and codebooks from k-means over its latents;
no gradient, and a codec already. `decoder`: the decoder alone learns to undo the quantization. `all`: encoder,
codebooks and decoder together, the quantizer passed straight through. `finish`: the encoder's moving average stays as
it is, k-means fits the codebooks to it, the decoder follows with a falling rate. What ships is a moving average.
The surprising fact: no start from random weights that was tried left the mean of the signal in time; from a transform,
the codec was there before the first gradient. The card, `encodec.md`, tells what else was tried.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3, without its discriminators.

A state is saved as it goes; the same command takes it up again, and nothing random outlives a step.
Shapes: B batch, N samples, D width, M latents.
"""

import argparse
import json
import logging
import os
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from deploy.embedded.codebooks import Codebooks
from deploy.embedded.klt import start_from_transform
from deploy.embedded.losses import losses
from deploy.embedded.speech import HELD_OUT_VOICES, TRAIN_VOICES, sentences, speak
from model.codec import CODEBOOK_SIZE, EMBEDDED, FRAME_RATE, HOP, SAMPLE_RATE, Shape, build, load_codec

SHAPE = Shape(n_filters=12, dimension=128, lstm=2, norm="none", num_codebooks=8)

_SENTENCES = 24  # of each voice and worker
_KLT_SECONDS = 600
_KMEANS_FRAMES = 80_000
_EMA = 0.998  # of the weights
_WARM_UP = 50  # steps, at the beginning of each phase


def main() -> None:
    options = _options()
    if options.export:
        export(options.state, options.export)
    elif options.workers == 1:
        _work(0, options)
    else:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29517")
        torch.multiprocessing.spawn(_work, (options,), nprocs=options.workers)  # type: ignore[no-untyped-call]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the embedded EnCodec; run again to go on.")
    parser.add_argument("--state", type=Path, default=Path(".work/codec"), help="folder of the state and its speech")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread that share each step")
    parser.add_argument("--decoder-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, default=7_800, help="to the end of the phase `all`")
    parser.add_argument("--finish-steps", type=int, default=900)
    parser.add_argument("--decoder-rate", type=float, default=5e-4, help="Adam's, at a phase's height")
    parser.add_argument("--encoder-rate", type=float, default=1.5e-4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--wave", type=float, default=0.5)
    parser.add_argument("--linear", type=float, default=1.0)
    parser.add_argument("--envelope", type=float, default=1.0)
    parser.add_argument("--mel", type=float, default=0.5)
    parser.add_argument("--correlation", type=float, default=2.0)
    parser.add_argument("--commitment", type=float, default=2.0)
    parser.add_argument("--every", type=int, default=100, help="steps between saved states")
    parser.add_argument("--export", type=Path, nargs="?", const=EMBEDDED, help="write the weights and their figures")
    return parser.parse_args()


# speech


def training_speech(folder: Path, rank: int) -> NDArray[np.int16]:
    """Every training voice, `[N]`, kept in a file of its own: two workers never speak the same sentences."""
    path = folder / f"speech-{rank}.npy"
    if not path.exists():
        pieces = [
            speak(text, voice)
            for i, voice in enumerate(TRAIN_VOICES)
            for text in islice(sentences(1000 * rank + i), _SENTENCES)
        ]
        np.save(path, (np.concatenate(pieces) * 32767).astype(np.int16))
    speech: NDArray[np.int16] = np.load(path)
    return speech


def crops(speech: NDArray[np.int16], pick: np.random.Generator, batch: int, seconds: float) -> Tensor:
    """Waveforms `[B, 1, N]` from anywhere, at -4 to 2 dB of their loudness."""
    length = int(seconds * FRAME_RATE) * HOP
    begins = pick.integers(0, len(speech) - length, batch)
    gains = 10 ** (pick.uniform(-4, 2, (batch, 1, 1)) / 20)
    wav = np.stack([speech[b : b + length] for b in begins])[:, None] / 32768 * gains
    return torch.from_numpy(np.clip(wav, -1, 1).astype(np.float32))


def held_out_speech(per_voice: int) -> list[NDArray[np.float32]]:
    """Unseen sentences of voices that no training heard."""
    return [
        speak(text, voice)
        for i, voice in enumerate(HELD_OUT_VOICES)
        for text in islice(sentences(i, held_out=True), per_voice)
    ]


# training


def start(state: Path, speech: NDArray[np.int16]) -> None:
    """The phase without gradients: the transform of speech, and codebooks for its latents."""
    torch.manual_seed(0)
    model = build(SHAPE)
    length = min(_KLT_SECONDS * SAMPLE_RATE, len(speech) // HOP * HOP)
    wav = torch.from_numpy(speech[:length].astype(np.float32) / 32768)
    start_from_transform(model.encoder, model.decoder, wav)
    codebooks = Codebooks(torch.zeros(SHAPE.num_codebooks, CODEBOOK_SIZE, SHAPE.dimension))
    codebooks.fit(latents_of(model.encoder, speech), anew=True)
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    values = {"parameters": parameters, "average": parameters, "codes": codebooks.codes, "mass": codebooks.mass}
    _save(state, {"step": 0, "optimizer": None, **values})


@torch.no_grad()
def latents_of(encoder: Any, speech: NDArray[np.int16]) -> Tensor:
    """Latents `[M, D]` of crops from all of the speech, for k-means."""
    pick = np.random.default_rng(0)
    rounds = range(_KMEANS_FRAMES // (16 * 2 * FRAME_RATE))
    return torch.cat([encoder(crops(speech, pick, 16, 2.0)).transpose(1, 2).flatten(0, 1) for _ in rounds])


def train(options: argparse.Namespace, rank: int, speech: NDArray[np.int16]) -> None:
    """The phases with gradients, from the saved state on; workers share each step."""
    state = torch.load(options.state / "state.pt")
    model = build(SHAPE)
    codebooks = Codebooks(state["codes"], state["mass"])
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    parameters, average = [*encoder, *decoder], state["average"]
    _copy(state["parameters"], parameters)
    optimizer = torch.optim.Adam([{"params": encoder}, {"params": decoder}], betas=(0.8, 0.99))
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    ends = {"decoder": options.decoder_steps, "all": options.steps, "finish": options.steps + options.finish_steps}
    rows: list[dict[str, float]] = []
    began = time.time()
    for step in range(state["step"], ends["finish"]):
        torch.manual_seed(step)
        phase = next(name for name, end in ends.items() if step < end)
        if step == ends["all"]:
            _copy(average, parameters)
            if rank == 0:
                codebooks.fit(latents_of(model.encoder, speech))
            _broadcast(codebooks.codes, options.workers)
        for parameter in encoder:
            parameter.requires_grad_(phase == "all")
        for group, rate in zip(optimizer.param_groups, learning_rates(step, phase, ends, options), strict=True):
            group["lr"] = rate
        wav = crops(speech, np.random.default_rng((step, rank)), options.batch, options.seconds)
        latents, commitment, chosen, spare = codebooks.quantize(model.encoder(wav))
        parts = losses(model.decoder(latents), wav) | {"commitment": commitment}
        optimizer.zero_grad()
        torch.stack([getattr(options, name) * part for name, part in parts.items()]).sum().backward()
        _share([p.grad for p in parameters if p.grad is not None] + [chosen], options.workers)
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        if phase == "all":
            _broadcast(spare, options.workers)
            codebooks.follow(chosen, spare)
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(_EMA, (1 + step) / (10 + step)))
        rows.append({name: part.item() for name, part in parts.items()})
        if rank == 0 and (step + 1) % options.every == 0:
            _log(options.state, {"step": step + 1, "phase": phase}, rows, time.time() - began)
            saved = {"parameters": parameters, "average": average, "codes": codebooks.codes, "mass": codebooks.mass}
            _save(options.state, {"step": step + 1, "optimizer": optimizer.state_dict(), **saved})
            rows.clear()


def learning_rates(step: int, phase: str, ends: dict[str, int], options: argparse.Namespace) -> tuple[float, float]:
    """Of the encoder and the decoder: warm at the beginning of a phase, falling to a twentieth while finishing."""
    begin = {"decoder": 0, "all": ends["decoder"], "finish": ends["all"]}[phase]
    share = min(1.0, (1 + step - begin) / _WARM_UP)
    if phase == "finish":
        share *= 1 - 0.95 * (step - begin) / (ends["finish"] - begin)
    return (options.encoder_rate if phase == "all" else 0.0) * share, options.decoder_rate * share


def _work(rank: int, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options.state.mkdir(parents=True, exist_ok=True)
    if options.workers > 1:
        distributed.init_process_group("gloo", rank=rank, world_size=options.workers)
    speech = training_speech(options.state, rank)
    if rank == 0 and not (options.state / "state.pt").exists():
        start(options.state, speech)
    if options.workers > 1:
        distributed.barrier()
    train(options, rank, speech)


def _share(tensors: list[Tensor], workers: int) -> None:
    """Every worker's tensors become their mean."""
    if workers > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / workers).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _broadcast(tensor: Tensor, workers: int) -> None:
    if workers > 1:
        distributed.broadcast(tensor, 0)


def _copy(source: list[Tensor], target: list[Any]) -> None:
    with torch.no_grad():
        for to, value in zip(target, source, strict=True):
            to.copy_(value)


def _save(state: Path, values: dict[str, Any]) -> None:
    fresh = state / "state.pt.new"
    torch.save(values | {name: [p.detach() for p in values[name]] for name in ("parameters", "average")}, fresh)
    fresh.replace(state / "state.pt")


def _log(state: Path, row: dict[str, Any], rows: list[dict[str, float]], seconds: float) -> None:
    """A line of the log: the means of every loss, each worker's own speech aside."""
    means = {name: round(float(np.mean([each[name] for each in rows])), 4) for name in rows[0]}
    line = json.dumps(row | means | {"seconds": round(seconds)})
    logging.getLogger("codec").info(line)
    with (state / "log.jsonl").open("a") as file:
        file.write(line + "\n")


# what ships


def export(state: Path, path: Path) -> None:
    """The moving average as fp16 safetensors, its shape beside it, and figures on what no training heard."""
    from safetensors.torch import save

    saved = torch.load(state / "state.pt")
    model = build(SHAPE)
    _copy(saved["average"], [*model.encoder.parameters(), *model.decoder.parameters()])
    for layer, codes in zip(model.quantizer.vq.layers, saved["codes"], strict=True):
        layer._codebook.embed.copy_(codes)
        layer._codebook.inited.fill_(1)
    training_only = ("embed_avg", "cluster_size")
    tensors = {
        name: t.half().contiguous() for name, t in model.state_dict().items() if not name.endswith(training_only)
    }
    path.write_bytes(save(tensors))
    described = {"shape": asdict(SHAPE)}
    path.with_suffix(".json").write_text(json.dumps(described))
    described["figures"] = {"step": saved["step"], **evaluate(path)}
    path.with_suffix(".json").write_text(json.dumps(described, indent=2) + "\n")
    print(json.dumps(described["figures"]))


def evaluate(path: Path) -> dict[str, Any]:
    """STOI, PESQ (wide band), signal-to-noise ratio and speaker similarity of decoded speech; use of the codebooks."""
    import soxr
    from pesq import pesq
    from pystoi import stoi
    from resemblyzer import VoiceEncoder

    codec, listener = load_codec(path), VoiceEncoder("cpu", verbose=False)
    rows, counts = [], torch.zeros(SHAPE.num_codebooks, CODEBOOK_SIZE)
    for speech in held_out_speech(per_voice=5):
        codes = codec.encode([torch.from_numpy(speech)])
        for book, used in zip(counts, codes[0], strict=True):
            book += torch.bincount(used, minlength=CODEBOOK_SIZE)
        decoded = codec.decode(codes)[0, 0, : len(speech)].numpy()
        low, low_decoded = (soxr.resample(x, SAMPLE_RATE, 16_000) for x in (speech, decoded))
        voices = [listener.embed_utterance(x) for x in (low, low_decoded)]
        rows.append(
            {
                "stoi": stoi(speech, decoded, SAMPLE_RATE),
                "pesq": pesq(16_000, low, low_decoded, "wb"),
                "snr_db": 10 * np.log10(np.sum(speech**2) / np.sum((decoded - speech) ** 2)),
                "speaker_similarity": float(voices[0] @ voices[1]),
            }
        )
    shares = counts / counts.sum(1, keepdim=True)
    figures = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    worst = {"stoi_worst": round(float(min(row["stoi"] for row in rows)), 3)}
    return figures | worst | {"perplexity": [round(float(p)) for p in torch.special.entr(shares).sum(1).exp()]}


if __name__ == "__main__":
    main()
