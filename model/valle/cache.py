"""What a decoding transformer remembers: the keys and values of every slot that each row has read.

There are two, for two kinds of machine. `Apart` gives each row memory of its own, as
long as that row needs, and lets it attend by itself over exactly its own slots: a CPU is
not slower for it, and what a row says cannot depend on its neighbours. `Together` holds
all rows in one tensor whose shape never changes, masked by length, as CUDA graphs and
torch.compile want it. Attention does not care where in memory a
slot lies, so both pack a row's slots without the gaps that padding left.

Shapes: B batch, L layers, S slots, H heads, D width.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

BUCKET = 256  # slots: `Together` attends over a multiple of it, so that few shapes are ever compiled


@dataclass
class Prefix:
    """Keys and values of a prefix as it is read, layer by layer."""

    keys: list[Tensor] = field(default_factory=list)  # L of [B, H, S, D / H]
    values: list[Tensor] = field(default_factory=list)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The slots of the prefix see one another as the mask says."""
        self.keys.append(key)
        self.values.append(value)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    def stack(self) -> Tensor:
        """`[2, L, B, H, S, D / H]`."""
        return torch.stack([torch.stack(self.keys), torch.stack(self.values)])


@dataclass
class Apart:
    """Rows that attend by themselves. More rows than it knows may come: they fill up the batch, and mix nothing."""

    rows: list[Tensor]  # each [2, L, H, room, D / H], keys and values
    lengths: list[int]  # slots each has read

    @staticmethod
    def of(prefix: Prefix, room: int) -> "Apart":
        """One row that has read a prefix without padding, with room for `room` more slots."""
        read = prefix.stack()[:, :, 0]
        return Apart([functional.pad(read, (0, 0, 0, room))], [read.shape[3]])

    def join(self, other: "Apart") -> None:
        """Takes up the rows of another."""
        self.rows += other.rows
        self.lengths += other.lengths

    def mask(self) -> None:
        """None is needed."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """One slot of each row sees itself and the row's slots before it."""
        heads = torch.zeros_like(query)
        for place, (row, length) in enumerate(zip(self.rows, self.lengths, strict=True)):
            keys, values = row[0, layer], row[1, layer]
            keys[:, length], values[:, length] = key[place, :, 0], value[place, :, 0]
            heads[place] = functional.scaled_dot_product_attention(
                query[None, place], keys[None, :, : length + 1], values[None, :, : length + 1]
            )[0]
        return heads

    def advance(self) -> None:
        """All layers have read one slot more."""
        self.lengths = [length + 1 for length in self.lengths]

    def keep(self, places: list[int]) -> None:
        """Forgets all rows but these."""
        self.rows = [self.rows[place] for place in places]
        self.lengths = [self.lengths[place] for place in places]


@dataclass
class Together:
    """Rows that attend at once, in a tensor of one shape."""

    slots: Tensor  # [2, L, B, H, room, D / H], keys and values
    lengths: Tensor  # int [B]: slots each has read
    longest: int  # of the lengths, known without asking the device

    @staticmethod
    def of(prefix: Prefix, visible: Tensor, room: int) -> "Together":
        """Rows that have read a prefix, of which `visible` `[B, S]` is no padding, with room for `room` more slots."""
        read, size = prefix.stack(), visible.shape[1]
        packed = (~visible).int().argsort(dim=1, stable=True)[None, None, :, None, :, None]
        slots = read.new_zeros(*read.shape[:4], -(-(size + room) // BUCKET) * BUCKET, read.shape[5])
        slots[:, :, :, :, :size] = read.gather(4, packed.expand_as(read))
        return Together(slots, visible.sum(dim=1), size)

    def mask(self) -> Tensor:
        """What the next slot of each row may see: bool `[B, 1, 1, S]`, S a multiple of the bucket."""
        size = -(-(self.longest + 1) // BUCKET) * BUCKET
        return (torch.arange(size, device=self.lengths.device) <= self.lengths[:, None])[:, None, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """One slot of each row sees itself and the row's slots before it."""
        assert mask is not None, "the mask is its own, from `mask`"
        rows, size = torch.arange(len(query), device=query.device), mask.shape[-1]
        keys, values = self.slots[0, layer], self.slots[1, layer]
        keys[rows, :, self.lengths] = key[:, :, 0]
        values[rows, :, self.lengths] = value[:, :, 0]
        return functional.scaled_dot_product_attention(query, keys[:, :, :size], values[:, :, :size], attn_mask=mask)

    def advance(self) -> None:
        """All layers have read one slot more."""
        self.lengths += 1
        self.longest += 1

    def keep(self, places: list[int]) -> None:
        """Forgets all rows but these."""
        kept = torch.tensor(places, device=self.lengths.device)
        self.slots, self.lengths = self.slots[:, :, kept], self.lengths[kept]


Cache = Apart | Together
