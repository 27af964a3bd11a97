"""EnCodec of the 24 kHz shape: waveforms to codes and back, for the published weights and for our own small ones.

One frame is 320 samples and eight codebooks, 75 frames a second, 6 kb/s. Audio of any length passes in blocks
(`streaming.py`). EnCodec's convolutions are causal, yet the first frames see the future, because
the padding on the left reflects the beginning. So a waveform of fewer than seven frames must not be padded.
Source: Défossez et al. 2022 (arXiv:2210.13438), the `encodec` package, version 0.1.1.

Shapes: B batch, N samples, Q codebooks, T frames, D width of a latent.
"""

import functools
import importlib
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.codec import streaming
from model.codec.quantizer import Quantizer
from model.codec.streaming import BLOCK, REFLECTED
from model.codec.weights import (
    EMBEDDED,
    PUBLISHED,
    CodecError,
    Shape,
    figures,
    identity,
    published,
    read,
    weights_path,
)
from model.gpu.full_precision import keep_fp32

__all__ = [
    "EMBEDDED",
    "PUBLISHED",
    "Codec",
    "CodecError",
    "Shape",
    "build",
    "encodec",
    "figures",
    "identity",
    "load_codec",
]

SAMPLE_RATE = 24_000  # Hz
RATIOS = (8, 5, 4, 2)
HOP = 320  # samples a frame, the product of RATIOS
FRAME_RATE = SAMPLE_RATE // HOP  # frames a second
CODEBOOK_SIZE = 1024

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

_ROWS = 16  # rows that the LSTM's weights are read for together
_SPAN = 2400  # frames, of all rows together, that pass the LSTM at once


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
    """An EnCodec ready to encode and decode on one device; it takes the model over, whose norms are folded.

    `precision` is that of convolutions and LSTM, `fp32` or `bf16`; the quantizer's distances are always fp32.
    """

    sample_rate = SAMPLE_RATE
    hop = HOP
    frame_rate = FRAME_RATE

    def __init__(
        self, model: Any, num_codebooks: int = 8, device: str | torch.device = "cpu", precision: str = "fp32"
    ) -> None:
        if not 1 <= num_codebooks <= model.quantizer.n_q:
            raise CodecError(f"this codec has {model.quantizer.n_q} codebooks, so it cannot give {num_codebooks}")
        if precision not in PRECISIONS:
            raise CodecError(f"a codec's precision is {' or '.join(PRECISIONS)}, not {precision}")
        keep_fp32()
        model = _fold(model.to(device).eval())
        self.num_codebooks = num_codebooks
        self.device = torch.device(device)
        self.precision = precision
        self._encoder = streaming.encoder(model.encoder, PRECISIONS[precision])
        self._decoder = streaming.decoder(model.decoder, PRECISIONS[precision])
        self._quantizer = Quantizer(model.quantizer, num_codebooks)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """Frames of a waveform; the last one is filled up with zeros."""
        return -(-num_samples // HOP)

    @torch.inference_mode()
    def encode(self, wav: Tensor | Sequence[Tensor]) -> Tensor:
        """Codes int64 `[B, Q, T]` of `wav` `[B, 1, N]` at 24 kHz, or of B waveforms of unequal lengths, `[N]` each.

        T is that of the longest; behind the `num_frames(N)` of a shorter one its codes are 0. On a CPU a waveform's
        codes do not depend on its neighbours down to the last bit.

        Raises:
            ValueError: there is no waveform, or one is empty.
        """
        waveforms = [w.reshape(-1) for w in wav]
        if not waveforms:
            raise ValueError("there is no waveform to encode")
        if not all(map(len, waveforms)):
            raise ValueError("a waveform to encode is empty")
        frames = [self.num_frames(len(w)) for w in waveforms]
        codes = torch.zeros(len(waveforms), self.num_codebooks, max(frames), dtype=torch.int64, device=self.device)
        for rows in _together(frames):
            for start, found in self._encode([waveforms[i] for i in rows], [frames[i] for i in rows]):
                for i, row in zip(rows, found, strict=True):
                    part = codes[i, :, start : frames[i]]
                    part[:, : row.shape[1]] = row[:, : part.shape[1]]
        return codes

    def _encode(self, waveforms: list[Tensor], frames: list[int]) -> Iterator[tuple[int, Tensor]]:
        """The first of some frames, and the codes `[B, Q, t]` of these in all rows; the last block is filled up."""
        stream = streaming.Stream(self._encoder, len(waveforms))
        whole = BLOCK if max(frames) > REFLECTED else max(frames)  # what follows so few frames would be reflected
        span = _span(len(waveforms))
        for start in range(0, max(frames), span):
            width = min(span, -(-(max(frames) - start) // whole) * whole)
            audio = torch.zeros(len(waveforms), 1, width * HOP)
            for row, waveform in zip(audio, waveforms, strict=True):
                part = waveform[start * HOP : (start + width) * HOP]
                row[0, : len(part)] = part
            yield start, self._quantizer.encode(stream.push(audio, width, [max(0, n - start) for n in frames]))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Waveforms float32 `[B, 1, 320 T]` at 24 kHz from codes `[B, Q, T]`; the first few codebooks will do, too."""
        codes = codes.to(self.device)
        waveforms = torch.empty(codes.shape[0], 1, codes.shape[2] * HOP, device=self.device)
        for first in range(0, codes.shape[0], _ROWS):
            rows = slice(first, first + _ROWS)
            stream, done = self.decoder_stream(), 0
            parts = torch.split(codes[rows], _span(min(_ROWS, codes.shape[0])), dim=-1)
            for part in chain(parts, [None]):
                audio = stream.finish() if part is None else stream.push(part)
                waveforms[rows, :, done : done + audio.shape[-1]] = audio
                done += audio.shape[-1]
        return waveforms

    @property
    def codebooks(self) -> Tensor:
        """The entries of its codebooks `[Q, 1024, D]`."""
        return self._quantizer.entries

    def decoder_stream(self) -> streaming.DecoderStream:
        """A decoder to which codes are given as they come."""
        return streaming.DecoderStream(self._decoder, self._quantizer.decode)


def _fold(model: Any) -> Any:
    """The model with each weight norm worked out once and for all."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return model


def _together(frames: list[int]) -> list[list[int]]:
    """Places of waveforms that are encoded together, of like length; one that is all beginning goes alone."""
    longer = sorted((i for i, n in enumerate(frames) if n > REFLECTED), key=frames.__getitem__)
    alone = [[i] for i, n in enumerate(frames) if n <= REFLECTED]
    return [longer[i : i + _ROWS] for i in range(0, len(longer), _ROWS)] + alone


def _span(rows: int) -> int:
    """Frames that so many rows pass the LSTM with at once, which lays its weights out anew for each call."""
    return max(1, _SPAN // rows // BLOCK) * BLOCK


def load_codec(
    name_or_path: str | Path, num_codebooks: int = 8, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Codec:
    """The codec of a name (`encodec_24khz`, fetched once through torch.hub, or `embedded`) or of a weight file.

    A `.th` or `.pt` file is a state dict of the published shape; a `.safetensors` file has its `Shape` beside it, as
    `.json`.

    Raises:
        CodecError: the weights cannot be had, or are no EnCodec of that shape; or there is no such precision.
    """
    if str(name_or_path) == PUBLISHED:
        state, shape = published(), Shape()
    else:
        state, shape = read(weights_path(name_or_path))
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
    return Codec(model, num_codebooks, device, precision)
