"""EnCodec's encoder and decoder a block at a time, with what each layer has to remember carried on.

A convolution remembers the few inputs that its kernel still reaches, the LSTM its state, and so blocks give what the
whole would have given, in memory that does not grow. It is also twice as fast, because a second of
audio stays in the processor's cache from layer to layer, and no slower for being exact. On a CPU every row passes the
convolutions alone in blocks of one shape, and only the LSTM, whose weights are read once a step for all rows, takes
rows together; so a row's arithmetic, and its result to the last bit, is the same whatever stands beside it.

Two rearrangements serve the processor alone. Activations lie `[T, C]` in memory (`channels_last` with a height of one),
which oneDNN reads in place. A transposed convolution of kernel 2 s and stride s is a convolution of kernel 2 with s
outputs side by side, which lie in memory as the s samples in their order.
Source: Defossez et al. 2022 (arXiv:2210.13438), section 3.1, and the `encodec` package, version 0.1.1.

Shapes: B rows, C channels, T time steps of a layer, D width of a latent, t frames.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 75  # frames that pass the convolutions together: a second, whose activations of 3 MB stay in the cache
REFLECTED = 6  # frames: the widest padding on the left at 75 Hz, kernel 7; fewer than one more cannot be reflected
_PLANES = 25  # parts that a block is seen in for kernel 1, since torch hands those to oneDNN from 16 on only

State = dict[Any, Any]  # what each layer remembers, by layer
Layer = Callable[[Tensor, State], Tensor]  # on `[B, C, 1, T]`


class Convolution:
    """A causal convolution that continues where its last block ended; the first one reflects at the left edge."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self.weight = conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.stride = conv.stride[0]
        self.remembered = conv.kernel_size[0] - self.stride  # inputs; the package pads as many

    def __call__(self, x: Tensor, state: State) -> Tensor:
        if self.weight.shape[-1] == 1:
            return self._pointwise(x)
        left = state[self] if self in state else reflection(x, self.remembered)
        x = torch.cat([left, x], dim=-1)
        state[self] = x[..., x.shape[-1] - self.remembered :].clone()
        return F.conv2d(x, self.weight, self.bias, stride=(1, self.stride))

    def _pointwise(self, x: Tensor) -> Tensor:
        """Kernel 1: a block of time steps is as well many short ones, which oneDNN takes at twice the pace."""
        rows, channels, _, steps = x.shape
        if steps % _PLANES:
            return F.conv2d(x, self.weight, self.bias)
        planes = x.permute(0, 2, 3, 1).reshape(rows * _PLANES, 1, steps // _PLANES, channels).permute(0, 3, 1, 2)
        y = F.conv2d(planes, self.weight, self.bias)
        return y.permute(0, 2, 3, 1).reshape(rows, 1, steps, -1).permute(0, 3, 1, 2)


class Transposed:
    """A causal transposed convolution of kernel 2 s and stride s, the right end trimmed: `[B, C, 1, T]` to s T steps.

    Step i of the input reaches outputs s i to s i + 2 s - 1, so s outputs are ready with each input, none later.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        self.stride = conv.stride[0]
        kernel = conv.weight.detach()  # [C_in, C_out, 2 s]
        before, now = kernel[..., self.stride :], kernel[..., : self.stride]
        weight = torch.stack([before, now], dim=-1).permute(2, 1, 0, 3).flatten(0, 1)  # [s C_out, C_in, 2]
        self.weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        self.bias = None if conv.bias is None else conv.bias.detach().repeat(self.stride)

    def __call__(self, x: Tensor, state: State) -> Tensor:
        x = torch.cat([state[self] if self in state else torch.zeros_like(x[..., :1]), x], dim=-1)
        state[self] = x[..., -1:].clone()
        y = F.conv2d(x, self.weight, self.bias).permute(0, 2, 3, 1)  # [B, 1, T, s C_out]
        return y.reshape(y.shape[0], 1, y.shape[2] * self.stride, -1).permute(0, 3, 1, 2)


class Residual:
    """SEANet's residual block: a bottleneck beside a shortcut."""

    def __init__(self, block: Any) -> None:
        _, narrow, _, widen = block.block
        self.narrow, self.widen = Convolution(narrow.conv.conv), Convolution(widen.conv.conv)
        self.shortcut = Convolution(block.shortcut.conv.conv)

    def __call__(self, x: Tensor, state: State) -> Tensor:
        narrow = self.narrow(F.elu(x), state)
        return self.shortcut(x, state).add_(self.widen(F.elu_(narrow), state))


class Recurrent:
    """The LSTM with its skip connection: `[t, B, C]` to the same, its state carried on.

    A row alone is joined by one of zeros: a single row takes another way through oneDNN, whose last bits differ.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.lstm = lstm

    def __call__(self, x: Tensor, state: State) -> Tensor:
        rows = x.shape[1]
        if rows == 1 and x.device.type == "cpu":
            x = F.pad(x, (0, 0, 0, 1))
        y: Tensor
        y, state[self] = self.lstm(x, state.get(self))
        return (y + x)[:, :rows]


def elu(x: Tensor, state: State) -> Tensor:
    """The activation, in place."""
    return F.elu_(x)


def reflection(x: Tensor, width: int) -> Tensor:
    """What the package pads a beginning with on the left: its mirror image, zeros standing in for what is too short."""
    return F.pad(x, (0, max(0, width + 1 - x.shape[-1])))[..., 1 : width + 1].flip(-1)


@dataclass
class Network:
    """An encoder or a decoder as layers: those before the LSTM, the LSTM if there is one, and those behind."""

    before: list[Layer]
    lstm: Recurrent | None
    behind: list[Layer]
    device: torch.device
    dtype: torch.dtype


def encoder(model: Any, dtype: torch.dtype = torch.float32) -> Network:
    """The layers of an `encodec.SEANetEncoder` whose norms are folded."""
    return _network(model, dtype, len(model.model) - 2)


def decoder(model: Any, dtype: torch.dtype = torch.float32) -> Network:
    """The layers of an `encodec.SEANetDecoder` whose norms are folded."""
    return _network(model, dtype, 1)


def _network(model: Any, dtype: torch.dtype, cut: int) -> Network:
    """Layers up to the cut, an LSTM on either side of it, and the rest."""
    modules = list(model.model if dtype == torch.float32 else deepcopy(model.model).to(dtype))
    recurrent = [m for m in modules if hasattr(m, "lstm")]
    before = [_layer(m) for m in modules[:cut] if m not in recurrent]
    behind = [_layer(m) for m in modules[cut:] if m not in recurrent]
    parameter = next(model.parameters())
    return Network(before, Recurrent(recurrent[0].lstm) if recurrent else None, behind, parameter.device, dtype)


def _layer(module: Any) -> Layer:
    if isinstance(module, nn.ELU):
        return elu
    if hasattr(module, "block"):
        return Residual(module)
    if hasattr(module, "convtr"):
        return Transposed(module.convtr.convtr)
    return Convolution(module.conv.conv)


class Stream:
    """A network at work on some rows: inputs go in, outputs come out, and what the next ones need is kept."""

    def __init__(self, network: Network, num_rows: int) -> None:
        self.network = network
        alone = network.device.type == "cpu"  # each row passes the convolutions by itself
        self._groups = [slice(i, i + 1) for i in range(num_rows)] if alone else [slice(0, num_rows)]
        self._memories: list[State] = [{} for _ in self._groups]
        self._memory: State = {}  # of the LSTM, for all rows

    @torch.inference_mode()
    def push(self, x: Tensor, frames: int, lengths: Sequence[int] | None = None) -> Tensor:
        """The outputs `[B, C', T']` that the next inputs `[B, C, T]` make.

        Args:
            x: the inputs of these frames; the first push holds seven frames or all there are.
            frames: how many they are, of the longest row.
            lengths: frames of each row, where they differ: a block of 75 frames that begins behind a row's last one is
                left out, and its outputs are zero or mean nothing.
        """
        lengths = [frames] * x.shape[0] if lengths is None else lengths
        x = x.to(self.network.device, self.network.dtype)[:, :, None]
        x = self._blocks(self.network.before, x, frames, lengths)
        if self.network.lstm:
            x = self.network.lstm(x[:, :, 0].permute(2, 0, 1).contiguous(), self._memory).permute(1, 2, 0)[:, :, None]
        return self._blocks(self.network.behind, x, frames, lengths)[:, :, 0]

    def _blocks(self, layers: list[Layer], x: Tensor, frames: int, lengths: Sequence[int]) -> Tensor:
        """What the layers make of each block of each group of rows, laid where it belongs."""
        each = x.shape[-1] // frames
        whole: Tensor | None = None
        for rows, memory in zip(self._groups, self._memories, strict=True):
            for start in range(0, min(frames, max(lengths[rows])), BLOCK):
                block = x[rows, :, :, start * each : (start + BLOCK) * each]
                width = block.shape[-1] // each
                for layer in layers:
                    block = layer(block, memory)
                scale = block.shape[-1] // width
                if whole is None:
                    whole = block.new_zeros(x.shape[0], 1, frames * scale, block.shape[1]).permute(0, 3, 1, 2)
                whole[rows, :, :, start * scale : (start + width) * scale] = block
        assert whole is not None
        return whole


class DecoderStream:
    """Codes to speech as they come: equal to decoding all at once, but for rounding.

    The latency is nothing but the beginning: it reflects at the left edge seven frames wide, so the first seven frames
    (93 ms) come together. From then on a frame of codes gives its 320 samples at once, for a transposed convolution,
    trimmed on the right, hears the past alone.
    """

    def __init__(self, network: Network, latents: Callable[[Tensor], Tensor]) -> None:
        self._network, self._latents = network, latents
        self._stream: Stream | None = None
        self._rows = 1
        self._waiting: Tensor | None = None  # the first latents [B, D, t], t < 7

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """The waveforms float32 `[B, 1, N]` that codes `[B, Q, t]` have made ready: N is 320 t, but at the beginning.

        Raises:
            ValueError: the number of rows is not that of the codes before.
        """
        begun = self._stream is not None or self._waiting is not None
        if begun and codes.shape[0] != self._rows:
            raise ValueError(f"the codes before were of {self._rows} rows, and these are of {codes.shape[0]}")
        self._rows = codes.shape[0]
        latents = self._latents(codes.to(self._network.device))
        if self._waiting is not None:
            latents = torch.cat([self._waiting, latents], dim=-1)
        if self._stream is None and latents.shape[-1] <= REFLECTED:
            self._waiting = latents
            return latents.new_zeros(latents.shape[0], 1, 0)
        self._waiting = None
        return self._decode(latents)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """What is left `[B, 1, N]`: nothing, unless all there ever was are fewer than seven frames."""
        latents, self._waiting = self._waiting, None
        return torch.zeros(self._rows, 1, 0) if latents is None else self._decode(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        self._stream = self._stream or Stream(self._network, latents.shape[0])
        if not latents.shape[-1]:
            return latents.new_zeros(latents.shape[0], 1, 0)
        return self._stream.push(latents, latents.shape[-1]).float()
