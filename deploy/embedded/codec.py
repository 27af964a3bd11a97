"""Trains the small EnCodec that ships in model/embedded, on a CPU in two hours: `python -m deploy.embedded.codec`.

Three phases, and the first does most of the work. `start`: the weights of a linear transform codec (`klt.py`) and
codebooks from k-means over its latents; no gradient. `decoder`: the decoder alone learns to undo the quantization.
`all`: encoder, codebooks and decoder together, the quantizer passed straight through. What ships is a moving average.
The surprising fact: codes must not be Adam's to move. A code is chosen once in a few steps, which makes Adam's step
for it tens of times too long, and the codebooks dissolve; moving means stay.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3, without its discriminators.

A state is saved as it goes; the same command takes it up again. Shapes: B batch, N samples, D width, T frames.
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
from torch.nn import functional as F

from deploy.embedded.klt import start_from_transform
from deploy.embedded.speech import HELD_OUT_VOICES, TRAIN_VOICES, sentences, speak
from model.codec import CODEBOOK_SIZE, EMBEDDED, FRAME_RATE, HOP, SAMPLE_RATE, Shape, build, load_codec

SHAPE = Shape(n_filters=12, dimension=128, lstm=2, norm="none", num_codebooks=8)

_SENTENCES = 24  # of each voice and worker
_KLT_SECONDS = 600
_KMEANS_FRAMES, _KMEANS_ROUNDS = 80_000, 6
_EMA = 0.998
_WARM_UP = 50  # steps, at the beginning of each phase
_WINDOWS = {256: 24, 512: 40, 1024: 64, 2048: 80}  # samples of an STFT to its number of mel bands


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
    parser.add_argument("--decoder-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--decoder-rate", type=float, default=5e-4)
    parser.add_argument("--encoder-rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--wave", type=float, default=0.3)
    parser.add_argument("--linear", type=float, default=1.0)
    parser.add_argument("--mel", type=float, default=1.0)
    parser.add_argument("--commitment", type=float, default=0.5)
    parser.add_argument("--every", type=int, default=100, help="steps between saved states")
    parser.add_argument("--export", type=Path, nargs="?", const=EMBEDDED, help="write the weights and their card")
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


# the quantizer while it learns


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Indices `[M]` of the codes `[K, D]` nearest to vectors `[M, D]`."""
    norms = codebook.pow(2).sum(1)
    return torch.cat([(norms - 2 * part @ codebook.T).argmin(1) for part in vectors.split(8192)])


def frame_weights(latents: Tensor) -> Tensor:
    """How much the error of each latent `[M, D]` counts: a loud frame less than its energy says."""
    return (latents.pow(2).sum(1) + 0.1).rsqrt()


def kmeans_codebooks(latents: Tensor) -> Tensor:
    """Residual codebooks `[Q, K, D]` of latents `[M, D]`."""
    weights = frame_weights(latents)
    residual, codebooks = latents, []
    for _ in range(SHAPE.num_codebooks):
        codes = residual[torch.multinomial(weights, CODEBOOK_SIZE)].clone()
        for _ in range(_KMEANS_ROUNDS):
            owner = nearest(residual, codes)
            mass = torch.zeros(CODEBOOK_SIZE).index_add_(0, owner, weights)
            sums = torch.zeros_like(codes).index_add_(0, owner, residual * weights[:, None])
            orphans = residual[torch.multinomial(weights, CODEBOOK_SIZE)]
            codes = torch.where(mass[:, None] > 0, sums / mass[:, None].clamp(min=1e-9), orphans)
        codebooks.append(codes)
        residual = residual - codes[nearest(residual, codes)]
    return torch.stack(codebooks)


class Codebooks:
    """Residual codebooks that follow their latents: each code is the moving mean of what it was chosen for."""

    def __init__(self, codes: Tensor, mass: Tensor | None = None) -> None:
        self.codes = codes  # [Q, K, D]
        self.mass = torch.full(codes.shape[:2], 0.3) if mass is None else mass  # [Q, K], latents a step

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents `[B, D, T]` quantized and passed straight through, their commitment loss, and what `follow` takes."""
        flat = latents.transpose(1, 2).flatten(0, 1)
        residual, total = flat.detach(), torch.zeros_like(flat.detach())
        weights = frame_weights(residual)
        weights = weights / weights.mean()
        seen = torch.zeros(*self.mass.shape, flat.shape[1] + 1)
        for codes, found in zip(self.codes, seen, strict=True):
            owner = nearest(residual, codes)
            found.index_add_(0, owner, weights[:, None] * F.pad(residual, (1, 0), value=1.0))
            total = total + codes[owner]
            residual = residual - codes[owner]
        distances, energies = (flat - total).pow(2).sum(1), flat.detach().pow(2).sum(1)
        commitment = (weights * distances).sum() / (weights * energies).sum()
        straight = flat + (total - flat).detach()
        return straight.unflatten(0, (len(latents), -1)).transpose(1, 2), commitment, seen

    def follow(self, seen: Tensor) -> None:
        """Moves the codes by one step's `[Q, K, 1 + D]`: weights of the latents that chose each, and their sum."""
        mass = _EMA * self.mass + (1 - _EMA) * seen[..., 0]
        sums = _EMA * self.mass[..., None] * self.codes + (1 - _EMA) * seen[..., 1:]
        self.codes, self.mass = sums / mass[..., None].clamp(min=1e-9), mass


# losses


def mel_bands(window: int, bands: int) -> Tensor:
    """Triangles `[bands, window / 2 + 1]` on the mel scale from 0 to 12 kHz, each of unit sum."""
    edges = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + 12_000 / 700), bands + 2) / 2595) - 1)
    hertz = torch.linspace(0, 12_000, window // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clamp(min=0)
    return triangles / triangles.sum(1, keepdim=True).clamp(min=1e-3)


def magnitudes(wav: Tensor, window: int) -> Tensor:
    """STFT magnitudes `[B, F, frames]`; the epsilon keeps the root's gradient finite in silence."""
    padded = F.pad(wav.squeeze(1), (window // 2, window // 2))
    spectrum = torch.stft(
        padded, window, window // 4, window=torch.hann_window(window), center=False, return_complex=True
    )
    return torch.view_as_real(spectrum).pow(2).sum(-1).add(1e-9).sqrt()


def losses(decoded: Tensor, wav: Tensor, bands: dict[int, Tensor]) -> dict[str, Tensor]:
    """What separates decoded speech from speech, each relative to the waveform's own loudness.

    `wave`: log10 of the noise-to-signal ratio. `linear`: the STFT magnitudes' difference as a share. `mel`: log10 mel
    bands, with an epsilon inside the logarithm, since a clamp starves the gradient.
    """
    noise, energy = (decoded - wav).pow(2).mean((1, 2)), wav.pow(2).mean((1, 2))
    linear = mel = torch.zeros(())
    for window, triangles in bands.items():
        truth, guess = magnitudes(wav, window), magnitudes(decoded, window)
        linear = linear + ((truth - guess).abs().sum((1, 2)) / (truth.sum((1, 2)) + 0.5)).mean() / len(bands)
        difference = torch.log10(triangles @ truth + 1e-2) - torch.log10(triangles @ guess + 1e-2)
        mel = mel + difference.abs().mean() / len(bands)
    return {"wave": torch.log10((noise + 1e-6) / (energy + 1e-6)).mean(), "linear": linear, "mel": mel}


# training


def start(state: Path, speech: NDArray[np.int16]) -> None:
    """The phase without gradients: the transform of speech, and codebooks for its latents."""
    torch.manual_seed(0)
    model = build(SHAPE)
    length = min(_KLT_SECONDS * SAMPLE_RATE, len(speech) // HOP * HOP)
    wav = torch.from_numpy(speech[:length].astype(np.float32) / 32768)
    start_from_transform(model.encoder, model.decoder, wav)
    pick = np.random.default_rng(0)
    with torch.no_grad():
        rounds = range(_KMEANS_FRAMES // (16 * 2 * FRAME_RATE))
        latents = [model.encoder(crops(speech, pick, 16, 2.0)).transpose(1, 2).flatten(0, 1) for _ in rounds]
        codebooks = Codebooks(kmeans_codebooks(torch.cat(latents)))
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    values = {"parameters": parameters, "average": parameters, "codes": codebooks.codes, "mass": codebooks.mass}
    _save(state, {"step": 0, "optimizer": None, **values})


def train(options: argparse.Namespace, rank: int, speech: NDArray[np.int16]) -> None:
    """The phases `decoder` and `all`, from the saved state to `options.steps`; workers average their gradients."""
    state = torch.load(options.state / "state.pt")
    model = build(SHAPE)
    codebooks = Codebooks(state["codes"], state["mass"])
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    parameters, average = [*encoder, *decoder], state["average"]
    _copy(state["parameters"], parameters)
    optimizer = torch.optim.Adam([{"params": encoder}, {"params": decoder}], betas=(0.8, 0.99))
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    bands = {window: mel_bands(window, count) for window, count in _WINDOWS.items()}
    seen: list[dict[str, float]] = []
    began = time.time()
    for step in range(state["step"], options.steps):
        alone = step < options.decoder_steps
        for parameter in encoder:
            parameter.requires_grad_(not alone)
        warm = min(1.0, (1 + step - (0 if alone else options.decoder_steps)) / _WARM_UP)
        optimizer.param_groups[0]["lr"] = options.encoder_rate * warm
        optimizer.param_groups[1]["lr"] = options.decoder_rate * warm
        wav = crops(speech, np.random.default_rng((step, rank)), options.batch, options.seconds)
        latents, commitment, chosen = codebooks.quantize(model.encoder(wav))
        parts = losses(model.decoder(latents), wav, bands)
        loss = options.wave * parts["wave"] + options.linear * parts["linear"] + options.mel * parts["mel"]
        optimizer.zero_grad()
        (loss + options.commitment * commitment).backward()
        _share([p.grad for p in parameters if p.grad is not None] + [chosen], options.workers)
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        if not alone:
            codebooks.follow(chosen)
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(_EMA, (1 + step) / (10 + step)))
        seen.append({name: part.item() for name, part in parts.items()} | {"commitment": commitment.item()})
        if rank == 0 and (step + 1) % options.every == 0:
            means = {name: round(float(np.mean([row[name] for row in seen])), 4) for name in seen[0]}
            _log(
                options.state, {"step": step + 1, "phase": "decoder" if alone else "all", **means}, time.time() - began
            )
            saved = {"parameters": parameters, "average": average, "codes": codebooks.codes, "mass": codebooks.mass}
            _save(options.state, {"step": step + 1, "optimizer": optimizer.state_dict(), **saved})
            seen.clear()


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


def _copy(source: list[Tensor], target: list[Any]) -> None:
    with torch.no_grad():
        for to, value in zip(target, source, strict=True):
            to.copy_(value)


def _save(state: Path, values: dict[str, Any]) -> None:
    fresh = state / "state.pt.new"
    torch.save(values | {name: [p.detach() for p in values[name]] for name in ("parameters", "average")}, fresh)
    fresh.replace(state / "state.pt")


def _log(state: Path, row: dict[str, Any], seconds: float) -> None:
    logging.getLogger("codec").info("%s %.0f s", row, seconds)
    with (state / "log.jsonl").open("a") as file:
        file.write(json.dumps(row | {"seconds": round(seconds)}) + "\n")


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
    path.with_suffix(".json").write_text(json.dumps({"shape": asdict(SHAPE)}, indent=2) + "\n")
    figures = {"step": saved["step"], "bytes": path.stat().st_size, **evaluate(path)}
    print(json.dumps(figures, indent=2))


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
