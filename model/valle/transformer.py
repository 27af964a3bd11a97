"""The pre-norm transformer that both halves of VALL-E share.

It adds no positions and makes no masks: each half knows which of its slots are
phones and which are frames. Where a slot lies in the sequence therefore means
nothing, so rows of different lengths share a batch, and a cache, without
re-aligning. Source: VALL-E (arXiv:2301.02111), sections 4.2.1 and 4.2.2.

Attention is torch's own `scaled_dot_product_attention`. Without a mask it takes the
flash kernel on CUDA, with a boolean one the memory-efficient kernel: neither ever
writes the S x S scores of a head to memory.

Shapes: B batch, S slots of a sequence, H heads, D width.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from model.cpu import onednn
from model.valle.settings import Settings, Size


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sinusoidal embeddings `[..., D]` of positions `[...]` (Vaswani et al. 2017, section 3.5)."""
    half = torch.arange(width // 2, device=positions.device, dtype=torch.float32)
    angles = positions.unsqueeze(-1).float() * 10_000 ** (-2 * half / width)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def placed(content: Tensor, positions: Tensor) -> Tensor:
    """What slots hold, `[B, S, D]`, and where they are, `[..., S]`: scaled as in Vaswani et al. 2017, section 3.4."""
    width = content.shape[-1]
    embedded: Tensor = content * width**0.5 + sinusoids(positions, width).to(content.dtype)
    return embedded


def spoken_in(embedding: nn.Embedding, languages: Tensor | None, settings: Settings) -> Tensor:
    """The languages `[B]` of rows, for all of their slots: `[B, 1, D]` (VALL-E X, arXiv:2303.03926).

    Raises:
        ValueError: none are said.
    """
    if languages is None:
        raise ValueError(f"no language is said: one of {', '.join(settings.languages)} is needed")
    language: Tensor = embedding(languages).unsqueeze(1)
    return language


def within(lengths: Tensor, size: int) -> Tensor:
    """Which of `size` slots are no padding: bool `[B, size]` from lengths `[B]`."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


class Memory(Protocol):
    """What attends in place of a layer, because it keeps keys and values of slots that were read before."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, H, S, D / H]` each of the slots read now, to what they mix of all slots they may see, the same shape."""
        ...


class Norm(nn.Module):
    """Layer normalization; with a condition, `a * LayerNorm(h) + b` where it gives `a` and `b` (AdaLN)."""

    def __init__(self, width: int, conditioned: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.scale_and_shift = nn.Linear(width, 2 * width) if conditioned else None

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """`[B, S, D]` and the condition `[B, D]` give `[B, S, D]`."""
        normal: Tensor = self.norm(x)
        if self.scale_and_shift is None or condition is None:
            return normal
        both: Tensor = self.scale_and_shift(condition)
        scale, shift = both.unsqueeze(1).chunk(2, dim=-1)
        return torch.addcmul(shift, scale, normal)


class Layer(nn.Module):
    """Self-attention, then a feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, size: Size, index: int, conditioned: bool) -> None:
        super().__init__()
        self.index, self.num_heads = index, size.num_heads
        self.attention_norm = Norm(size.width, conditioned)
        self.query_key_value = nn.Linear(size.width, 3 * size.width)
        self.attention_out = nn.Linear(size.width, size.width)
        self.ffn_norm = Norm(size.width, conditioned)
        self.ffn_in = nn.Linear(size.width, size.ffn_width)
        self.ffn_out = nn.Linear(size.ffn_width, size.width)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor | None, memory: Memory | None) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`; the rest as in `Transformer.forward`."""
        attended: Tensor = self.dropout(self._attend(self.attention_norm(x, condition), mask, memory))
        x = x + attended
        inner = functional.gelu(self.ffn_in(self.ffn_norm(x, condition)))
        fed: Tensor = self.dropout(self.ffn_out(inner))
        return x + fed

    def _attend(self, x: Tensor, mask: Tensor | None, memory: Memory | None) -> Tensor:
        query, key, value = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if memory is None and mask is None and onednn.serves(query):
            heads = onednn.attention(query, key, value)
        elif memory is None:
            heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            heads = memory.attend(self.index, query, key, value, mask)
        mixed: Tensor = self.attention_out(heads.transpose(1, 2).flatten(2))
        return mixed


class Transformer(nn.Module):
    """Layers of one size, and a last norm. `conditioned` makes every norm an AdaLN.

    With `checkpoint_activations` a training keeps only what goes into each layer, and computes the rest again on its
    way back: a third more work for memory that hardly grows with the number of layers. Dropout falls the same.
    """

    def __init__(self, size: Size, conditioned: bool) -> None:
        super().__init__()
        self.size = size
        self.checkpoint_activations = False
        self.dropout = nn.Dropout(size.dropout)
        layers = [Layer(size, index, conditioned) for index in range(size.num_layers)]
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(size.width, conditioned)
        self.apply(_initialize)
        for layer in layers:  # the residual stream keeps its size however many layers add to it
            for out in (layer.attention_out, layer.ffn_out):
                out.weight.data /= (2 * size.num_layers) ** 0.5

    def forward(
        self, x: Tensor, mask: Tensor | None, condition: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`.

        `mask` is bool and broadcasts to `[B, H, S, S']`, true where a slot may see another; null where all see all.
        S' counts the slots that the memory keeps too, and the memory keeps these.
        """
        x = self.dropout(x)
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(layer, x, mask, condition, memory, use_reentrant=False)
            else:
                x = layer(x, mask, condition, memory)
        last: Tensor = self.norm(x, condition)
        return last


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)  # 0.02 halves the pace of a narrow one
        nn.init.zeros_(module.bias)
    if isinstance(module, Norm) and module.scale_and_shift is not None:  # starts as a plain norm
        nn.init.zeros_(module.scale_and_shift.weight)
        width = module.scale_and_shift.out_features // 2
        nn.init.zeros_(module.scale_and_shift.bias)
        nn.init.ones_(module.scale_and_shift.bias.data[:width])
