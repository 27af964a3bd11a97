"""EnCodec of the 24 kHz shape: waveforms to codes and back, for the published weights and for our own small ones.

One frame is 320 samples and eight codebooks, 75 frames a second, 6 kb/s. The surprising fact: EnCodec's
convolutions are causal, yet the first frames see the future, because the padding on the left reflects the beginning.
So a waveform of fewer than seven frames must not stand beside longer ones in a padded batch.
Source: Défossez et al. 2022 (arXiv:2210.13438), the `encodec` package, version 0.1.1.

Shapes: B batch, N samples, Q codebooks, T frames, D width of a latent.
"""

import functools
import hashlib
import importlib
import json
import sys
import types
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE = 24_000  # Hz
RATIOS = (8, 5, 4, 2)
HOP = 320  # samples a frame, the product of RATIOS
FRAME_RATE = SAMPLE_RATE // HOP  # frames a second
CODEBOOK_SIZE = 1024

PUBLISHED = "encodec_24khz"
PUBLISHED_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"  # sha256 begins as the name says
EMBEDDED = Path(__file__).with_name("embedded") / "encodec.safetensors"

_REFLECTED_FRAMES = 6  # the widest padding on the left, at 75 Hz: kernel 7


class CodecError(ValueError):
    """The weights that were named cannot be had, or are not an EnCodec of this shape."""


@dataclass(frozen=True)
class Shape:
    """The sizes of an EnCodec; those of the published 24 kHz one unless said otherwise."""

    n_filters: int = 32  # channels at 24 kHz, doubled at each of the four strides
    dimension: int = 128  # width of a latent
    lstm: int = 2  # layers
    norm: str = "weight_norm"  # or `none`
    num_codebooks: int = 32


@functools.cache
def encodec() -> Any:
    """The `encodec` package, also where torchaudio, which it needs for reading files only, is missing or broken."""
    try:
        return importlib.import_module("encodec.model")
    except (ImportError, OSError):
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
        try:
            return importlib.import_module("encodec.model")
        finally:
            del sys.modules["torchaudio"]


def build(shape: Shape) -> Any:
    """An untrained `encodec.EncodecModel` of a shape."""
    package = encodec()
    sizes = {"n_filters": shape.n_filters, "dimension": shape.dimension, "lstm": shape.lstm, "norm": shape.norm}
    kilobits = FRAME_RATE * shape.num_codebooks * 10 / 1000  # 10 bits a code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the package uses the older form of weight_norm
        return package.EncodecModel(
            package.m.SEANetEncoder(causal=True, ratios=list(RATIOS), **sizes),
            package.m.SEANetDecoder(causal=True, ratios=list(RATIOS), **sizes),
            package.qt.ResidualVectorQuantizer(shape.dimension, n_q=shape.num_codebooks, bins=CODEBOOK_SIZE),
            target_bandwidths=[kilobits],
            sample_rate=SAMPLE_RATE,
            channels=1,
        ).eval()


class Codec:
    """An EnCodec ready to encode and decode on one device."""

    sample_rate = SAMPLE_RATE
    hop = HOP
    frame_rate = FRAME_RATE

    def __init__(self, model: Any, num_codebooks: int = 8, device: str | torch.device = "cpu") -> None:
        if not 1 <= num_codebooks <= model.quantizer.n_q:
            raise CodecError(f"this codec has {model.quantizer.n_q} codebooks, so it cannot give {num_codebooks}")
        self.model = model.to(device).eval()
        self.num_codebooks = num_codebooks
        self.device = torch.device(device)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """Frames of a waveform; the last one is filled up with zeros."""
        return -(-num_samples // HOP)

    @torch.inference_mode()
    def encode(self, wav: Tensor | Sequence[Tensor]) -> Tensor:
        """Codes int64 `[B, Q, T]` of `wav` `[B, 1, N]` at 24 kHz, or of B waveforms of unequal lengths, `[N]` each.

        T is that of the longest; behind the `num_frames(N)` of a shorter one its codes are 0. On a CPU each
        waveform runs by itself, so its codes do not depend on its neighbours down to the last bit; a batch
        of eight took twice as long there.

        Raises:
            ValueError: there is no waveform, or one is empty.
        """
        waveforms = [self._whole_frames(w) for w in wav]
        if not waveforms:
            raise ValueError("there is no waveform to encode")
        frames = [w.shape[-1] // HOP for w in waveforms]
        codes = torch.zeros(len(waveforms), self.num_codebooks, max(frames), dtype=torch.int64, device=self.device)
        for rows in self._batches(frames):
            longest = max(frames[i] for i in rows)
            batch = torch.stack([F.pad(waveforms[i], (0, longest * HOP - waveforms[i].shape[-1])) for i in rows])
            latents = self.model.encoder(batch)
            found = self.model.quantizer.vq.encode(latents, n_q=self.num_codebooks).transpose(0, 1)
            for row, i in enumerate(rows):
                codes[i, :, : frames[i]] = found[row, :, : frames[i]]
        return codes

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Waveforms float32 `[B, 1, 320 T]` at 24 kHz from codes `[B, Q, T]`; the first few codebooks will do, too."""
        latents = self.model.quantizer.decode(codes.to(self.device).transpose(0, 1))
        if self.device.type == "cpu":
            return torch.cat([self.model.decoder(row[None]) for row in latents])
        return self.model.decoder(latents)  # type: ignore[no-any-return]

    def _whole_frames(self, wav: Tensor) -> Tensor:
        wav = wav.reshape(1, -1).to(self.device, torch.float32)
        if wav.shape[-1] == 0:
            raise ValueError("a waveform to encode is empty")
        return F.pad(wav, (0, -wav.shape[-1] % HOP))

    def _batches(self, frames: list[int]) -> list[list[int]]:
        """Rows that may run together: on a CPU none, elsewhere all that are longer than the reflected beginning."""
        together = [i for i, n in enumerate(frames) if n > _REFLECTED_FRAMES and self.device.type != "cpu"]
        alone = [[i] for i in range(len(frames)) if i not in together]
        return [together, *alone] if together else alone


def load_codec(name_or_path: str | Path, num_codebooks: int = 8, device: str | torch.device = "cpu") -> Codec:
    """The codec of a name (`encodec_24khz`, fetched once through torch.hub, or `embedded`) or of a weight file.

    A `.th` or `.pt` file is a state dict of the published shape; a `.safetensors` file has its `Shape` beside it, as
    `.json`.

    Raises:
        CodecError: the weights cannot be had, or are no EnCodec of that shape.
    """
    if str(name_or_path) == PUBLISHED:
        state, shape = _published(), Shape()
    else:
        state, shape = _read(_path(name_or_path))
    model = build(shape)
    try:
        lacking = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CodecError(f"{name_or_path} is no EnCodec of {shape}: {str(error).splitlines()[-1].strip()}") from None
    training_only = ("embed_avg", "cluster_size")  # what the codebooks' moving averages need, and nobody else
    missing = [key for key in lacking.missing_keys if not key.endswith(training_only)]
    if missing or lacking.unexpected_keys:
        wrong = f"lacks {missing[0]}" if missing else f"has an unknown {lacking.unexpected_keys[0]}"
        raise CodecError(f"{name_or_path} is no EnCodec of {shape}: it {wrong}")
    return Codec(model, num_codebooks, device)


def identity(name_or_path: str | Path) -> str:
    """What a fingerprint says of a codec: its name and a digest, never its path; the published one needs no weights.

    Raises:
        CodecError: there is no such file.
    """
    if str(name_or_path) == PUBLISHED:
        return f"{PUBLISHED}@{_published_digest()}"
    path = _path(name_or_path)
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".safetensors":
        digest.update(repr(_shape(path)).encode())
    return f"{'embedded' if path == EMBEDDED else 'encodec'}@{digest.hexdigest()[:12]}"


def _path(name_or_path: str | Path) -> Path:
    path = EMBEDDED if str(name_or_path) == "embedded" else Path(name_or_path)
    for needed in [path, path.with_suffix(".json")] if path.suffix == ".safetensors" else [path]:
        if not needed.is_file():
            raise CodecError(
                f"there is no codec {name_or_path}: {needed} is no file ({PUBLISHED} and embedded are names)"
            )
    return path


def figures() -> dict[str, Any]:
    """What the embedded codec does to speech of voices it never heard, as measured when it was made.

    `stoi`, `pesq` (wide band), `snr_db` and `speaker_similarity` are means, `stoi_worst` is of one sentence, and
    `perplexity` is a number of codes for each codebook.
    """
    measured: dict[str, Any] = json.loads(EMBEDDED.with_suffix(".json").read_text())["figures"]
    return measured


def _shape(path: Path) -> Shape:
    beside = path.with_suffix(".json")
    try:
        return Shape(**json.loads(beside.read_text())["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise CodecError(f"{beside} does not give the shape of an EnCodec: {error}") from None


def _read(path: Path) -> tuple[dict[str, Tensor], Shape]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path), _shape(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CodecError:
        raise
    except Exception as error:  # a broken file has many kinds of error, from pickle's to JSON's
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CodecError(f"{path} cannot be read as an EnCodec: {reason}") from None
    if not isinstance(state, dict):
        raise CodecError(f"{path} cannot be read as an EnCodec: it holds a {type(state).__name__}, not a state dict")
    return state, Shape()


def _published_digest() -> str:
    return PUBLISHED_URL.removesuffix(".th").rpartition("-")[2]


def _published() -> dict[str, Tensor]:
    try:
        state = torch.hub.load_state_dict_from_url(
            PUBLISHED_URL, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise CodecError(f"{PUBLISHED} cannot be fetched from {PUBLISHED_URL}: {error}") from None
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(PUBLISHED_URL).name
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(_published_digest()):
        raise CodecError(f"{path} is not what its publisher made: its sha256 does not begin with {_published_digest()}")
    return state
