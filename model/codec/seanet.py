"""EnCodec's layers in plain torch, under the names of the published weights; what is trained, and what streams come of.

The encoder and the decoder are SEANet's: residual blocks with a stride of 2, 4, 5 and 8 after each on the way down and
before each on the way up, and an LSTM where the frames are fewest.
Source: Défossez et al. 2022 (arXiv:2210.13438), section 3.1; names, padding and order of the layers are those of the
`encodec` package, version 0.1.1, which is no requirement (it asks for torchaudio, to read files with).

Shapes: B batch, C channels, T time steps, D width of a latent, K kernel.
"""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codec.weights import Shape

RATIOS = (8, 5, 4, 2)  # strides of the decoder in order
CODEBOOK_SIZE = 1024
_KERNEL = 7  # of the first and the last convolution
_NARROWING = 2  # of a residual block


class Convolution(nn.Module):
    """A causal convolution: as much is reflected at the left edge as leaves a step for each stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(inputs, outputs, kernel, stride)})
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, C', T / stride]`, rounded up."""
        left, length = self.kernel - self.stride, x.shape[-1]
        right = (ceil(length / self.stride) - 1) * self.stride + self.kernel - left - length
        missing = max(0, max(left, right) - length + 1)  # zeros stand in for what is too short to be reflected
        padded = F.pad(F.pad(x, (0, missing)), (left, right), "reflect")
        y: Tensor = self.conv["conv"](padded[..., : padded.shape[-1] - missing])
        return y


class Transposed(nn.Module):
    """A causal transposed convolution of kernel 2 s and stride s, trimmed on the right."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convtr = nn.ModuleDict({"convtr": nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride)})
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, C', T stride]`."""
        y: Tensor = self.convtr["convtr"](x)
        return y[..., : y.shape[-1] - self.stride]


class Residual(nn.Module):
    """A bottleneck beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = width // _NARROWING
        self.block = nn.Sequential(nn.ELU(), Convolution(width, narrow, 3), nn.ELU(), Convolution(narrow, width, 1))
        self.shortcut = Convolution(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to the same."""
        y: Tensor = self.shortcut(x) + self.block(x)
        return y


class Recurrent(nn.Module):
    """An LSTM over time with a skip connection."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to the same."""
        steps = x.permute(2, 0, 1)
        y: Tensor = self.lstm(steps)[0] + steps
        return y.permute(1, 2, 0)


class Half(nn.Module):
    """An encoder or a decoder: its layers one after the other."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1, N]` to `[B, D, T]`, or back."""
        y: Tensor = self.model(x)
        return y


class Codebook(nn.Module):
    """1024 entries, with what the published training kept of them."""

    embed: Tensor  # [1024, D]

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(CODEBOOK_SIZE))
        self.register_buffer("embed", torch.zeros(CODEBOOK_SIZE, dimension))
        self.register_buffer("embed_avg", torch.zeros(CODEBOOK_SIZE, dimension))


class Quantization(nn.Module):
    """One codebook of the residual quantizer."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self._codebook = Codebook(dimension)

    @property
    def codebook(self) -> Tensor:
        """Its entries `[1024, D]`."""
        return self._codebook.embed


class ResidualQuantizer(nn.Module):
    """The codebooks; what they do with latents is `quantizer.py`'s."""

    def __init__(self, dimension: int, num_codebooks: int) -> None:
        super().__init__()
        self.n_q = num_codebooks
        self.vq = nn.ModuleDict({"layers": nn.ModuleList(Quantization(dimension) for _ in range(num_codebooks))})


class EncodecModel(nn.Module):
    """An untrained EnCodec of a shape. Its convolutions are plain: weight norms are folded as weights are read."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widest = shape.n_filters * 2 ** len(RATIOS)
        down: list[nn.Module] = [Convolution(1, shape.n_filters, _KERNEL)]
        width = shape.n_filters
        for stride in reversed(RATIOS):
            down += [Residual(width), nn.ELU(), Convolution(width, 2 * width, 2 * stride, stride)]
            width *= 2
        down += [Recurrent(widest, shape.lstm)] if shape.lstm else []
        self.encoder = Half([*down, nn.ELU(), Convolution(widest, shape.dimension, _KERNEL)])
        up: list[nn.Module] = [Convolution(shape.dimension, widest, _KERNEL)]
        up += [Recurrent(widest, shape.lstm)] if shape.lstm else []
        for stride in RATIOS:
            up += [nn.ELU(), Transposed(width, width // 2, stride), Residual(width // 2)]
            width //= 2
        self.decoder = Half([*up, nn.ELU(), Convolution(shape.n_filters, 1, _KERNEL)])
        self.quantizer = ResidualQuantizer(shape.dimension, shape.num_codebooks)


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose weights are weights, where a weight norm has kept length and direction apart."""
    plain = {name: value for name, value in state.items() if not name.endswith((".weight_g", ".weight_v"))}
    for name in state.keys() - plain.keys():
        whole = name[:-2]
        length, direction = state.get(f"{whole}_g"), state.get(f"{whole}_v")
        if length is not None and direction is not None:
            plain[whole] = torch._weight_norm(
                direction, length, 0
            )  # what torch's own weight norm calls, to the last bit
    return plain
