"""The autoregressive half: phones and the first codebook so far say the next code.

A sequence is phones, `<EOS>`, codes. The code after a slot is predicted at that
slot, so the phones' `<EOS>` predicts the first code, and no start symbol is
needed; any prefix of the codes is a prompt. The output projection is the codes'
embedding. Source: VALL-E (arXiv:2301.02111), section 4.2.1.

Shapes: B batch, P phones, T frames, D width, V = 1025 codes and `<EOS>`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.settings import CODEBOOK_SIZE, Settings
from model.transformer import Cache, Transformer, sinusoids, within

IGNORED = -100  # a target that no loss counts, torch's own choice


@dataclass
class Reading:
    """Where the decoding of a batch stands: what it has read, and what each row may see of it."""

    cache: Cache
    visible: Tensor  # bool [B, slots]: which slots in the cache are no padding
    positions: Tensor  # int [B]: frames so far, the position of the next

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these."""
        self.cache.keep(rows)
        self.visible, self.positions = self.visible[rows], self.positions[rows]


class AR(nn.Module):
    """Says the first code of the next frame."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.size.width
        self.settings = settings
        self.phone_embedding = nn.Embedding(len(settings.symbols) + 1, width)
        self.code_embedding = nn.Embedding(CODEBOOK_SIZE + 1, width)
        self.transformer = Transformer(settings.size, conditioned=False)
        for embedding in (self.phone_embedding, self.code_embedding):
            nn.init.normal_(embedding.weight, std=width**-0.5)

    def forward(self, phones: Tensor, phone_lengths: Tensor, codes: Tensor, code_lengths: Tensor) -> Tensor:
        """Phones `[B, P]` and codes `[B, T]`, padded, to logits `[B, T + 1, V]`.

        Logits at t are for frame t, given the phones and the frames before t; at T_b they are for what ends row b.
        """
        x, mask, _ = self._prefix(phones, phone_lengths, codes, code_lengths)
        return self._logits(self.transformer(x, mask)[:, phones.shape[1] :])

    def start(
        self, phones: Tensor, phone_lengths: Tensor, prompt: Tensor, prompt_lengths: Tensor, room: int
    ) -> tuple[Tensor, Reading]:
        """Reads phones `[B, P]` and prompts `[B, T']`; gives logits `[B, V]` of the first new frame of each row.

        `room` is the number of frames that `step` may add.
        """
        x, mask, visible = self._prefix(phones, phone_lengths, prompt, prompt_lengths)
        cache = self.transformer.cache(len(x), x.shape[1] + room)
        hidden = self.transformer(x, mask, cache=cache)
        last = hidden[torch.arange(len(x), device=x.device), phones.shape[1] + prompt_lengths]
        return self._logits(last), Reading(cache, visible, prompt_lengths.clone())

    def step(self, codes: Tensor, reading: Reading) -> Tensor:
        """Reads one more code of each row `[B]`; gives the logits `[B, V]` of the frame after it."""
        x = self._embed(self.code_embedding, codes.unsqueeze(1), reading.positions.unsqueeze(1))
        reading.visible = functional.pad(reading.visible, (0, 1), value=True)
        reading.positions = reading.positions + 1
        mask = reading.visible[:, None, None, :]
        return self._logits(self.transformer(x, mask, cache=reading.cache)[:, -1])

    def _prefix(
        self, phones: Tensor, phone_lengths: Tensor, codes: Tensor, code_lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots `[B, P + 1 + T, D]`, who sees whom `[B, 1, S, S]`, and which slots are no padding `[B, S]`.

        `<EOS>` has a slot of its own after the padding, with the position after the row's last phone.
        """
        num_phones, num_frames = phones.shape[1], codes.shape[1]
        eos = torch.full_like(phones[:, :1], self.settings.phone_eos)
        places = torch.arange(num_phones, device=phones.device).expand_as(phones)
        x = torch.cat(
            [
                self._embed(
                    self.phone_embedding, torch.cat([phones, eos], 1), torch.cat([places, phone_lengths[:, None]], 1)
                ),
                self._embed(self.code_embedding, codes, torch.arange(num_frames, device=codes.device).expand_as(codes)),
            ],
            dim=1,
        )
        visible = torch.cat(
            [
                within(phone_lengths, num_phones),
                torch.ones_like(eos, dtype=torch.bool),
                within(code_lengths, num_frames),
            ],
            dim=1,
        )
        slots = torch.arange(x.shape[1], device=x.device)
        causal = slots[None, :] <= slots[:, None].clamp(min=num_phones)  # phones and <EOS> see each other
        return x, (causal & visible[:, None, :]).unsqueeze(1), visible

    def _embed(self, embedding: nn.Embedding, ids: Tensor, positions: Tensor) -> Tensor:
        width = self.settings.size.width
        content: Tensor = embedding(ids) * width**0.5
        return content + sinusoids(positions, width)

    def _logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.code_embedding.weight)


def targets(codes: Tensor, code_lengths: Tensor) -> Tensor:
    """What the logits of codes `[B, T]` should say: `[B, T + 1]`, `<EOS>` after the last frame, then `IGNORED`."""
    frames = torch.arange(codes.shape[1] + 1, device=codes.device)
    ends = frames == code_lengths[:, None]
    padded = functional.pad(codes, (0, 1)).masked_fill(ends, CODEBOOK_SIZE)
    return padded.masked_fill(frames > code_lengths[:, None], IGNORED)
