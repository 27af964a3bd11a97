"""Kokoro-82M in PyTorch, many lines at once and for speaking only: after hexgrad's `kokoro` 0.9.4 (Apache-2.0).

It computes what the int8 ONNX export computes, with its weights (`deploy.embedded.accelerated.weights`) and activations
in float32: no noise in the source, and no division by the window's sum, which makes it 1.5 times louder than the
original, but for the first 10 samples. All rows of a batch have the same number of tokens, and in `speech` the same
number of frames, so nothing is masked.
Source: StyleTTS 2 (Li et al. 2023, arXiv:2306.07691), iSTFTNet (Kaneko et al. 2022, arXiv:2203.02395).

Shapes: B batch, T tokens, F frames of 25 ms, C channels.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
Norm = Callable[[str, Tensor], Tensor]

SAMPLE_RATE = 24_000  # Hz
HOP = 600  # samples of a frame
_SILENT = (2.4903617, -2.1253965, 0.79346722, -2.1291599, 0.17297465, 2.9267988, -1.3449425, 2.7359736, -1.5468425)
"""The phases of bins 2 to 10 where the source is constant: rounding noise of onnxruntime, the same in each frame."""


@dataclass
class State:
    """What `text` leaves for `speech`; `state[rows]` takes rows by index, mask or slice."""

    encoded: Tensor  # [B, T, 640], for prosody
    text: Tensor  # [B, T, 512], for the decoder
    style: Tensor  # [B, 256]: timbre, then prosody

    def __getitem__(self, rows: Any) -> "State":
        return State(self.encoded[rows], self.text[rows], self.style[rows])


def spread(durations: Tensor, speed: Tensor | float, total: int | None = None) -> Tensor:
    """Whole frames `[B, T]` of at least 1, by cumulative rounding of durations/speed `[B, T]`.

    `speed` is a number or `[B]`. Each row sums to `total`, which is T or more; without one, to about its own.
    """
    count = durations.shape[1]
    speed = torch.as_tensor(speed, dtype=torch.float64, device=durations.device).reshape(-1, 1)
    wanted = durations.double() / speed
    extra = (wanted - 1).clamp(min=0)  # one frame each is certain, the rest is shared out
    if total is not None:
        sums = extra.sum(1, keepdim=True)
        extra = torch.where(sums > 0, extra, 1.0)
        extra = extra * ((total - count) / extra.sum(1, keepdim=True))
    ends = extra.cumsum(1)
    if total is not None:
        ends[:, -1] = total - count
    ends = ends.round().long()
    return 1 + torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1]))


def _plain_snake(x: Tensor, alpha: Tensor, inverse: Tensor) -> Tensor:
    s = (x * alpha).sin_()
    return torch.addcmul(x, inverse, s.square_())


def _snake(device: torch.device) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`x + sin(a x)^2 / a`, one kernel where CUDA's run-time compiler is there, else four."""
    if device.type == "cuda":
        try:
            one: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.cuda.jiterator._create_jit_fn(
                "template <typename T> T snake(T x, T a, T i) { T s = sin(a * x); return x + i * s * s; }"
            )
            x, a = torch.randn(2, 3, 5, device=device), torch.rand(1, 3, 1, device=device) + 0.5
            if torch.allclose(one(x, a, 1 / a), _plain_snake(x, a, 1 / a), atol=1e-5):
                return one
        except Exception as problem:  # whatever a compiler says: it is a matter of pace alone
            logging.getLogger("kokoro").info("snake in four kernels: %s", problem)
    return _plain_snake


class Kokoro:
    """`text`, `spread`, `speech`, in this order; float32, and TF32 where the process allows it."""

    def __init__(self, weights: Tensors, device: torch.device) -> None:
        self._w = w = {name: weight.to(device) for name, weight in weights.items()}
        layers = [f"predictor.text_encoder.lstms.{i}" for i in (0, 2, 4)]
        names = ["text_encoder.lstm", *layers, "predictor.lstm", "predictor.shared"]
        self._lstms = {name: _lstm(w, name) for name in names}
        a = "bert.layer.attention."
        self._qkv = [torch.cat([w[f"{a}{x}.{part}"] for x in ("query", "key", "value")]) for part in ("weight", "bias")]
        self._norms = {top: _Norms(w, top) for top in ("predictor", "decoder")}
        for name in [name for name in w if ".alpha" in name]:
            w[name + ".inverse"] = 1 / w[name]
        self._snake = _snake(device)
        n = torch.arange(20, dtype=torch.float64)
        window = 0.5 - 0.5 * torch.cos(2 * torch.pi * n / 20)
        turns = torch.arange(11, dtype=torch.float64)[:, None] * n / 20
        basis = torch.cat([torch.cos(2 * torch.pi * turns), -torch.sin(2 * torch.pi * turns)]) * window
        basis[[11, 21]] = 0  # imaginary parts that are nothing but rounding; their signs decide between pi and -pi
        self._basis = basis.float().to(device)  # [22, 20]
        self._signs = torch.zeros(22, device=device)  # as onnxruntime has them: always at 0 Hz, mostly at 12 kHz
        self._signs[11], self._signs[21] = 1e-30, -1e-30
        self._silent = torch.tensor([torch.pi, 0.0, *_SILENT], device=device)[:, None]
        self._multiples = torch.arange(1, 10, device=device, dtype=torch.float32)[:, None]
        gain = torch.full((20,), 4.0, device=device)
        sums = w["decoder.generator.stft.istft.stft.window_sum"]
        self._first = torch.where(sums > 1.1754944e-38, 4 / sums, gain)[10:] / 4

    @torch.inference_mode()
    def text(self, tokens: Tensor, style: Tensor) -> tuple[State, Tensor]:
        """The state and the tokens' durations in frames at speed 1, before rounding, from `[B, T]` and `[B, 256]`."""
        w, manner = self._w, style[:, 128:]
        x = self._linear("bert_encoder", self._bert(tokens))
        manners = manner[:, None].expand(-1, x.shape[1], -1)
        x = torch.cat([x, manners], 2)
        for i in (0, 2, 4):
            x = self._lstms[f"predictor.text_encoder.lstms.{i}"](x)[0]
            gamma, beta = self._linear(f"predictor.text_encoder.lstms.{i + 1}.fc", manner)[:, None].chunk(2, 2)
            x = torch.addcmul(beta, 1 + gamma, F.layer_norm(x, (512,), eps=1e-5))
            x = torch.cat([x, manners], 2)
        encoded = x
        x = self._lstms["predictor.lstm"](x)[0]
        durations = torch.sigmoid(self._linear("predictor.duration_proj", x)).sum(2)
        x = F.embedding(tokens, w["text_encoder.embedding.weight"]).transpose(1, 2)
        for i in range(3):
            x = self._conv(f"text_encoder.cnn.{i}.0", x, padding=2).transpose(1, 2)
            x = F.layer_norm(x, (512,), w[f"text_encoder.cnn.{i}.1.gamma"], w[f"text_encoder.cnn.{i}.1.beta"], 1e-5)
            x = F.leaky_relu(x, 0.2).transpose(1, 2)
        x = self._lstms["text_encoder.lstm"](x.transpose(1, 2).contiguous())[0]
        return State(encoded, x, style), durations

    @torch.inference_mode()
    def speech(self, state: State, frames: Tensor, total: int | None = None) -> Tensor:
        """Waveforms `[B, F*600]` at 24 kHz; each row of `frames` sums to F, `total` if given (no wait for the GPU)."""
        batch, count = frames.shape
        total = int(frames[0].sum()) if total is None else total
        tokens = torch.arange(batch * count, device=frames.device)
        index = torch.repeat_interleave(tokens, frames.flatten(), output_size=batch * total)
        x = state.encoded.flatten(0, 1)[index].view(batch, total, -1)
        asr = state.text.flatten(0, 1)[index].view(batch, total, -1).transpose(1, 2).contiguous()
        norms = self._norms["predictor"](state.style[:, 128:])
        shared = self._lstms["predictor.shared"](x)[0].transpose(1, 2).contiguous()
        pitch, energy = (self._curve(name, shared, norms) for name in ("F0", "N"))
        norms = self._norms["decoder"](state.style[:, :128])
        pitch_half = self._conv("decoder.F0_conv", pitch, stride=2, padding=1)
        energy_half = self._conv("decoder.N_conv", energy, stride=2, padding=1)
        x = self._block("decoder.encode", torch.cat([asr, pitch_half, energy_half], 1), norms)
        beside = torch.cat([self._conv("decoder.asr_res.0", asr), pitch_half, energy_half], 1)
        for i in range(4):
            x = self._block(f"decoder.decode.{i}", torch.cat([x, beside], 1), norms, upsample=i == 3)
        return self._generator(x, pitch[:, 0], norms)

    def _bert(self, tokens: Tensor) -> Tensor:
        w, e, a, full = self._w, "bert.embeddings.", "bert.layer.attention.", "bert.layer.full_layer_layer_norm."
        batch, count = tokens.shape
        x = F.embedding(tokens, w[e + "word_embeddings.weight"])
        x = x + (w[e + "token_type_embeddings.weight"][0] + w[e + "position_embeddings.weight"][:count])
        x = F.layer_norm(x, (128,), w[e + "LayerNorm.weight"], w[e + "LayerNorm.bias"], 1e-12)
        x = self._linear("bert.encoder.embedding_hidden_mapping_in", x)
        for _ in range(12):
            q, k, v = F.linear(x, *self._qkv).view(batch, count, 3, 12, 64).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, 768)
            x = x + self._linear(a + "dense", y)
            x = F.layer_norm(x, (768,), w[a + "LayerNorm.weight"], w[a + "LayerNorm.bias"], 1e-12)
            y = F.gelu(self._linear("bert.layer.ffn", x), approximate="tanh")
            x = x + self._linear("bert.layer.ffn_output", y)
            x = F.layer_norm(x, (768,), w[full + "weight"], w[full + "bias"], 1e-12)
        return x

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._w[name + ".weight"], self._w[name + ".bias"])

    def _conv(self, name: str, x: Tensor, **how: Any) -> Tensor:
        return F.conv1d(x, self._w[name + ".weight"], self._w.get(name + ".bias"), **how)

    def _curve(self, name: str, x: Tensor, norms: Norm) -> Tensor:
        for i in range(3):
            x = self._block(f"predictor.{name}.{i}", x, norms, upsample=i == 1)
        return self._conv(f"predictor.{name}_proj", x)

    def _block(self, name: str, x: Tensor, norms: Norm, upsample: bool = False) -> Tensor:
        y = F.leaky_relu_(norms(name + ".norm1", x), 0.2)
        if upsample:
            y = self._pool(name + ".pool", y)
        y = self._conv(name + ".conv1", y, padding=1)
        y = F.leaky_relu_(norms(name + ".norm2", y), 0.2)
        y = self._conv(name + ".conv2", y, padding=1)
        if name + ".conv1x1.weight" in self._w:  # pointwise, so before the repetition as well as after
            x = self._conv(name + ".conv1x1", x)
        if upsample:
            x = x.repeat_interleave(2, 2, output_size=2 * x.shape[2])
        return (y + x).mul_(0.5**0.5)

    def _pool(self, name: str, x: Tensor) -> Tensor:
        """The depthwise transposed convolution of 3 with stride 2, which cuDNN does badly."""
        bias = self._w[name + ".bias"][:, None]
        left, middle, right = (self._w[name + ".weight"][:, :, i] for i in range(3))
        even, odd = torch.addcmul(bias, middle, x), torch.addcmul(bias, right, x)
        odd[:, :, :-1].addcmul_(left, x[:, :, 1:])
        return torch.stack((even, odd), 3).flatten(2)

    def _source(self, pitch: Tensor) -> Tensor:
        """Magnitudes and phases `[B, 22, F*120+1]` of the harmonics of a pitch `[B, 2*F]` in Hz."""
        w, g = self._w, "decoder.generator.m_source.l_linear."
        rates = pitch[:, None] * self._multiples / 24_000
        phase = (rates - rates.floor()).cumsum(2) * (2 * torch.pi) * 300
        sines = torch.sin(F.interpolate(phase, scale_factor=300, mode="linear")) * 0.1
        voiced = (pitch > 10).float().repeat_interleave(300, 1, output_size=300 * pitch.shape[1])
        source = torch.tanh((sines * w[g + "weight"][0][:, None]).sum(1) * voiced + w[g + "bias"])
        windows = F.pad(source[:, None], (10, 10), mode="reflect")[:, 0].unfold(1, 20, 5)
        spectrum = _exact(windows, self._basis, self._signs).transpose(1, 2)
        real, imaginary = spectrum[:, :11], spectrum[:, 11:]
        size = torch.hypot(real, imaginary)
        phase = torch.where(size < 1e-6, self._silent, torch.atan2(imaginary, real))
        return torch.cat([size, phase], 1)

    def _generator(self, x: Tensor, pitch: Tensor, norms: Norm) -> Tensor:
        w, g = self._w, "decoder.generator."
        harmonics = self._source(pitch)
        for i, (stride, padding) in enumerate(((10, 5), (6, 3))):
            y = self._conv(f"{g}noise_convs.{i}", harmonics, **({"stride": 6, "padding": 3} if i == 0 else {}))
            y = self._resblock(f"{g}noise_res.{i}", y, norms)
            x = F.conv_transpose1d(
                F.leaky_relu(x, 0.1), w[f"{g}ups.{i}.weight"], w[f"{g}ups.{i}.bias"], stride, padding
            )
            if i == 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + y
            y = self._resblock(f"{g}resblocks.{3 * i}", x, norms)
            y += self._resblock(f"{g}resblocks.{3 * i + 1}", x, norms)
            y += self._resblock(f"{g}resblocks.{3 * i + 2}", x, norms)
            x = y.div_(3)
        x = self._conv(g + "conv_post", F.leaky_relu(x, 0.01), padding=3)
        size, phase = torch.exp(x[:, :11]), torch.sin(x[:, 11:])
        x = torch.cat([size * torch.cos(phase), size * torch.sin(phase)], 1)
        wave = F.conv_transpose1d(x, w[g + "stft.istft.stft.inverse_basis"] * 4, stride=5)[:, 0, 10:-10].contiguous()
        wave[:, :10] *= self._first
        return wave

    def _resblock(self, name: str, x: Tensor, norms: Norm) -> Tensor:
        w = self._w
        size = w[name + ".convs1.0.weight"].shape[2]
        for i, dilation in enumerate((1, 3, 5)):
            a1, a2 = f"{name}.alpha1.{i}", f"{name}.alpha2.{i}"
            y = self._snake(norms(f"{name}.adain1.{i}", x), w[a1], w[a1 + ".inverse"])
            y = self._conv(f"{name}.convs1.{i}", y, padding=(size - 1) * dilation // 2, dilation=dilation)
            y = self._snake(norms(f"{name}.adain2.{i}", y), w[a2], w[a2 + ".inverse"])
            x = self._conv(f"{name}.convs2.{i}", y, padding=(size - 1) // 2) + x
        return x


class _Norms:
    """The adaptive instance norms of a half of the model: one matrix for all their styles."""

    def __init__(self, weights: Tensors, top: str) -> None:
        tails = [name for name in weights if name.startswith(top) and name.endswith(".fc.weight")]
        self._names = [name.removesuffix(".fc.weight") for name in tails if ".lstms." not in name]
        self._sizes = [len(weights[name + ".fc.bias"]) // 2 for name in self._names]
        self._weight, self._bias = (self._stacked(weights, part) for part in ("weight", "bias"))
        self._bias[: sum(self._sizes)] += 1

    def _stacked(self, weights: Tensors, part: str) -> Tensor:
        """All gammas, then all betas."""
        both = [weights[f"{name}.fc.{part}"].chunk(2) for name in self._names]
        return torch.cat([gamma for gamma, _ in both] + [beta for _, beta in both])

    def __call__(self, style: Tensor) -> Norm:
        """What norms channels `[B, C, N]` under a module's name for styles `[B, 128]`."""
        both = torch.split(F.linear(style, self._weight, self._bias), self._sizes * 2, 1)
        count = len(self._names)
        known = {name: (both[i], both[i + count]) for i, name in enumerate(self._names)}

        def norm(name: str, x: Tensor) -> Tensor:
            gamma, beta = known[name]
            batch, channels, length = x.shape
            rows = x.reshape(1, batch * channels, length)
            y = F.batch_norm(rows, None, None, gamma.reshape(-1), beta.reshape(-1), True, 0.0, 1e-5)
            return y.view(batch, channels, length)

        return norm


def _exact(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer without TF32: the phases of small magnitudes need the digits."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        return F.linear(x, weight, bias)
    torch.set_float32_matmul_precision("highest")
    y = F.linear(x, weight, bias)
    torch.set_float32_matmul_precision(before)
    return y


def _lstm(weights: Tensors, name: str) -> torch.nn.LSTM:
    first = weights[name + ".weight_ih_l0"]
    lstm = torch.nn.LSTM(first.shape[1], 256, batch_first=True, bidirectional=True, device=first.device)
    lstm.load_state_dict({k[len(name) + 1 :]: weights[k] for k in weights if k.startswith(name + ".")})
    lstm.requires_grad_(False).eval().flatten_parameters()
    return lstm


def read(path: Path) -> Tensors:
    """The weights in a file of `deploy.embedded.accelerated.weights`, float32."""
    found = {}
    with np.load(path) as archive:
        for key in archive.files:
            name, _, part = key.partition("|")
            if part in ("", "q"):
                value = archive[key].astype(np.float32)
                if part:
                    value = (value - archive[f"{name}|z"].astype(np.float32)) * archive[f"{name}|s"]
                found[name] = torch.from_numpy(np.ascontiguousarray(value))
    return found
