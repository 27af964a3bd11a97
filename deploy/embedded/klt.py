"""A start for EnCodec's weights: the linear transform codec that speech itself asks for.

The surprising fact: from random weights a small SEANet stays for hours near the plateau of the mean spectrum, while
the same layers, before any training, can hold the Karhunen-Loève transform of speech, layer by layer: every
strided convolution is a PCA of the samples under its kernel, every transposed one its transpose, every residual block
passes through. An ELU is the identity where it is positive, so each signal rides on an offset that the
next bias takes away again. With k-means codebooks that is already a codec of STOI 0.8; training goes on from there.
Source: Ahmed, Natarajan and Rao 1974 on transform coding; the weights that carry no signal stay random.

Shapes: C channels, M places in time; kernels as PyTorch has them, `[out, in, taps]`, transposed ones `[in, out, taps]`.
"""

from typing import Any

import torch
from torch import Tensor, nn

_SCALE = 3.0  # the signal inside is this much louder than the waveform, so that it has about unit variance
_OFFSET = 8.0  # standard deviations that an ELU lets pass below the mean
_FAINT = 0.01  # of the random weights beside the signal
_FAINT_LSTM = 0.05


def start_from_transform(encoder: Any, decoder: Any, wav: Tensor) -> None:
    """Sets the weights of a causal SEANet pair without weight norm from speech `[N]` at 24 kHz, N a multiple of 320."""
    with torch.no_grad():
        for half in (encoder, decoder):
            _random(half)
        latent_offset, components, levels = _analysis(encoder, wav)
        _synthesis(decoder, latent_offset, components, levels)


def _random(half: nn.Module) -> None:
    """Unit gain for every convolution; a last LSTM layer that is hardly heard."""
    for module in half.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            channels = module.weight.shape[0 if isinstance(module, nn.ConvTranspose1d) else 1]
            taps = module.weight.shape[2] // (module.stride[0] if isinstance(module, nn.ConvTranspose1d) else 1)
            nn.init.normal_(module.weight, std=(channels * taps) ** -0.5)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            for name, parameter in module.named_parameters():
                if name.endswith(f"_l{module.num_layers - 1}"):
                    parameter.mul_(_FAINT_LSTM)


def _components(signal: Tensor, count: int) -> Tensor:
    """The first principal components `[count or C, C]` of a signal `[C, M]`."""
    vectors = torch.linalg.eigh(signal @ signal.T / signal.shape[1]).eigenvectors
    return vectors.flip(1).T[:count].contiguous()


def _pass_through(block: Any, offset: Tensor) -> None:
    """A residual block whose first channels are copied, plus an offset; the channel behind them is the constant 1."""
    count = len(offset)
    shortcut = block.shortcut.conv.conv
    shortcut.weight[: count + 1] = 0
    shortcut.weight[:count, :count, 0] = torch.eye(count)
    shortcut.bias[:count] = offset
    shortcut.bias[count] = 1
    residual = block.block[-1].conv.conv.weight
    residual.mul_(_FAINT)
    residual[count] = 0


def _analysis(encoder: Any, wav: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, int]]]:
    """Encoder weights; returns the last offset, the last components, and of each level components, offset, stride."""
    layers = encoder.model
    first = layers[0].conv.conv
    first.weight[0] = 0
    first.weight[0, 0, -1] = _SCALE
    signal = wav[None] * _SCALE
    levels = []
    for level, stride in enumerate(encoder.ratios):
        count = len(signal)
        offset = _OFFSET * signal.std(1)
        _pass_through(layers[3 * level + 1], offset)
        strided = layers[3 * level + 3].conv.conv
        stretches = signal.reshape(count, -1, stride).permute(0, 2, 1).reshape(count * stride, -1)
        components = _components(stretches, min(strided.out_channels, encoder.dimension))
        kernel = components.reshape(-1, count, stride)
        strided.weight[: len(kernel)] = 0
        strided.weight[: len(kernel), :count, stride:] = kernel  # the taps before these see the stretch before
        strided.bias[: len(kernel)] = -(kernel.sum(2) @ offset)
        levels.append((components, offset, stride))
        signal = components @ stretches
    offset = _OFFSET * signal.std(1)
    strided.bias[: len(signal)] += offset
    last = layers[-1].conv.conv
    components = _components(signal, encoder.dimension)
    last.weight.zero_()
    last.weight[:, : len(signal), -1] = components
    last.bias.copy_(-(components @ offset))
    return offset, components, levels


def _synthesis(decoder: Any, offset: Tensor, components: Tensor, levels: list[tuple[Tensor, Tensor, int]]) -> None:
    """Decoder weights, each level the transpose of the encoder's; a constant channel takes the offsets away."""
    layers = decoder.model
    first = layers[0].conv.conv
    count = len(offset)
    first.weight[: count + 1] = 0
    first.weight[:count, :, -1] = components.T
    first.bias[:count] = offset
    first.bias[count] = 1
    for level, (components, next_offset, stride) in enumerate(reversed(levels)):
        transposed = layers[3 * level + 3].convtr.convtr
        count, outputs = len(components), len(next_offset)
        transposed.weight[:, :outputs] = 0
        transposed.weight[:count, :outputs, :stride] = components.reshape(count, outputs, stride)
        transposed.weight[count, :outputs, :stride] = -(components.T @ offset).reshape(outputs, stride)
        _pass_through(layers[3 * level + 4], next_offset)
        offset = next_offset
    last = layers[-1].conv.conv
    last.weight.mul_(_FAINT)
    last.weight[0, 0] = 0
    last.weight[0, 0, -1] = 1 / _SCALE
    last.bias.fill_(-float(offset[0]) / _SCALE)
