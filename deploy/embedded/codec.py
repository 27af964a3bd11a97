"""Trains the EnCodec that ships in model/embedded: `python -m deploy.embedded.codec FOLDER`; run again, it goes on.

Its codes are to be learnt by a language model, so its latents carry spectrum and no phase: the encoder is taught the
logarithm of 80 mel bands, by its own causal view (a window that ends where the frame ends), and the decoder invents a
phase. Four phases. `encoder`: mean squared error to those bands. `books`: residual k-means over the encoder's latents;
from here on codes stay what they are, so a VALL-E may be trained while the decoder goes on. `decoder`: quantized
latents back to speech, by spectral losses (`losses.py`). `adversary`: the same, judged by EnCodec's own STFT
discriminator, which takes the buzz away. What ships is a moving average. `--start` goes on from a codec that has
its encoder and books already, and on a GPU the crops are disturbed by processes beside it.

Random weights learn at once if each layer keeps the variance of what passes it and speech enters with about unit
variance; with PyTorch's own they stay at the mean for hundreds of steps.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3.

Shapes: B batch, N samples, T frames, D width of a latent, M latents.
"""

import argparse
import copy
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from deploy.embedded import codebooks
from deploy.embedded.losses import losses
from deploy.embedded.speech import disturbed, speech_of
from model.codec import weights
from model.codec.encodec import CODEBOOK_SIZE, EMBEDDED, HOP, SAMPLE_RATE, Shape, build

SHAPE = Shape(n_filters=16, dimension=80, lstm=2, norm="none", num_codebooks=8)

_WINDOW = 1024  # samples under which a latent's bands are measured
_BAND_EDGES = (40.0, 11_000.0)  # Hz, of the lowest and the highest band
_FLOOR = 1e-2  # of a band's magnitude, under which nothing is told apart
_LOUD = 8.0  # speech enters so much louder: about unit variance
_PREFIX = 12  # frames at a crop's start that are heard and not judged
_KMEANS_FRAMES = 150_000
_EMA = 0.998  # of the weights
_WARM_UP = 100  # steps, at the beginning of the encoder and of the decoder
_HEEDED = 200  # steps, until the adversary is heard in full
_WEIGHTS = {"linear": 1.0, "envelope": 1.0, "mel": 2.0, "correlation": 0.5}


def main() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = _options()
    state = options.folder / "codec"
    if options.export and not (state / "state.pt").exists():
        raise SystemExit(f"{state} holds no training to export: run the same without --export first")
    if options.export:
        export(state, options.export)
        return
    state.mkdir(parents=True, exist_ok=True)
    speech = speech_of(options.folder / "audio")
    held_out = speech_of(options.folder / "held-out")[: 60 * SAMPLE_RATE] if options.start is None else speech[:0]
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        Training(state, options, speech, held_out).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the embedded EnCodec; run again to go on.")
    parser.add_argument("folder", type=Path, help="where deploy.embedded.corpus made speech; the state lies in codec/")
    parser.add_argument("--encoder-steps", type=int, default=3_000)
    parser.add_argument("--decoder-steps", type=int, default=3_000)
    parser.add_argument("--adversary-steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=2e-3, help="Adam's, at a phase's height")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=75, help="of a crop, those before it not counted")
    parser.add_argument("--every", type=int, default=100, help="steps between saved states")
    parser.add_argument("--workers", type=int, default=0, help="processes that disturb speech ahead of the steps")
    parser.add_argument(
        "--start", type=Path, nargs="?", const=EMBEDDED, help="a codec whose decoder goes on; no steps of its encoder"
    )
    parser.add_argument("--export", type=Path, nargs="?", const=EMBEDDED, help="write the weights that ship")
    options = parser.parse_args()
    options.encoder_steps = 0 if options.start else options.encoder_steps
    return options


# what the encoder is taught


def mel_filters() -> Tensor:
    """Triangles `[D, window / 2 + 1]`, each one's peak 1."""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in _BAND_EDGES)
    edges = 700 * (10 ** (np.linspace(low, high, SHAPE.dimension + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling))).float()


def bands(wav: Tensor, filters: Tensor) -> Tensor:
    """Log mel bands `[B, D, T]` of `[B, N]`, each window ending with its frame."""
    padded = F.pad(wav, (_WINDOW - HOP, 0))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(padded, _WINDOW, HOP, window=window, center=False, return_complex=True)
    return torch.log(filters @ spectrum.abs() + _FLOOR)


def unit_gain(half: nn.Module) -> None:
    """Weights under which each convolution keeps the variance of what passes it."""
    for module in half.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            transposed = isinstance(module, nn.ConvTranspose1d)
            channels = module.weight.shape[0 if transposed else 1]
            taps = module.weight.shape[2] // (module.stride[0] if transposed else 1)
            nn.init.normal_(module.weight, std=(channels * taps) ** -0.5)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def start() -> Any:
    """The untrained model."""
    torch.manual_seed(0)
    model = build(SHAPE)
    for half in (model.encoder, model.decoder):
        unit_gain(half)
    with torch.no_grad():
        model.encoder.model[0].conv.conv.weight.mul_(_LOUD)
        model.encoder.model[-1].conv.conv.weight.mul_(0.3)
        model.decoder.model[-1].conv.conv.weight.mul_(1 / _LOUD)
    return model


# training


class Crops(Dataset[Tensor]):
    """The speech that each step learns from, by the step's number."""

    def __init__(self, speech: NDArray[np.int16], batch: int, frames: int) -> None:
        self._speech, self._batch, self._length = speech, batch, (frames + _PREFIX) * HOP

    def __getitem__(self, step: int) -> Tensor:
        """Waveforms `[B, N]` from anywhere, disturbed, with what is heard and not judged before them."""
        pick = np.random.default_rng(step)
        begins = pick.integers(0, len(self._speech) - self._length, self._batch)
        return disturbed(self.cut(begins), pick)

    def cut(self, begins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Waveforms `[B, N]` that begin at these samples."""
        rows = [self._speech[begin : begin + self._length] for begin in begins]
        return np.asarray(np.stack(rows) / 32768, np.float32)


class Training:
    """The state of a training, and its phases; whatever is random is drawn from the step's own number."""

    def __init__(
        self, folder: Path, options: argparse.Namespace, speech: NDArray[np.int16], held_out: NDArray[np.int16]
    ) -> None:
        self.folder, self.options, self.device = folder, options, torch.get_default_device()
        self.speech, self.crops = speech, Crops(speech, options.batch, options.frames)
        self.held_out = self._heard(held_out[: len(held_out) // HOP * HOP])
        self.model = start().train()
        self.average = copy.deepcopy(self.model)
        self.filters = mel_filters().to(self.device)
        self.step, self.began = 0, time.time()
        self.rows: list[dict[str, Tensor]] = []  # losses since the last line of the log
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.ends: dict[str, int] = dict(
            encoder=options.encoder_steps,
            decoder=options.encoder_steps + options.decoder_steps,
            adversary=options.encoder_steps + options.decoder_steps + options.adversary_steps,
        )
        state = folder / "state.pt"
        saved = torch.load(state, map_location=self.device) if state.exists() else {}
        if not saved:
            spoken = bands(self._heard(speech[: 600 * SAMPLE_RATE])[None], self.filters)[0]
            saved = {"mean": spoken.mean(1, keepdim=True), "std": spoken.std(), "codes": self._begin(options.start)}
        self.mean, self.std, self.codes = saved["mean"], saved["std"], saved["codes"]
        if "model" in saved:
            self.step = saved["step"]
            self.model.load_state_dict(saved["model"])
            self.average.load_state_dict(saved["average"])
        self._optimizer_states = saved.get("optimizers", {})
        self.discriminator: Any = None
        self._discriminator_state = saved.get("discriminator")

    def _begin(self, codec: Path | None) -> Tensor | None:
        """Takes over the weights of a codec, if there is one to begin from; gives its books."""
        if codec is None:
            return None
        state = {name: tensor.float() for name, tensor in weights.read(codec)[0].items()}
        for model in (self.model, self.average):
            model.load_state_dict(state, strict=False)  # those that ship lack what k-means alone needs
        return weights.codebooks(codec).to(self.device)

    def _heard(self, pcm: NDArray[np.int16]) -> Tensor:
        """Samples `[N]` as the model has them."""
        return torch.from_numpy(pcm.astype(np.float32) / 32768).to(self.device)

    def run(self) -> None:
        """Every step that is left."""
        left = range(self.step, self.ends["adversary"])
        crops = iter(DataLoader(self.crops, batch_size=None, sampler=left, num_workers=self.options.workers))
        while self.step < self.ends["adversary"]:
            phase = next(name for name, end in self.ends.items() if self.step < end)
            if phase != "encoder" and self.codes is None:
                self._fit_books()
            wav = next(crops).to(self.device)
            torch.manual_seed(self.step)
            {"encoder": self._encoder, "decoder": self._decoder, "adversary": self._adversary}[phase](wav)
            self.step += 1
            with torch.no_grad():
                pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
                for mean, parameter in pairs:
                    mean.lerp_(parameter, 1 - min(_EMA, (1 + self.step) / (10 + self.step)))
            if self.step % self.options.every == 0:
                self._log(phase)
                self._save()
        if self.codes is None:
            self._fit_books()
        self._save()

    def _encoder(self, wav: Tensor) -> None:
        target = (bands(wav, self.filters) - self.mean) / self.std
        error = F.mse_loss(self.model.encoder(wav[:, None])[..., _PREFIX:], target[..., _PREFIX:])
        self._descend("encoder", self.model.encoder, error, 1.0)
        self.rows.append({"error": error.detach()})

    def _decoded(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Speech through the frozen encoder and books and the decoder, and that speech, `[B, 1, N]`.

        Half of the rows have fewer codebooks than all, so that a decoder need not fall apart where a NAR is unsure
        (quantizer dropout: Zeghidour et al. 2021, section III.C).
        """
        with torch.no_grad():
            latents = self.average.encoder(wav[:, None])
            latents = codebooks.quantized(latents, self.codes, self._numbers(len(wav)).to(self.device))
        begin = _PREFIX * HOP
        return self.model.decoder(latents)[..., begin:], wav[:, None, begin:]

    def _numbers(self, rows: int) -> Tensor:
        """How many codebooks `[B]` each row keeps."""
        pick = np.random.default_rng([self.step, 1])
        return torch.from_numpy(np.where(pick.random(rows) < 0.5, SHAPE.num_codebooks, pick.integers(1, 5, rows)))

    def _decoder(self, wav: Tensor) -> None:
        parts = losses(*self._decoded(wav))
        self._descend("decoder", self.model.decoder, _weighed(parts), 5.0)
        self.rows.append({name: part.detach() for name, part in parts.items()})

    def _adversary(self, wav: Tensor) -> None:
        from deploy.embedded import adversary

        if self.discriminator is None:
            self.discriminator = adversary.discriminator()
            if self._discriminator_state:
                self.discriminator.load_state_dict(self._discriminator_state)
        decoded, wav = self._decoded(wav)
        row: dict[str, Tensor] = {}
        if self.step % 3:  # it learns faster than the decoder: two steps of three
            row["told"] = adversary.telling(self.discriminator, wav, decoded.detach())
            self._descend("discriminator", self.discriminator, row["told"], 5.0, 0.3)
        self.discriminator.requires_grad_(False)
        row |= losses(decoded, wav)
        row["fooled"], row["alike"] = adversary.fooling(self.discriminator, wav, decoded)
        heard = min(1.0, (self.step - self.ends["decoder"]) / _HEEDED)
        judged = heard * (0.1 * row["fooled"] + 0.2 * row["alike"])
        self._descend("decoder", self.model.decoder, _weighed(row) + judged, 5.0, 0.6)
        self.discriminator.requires_grad_(True)
        self.rows.append({name: part.detach() for name, part in row.items()})

    def _descend(self, name: str, module: nn.Module, loss: Tensor, clip: float, share: float = 1.0) -> None:
        """One step of Adam down a loss."""
        if name not in self.optimizers:
            self.optimizers[name] = torch.optim.Adam(module.parameters(), betas=(0.8, 0.99))
            if name in self._optimizer_states:
                self.optimizers[name].load_state_dict(self._optimizer_states[name])
        optimizer = self.optimizers[name]
        for group in optimizer.param_groups:
            group["lr"] = self.options.rate * share * self._height()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()

    def _height(self) -> float:
        """The rate's share of its height: warm at the beginning, from half of it on falling to a twentieth.

        So it is for the encoder, and again for the decoder, the adversary's phase included.
        """
        encoded = self.ends["encoder"]
        begin, end = (0, encoded) if self.step < encoded else (encoded, self.ends["adversary"])
        done = (self.step - begin) / (end - begin)
        return min(1.0, (1 + self.step - begin) / _WARM_UP, 1 - 0.95 * max(0.0, 2 * done - 1))

    @torch.no_grad()
    def _fit_books(self) -> None:
        """Residual k-means over latents of all of the speech."""
        self.model.encoder.load_state_dict(self.average.encoder.state_dict())
        pick = np.random.default_rng(0)
        length = (self.options.frames + _PREFIX) * HOP
        found = []
        for _ in range(_KMEANS_FRAMES // (8 * self.options.frames)):
            begins = pick.integers(0, len(self.speech) - length, 8)
            wav = disturbed(self.crops.cut(begins), pick).to(self.device)
            found.append(self.average.encoder(wav[:, None])[..., _PREFIX:].transpose(1, 2).flatten(0, 1))
        torch.manual_seed(0)
        self.codes = codebooks.fit(torch.cat(found), SHAPE.num_codebooks, CODEBOOK_SIZE)
        self._save()

    @torch.no_grad()
    def unexplained(self) -> float:
        """The share of the bands' variance on held-out voices that the average encoder misses."""
        target = (bands(self.held_out[None], self.filters) - self.mean) / self.std
        missed = self.average.encoder(self.held_out[None, None]) - target
        return float(missed.pow(2).sum() / (target - target.mean(2, keepdim=True)).pow(2).sum())

    def _log(self, phase: str) -> None:
        """A line of the log: the means of every loss since the last one."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        means = {
            name: round(float(torch.stack([row[name] for row in self.rows if name in row]).mean()), 4) for name in names
        }
        if phase == "encoder":
            means["unexplained"] = round(self.unexplained(), 4)
        line = json.dumps({"step": self.step, "phase": phase} | means | {"seconds": round(time.time() - self.began)})
        logging.getLogger("codec").info(line)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        self.rows.clear()

    def _save(self) -> None:
        values = {name: getattr(self, name) for name in ("step", "mean", "std", "codes")}
        values |= {"model": self.model.state_dict(), "average": self.average.state_dict()}
        states = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        values |= {"optimizers": self._optimizer_states | states}
        values["discriminator"] = self.discriminator.state_dict() if self.discriminator else self._discriminator_state
        fresh = self.folder / "state.pt.new"
        torch.save(values, fresh)
        fresh.replace(self.folder / "state.pt")


def _weighed(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack([weight * parts[name] for name, weight in _WEIGHTS.items()]).sum()


# what ships


def export(state: Path, path: Path) -> None:
    """The moving average as fp16 safetensors, its shape beside it."""
    from safetensors.torch import save

    saved = torch.load(state / "state.pt", map_location="cpu")
    model = build(SHAPE)
    model.load_state_dict(saved["average"])
    for layer, codes in zip(model.quantizer.vq.layers, saved["codes"], strict=True):
        layer._codebook.embed.copy_(codes)
        layer._codebook.inited.fill_(1)
    training_only = ("embed_avg", "cluster_size")
    tensors = {
        name: t.half().contiguous() for name, t in model.state_dict().items() if not name.endswith(training_only)
    }
    path.write_bytes(save(tensors))
    path.with_suffix(".json").write_text(json.dumps({"shape": asdict(SHAPE)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
