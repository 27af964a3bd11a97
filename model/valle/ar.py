"""The autoregressive half: phones and the first codebook so far say the next code.

A sequence is phones, `<EOS>`, codes. The code after a slot is predicted at that
slot, so the phones' `<EOS>` predicts the first code, and no start symbol is
needed; any prefix of the codes is a prompt. The output projection is the codes'
embedding. Source: VALL-E (arXiv:2301.02111), section 4.2.1.

With groups of G codes (VALL-E 2, arXiv:2406.05370, grouped code modeling) a slot is G frames:
one linear layer makes their embeddings one, another makes a slot's output G of them,
and the codes of a group do not see each other. A sequence is T / G slots long.

Shapes: B batch, P phones, T frames, G codes of a group, D width, V = 1025 codes and `<EOS>`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.valle.cache import Apart, Cache, Prefix, Together
from model.valle.settings import CODEBOOK_SIZE, Settings
from model.valle.transformer import Transformer, placed, spoken_in, within

IGNORED = -100  # a target that no loss counts, torch's own choice
EVEN_ROWS = 4  # rows that a float32 product on a CPU takes at once: it sums a lone row in another order than four


@dataclass
class Reading:
    """Where the decoding of a batch stands: what it has read, and in which language."""

    cache: Cache
    positions: Tensor  # int [B]: groups so far, the position of the next
    languages: Tensor | None  # int [B]

    def keep(self, places: list[int]) -> None:
        """Forgets all rows but these."""
        self.cache.keep(places)
        self.positions = self.positions[places]
        self.languages = None if self.languages is None else self.languages[places]


class AR(nn.Module):
    """Says the first code of the next frame, or of the next G frames."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, group = settings.size.width, settings.group
        self.settings = settings
        self.even_rows = EVEN_ROWS
        self.phone_embedding = nn.Embedding(len(settings.symbols) + 1, width)
        self.code_embedding = nn.Embedding(CODEBOOK_SIZE + 1, width)
        self.transformer = Transformer(settings.size, conditioned=False)
        self.group_in = nn.Linear(group * width, width) if group > 1 else None
        self.group_out = nn.Linear(width, group * width) if group > 1 else None
        self.head = None if settings.tied else nn.Parameter(torch.empty(CODEBOOK_SIZE + 1, width))
        self.language_embedding = nn.Embedding(len(settings.languages), width) if settings.languages else None
        for embedding in (self.phone_embedding, self.code_embedding):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        if self.head is not None:
            nn.init.normal_(self.head, std=width**-0.5)
        if self.language_embedding is not None:
            nn.init.normal_(self.language_embedding.weight, std=width**-0.5)

    def forward(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        codes: Tensor,
        code_lengths: Tensor,
        languages: Tensor | None = None,
    ) -> Tensor:
        """Phones `[B, P]` and codes `[B, T]`, padded, to logits `[B, T + 1, V]`.

        Logits at t are for frame t, given the phones and the frames before the group that t belongs to; at T_b they
        are for what ends row b. What follows the end in its group is asked of nobody. `languages` `[B]` are places in
        the settings' table.
        """
        x, mask, _ = self._prefix(phones, phone_lengths, codes, code_lengths, languages)
        logits = self._logits(self.transformer(x, mask)[:, phones.shape[1] :])
        return logits.flatten(1, 2)[:, : codes.shape[1] + 1]

    def start(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        room: int,
        languages: Tensor | None = None,
        together: bool | None = None,
    ) -> tuple[Tensor, Reading]:
        """Reads phones `[B, P]` and prompts `[B, T']`; gives logits `[B, G, V]` of the first new frames of each row.

        A prompt that is no whole number of groups must lose its first frames before.

        Args:
            phones: padded, as the rest.
            phone_lengths: `[B]`.
            prompt: codes.
            prompt_lengths: `[B]`, multiples of G.
            room: the number of groups that `step` may add.
            languages: `[B]`.
            together: which cache (`model.valle.cache`); null for `Together` where there is an accelerator.
        """
        if together if together is not None else phones.device.type != "cpu":
            prefix = Prefix()
            x, mask, visible = self._prefix(phones, phone_lengths, prompt, prompt_lengths, languages)
            hidden = self.transformer(x, mask, memory=prefix)
            slots = phones.shape[1] + prompt_lengths // self.settings.group
            last = hidden[torch.arange(len(x), device=x.device), slots]
            cache: Cache = Together.of(prefix, visible, room)
        else:
            last, cache = self._start_apart(phones, phone_lengths, prompt, prompt_lengths, room, languages)
        return self._logits(last), Reading(cache, prompt_lengths // self.settings.group, languages)

    def _start_apart(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        room: int,
        languages: Tensor | None,
    ) -> tuple[Tensor, Apart]:
        """Reads each row by itself; gives what its last slot has come to `[B, D]`."""
        last, cache = [], Apart([], [])
        for row, (num_phones, num_frames) in enumerate(
            zip(phone_lengths.tolist(), prompt_lengths.tolist(), strict=True)
        ):
            here, prefix = slice(row, row + 1), Prefix()
            x, mask, _ = self._prefix(
                phones[here, :num_phones],
                phone_lengths[here],
                prompt[here, :num_frames],
                prompt_lengths[here],
                None if languages is None else languages[here],
            )
            last.append(self.transformer(x, mask, memory=prefix)[:, -1])
            cache.join(Apart.of(prefix, room))
        return torch.cat(last), cache

    def step(self, codes: Tensor, reading: Reading, read: Callable[..., Tensor] | None = None) -> Tensor:
        """Reads one more group of each row `[B, G]`; gives the logits `[B, G, V]` of the frames after it.

        Rows apart are filled up to a multiple of `even_rows`, so that each is summed alike in whatever company.
        In place of `self.read` may stand what torch.compile has made of it.
        """
        num_rows, positions, languages = len(codes), reading.positions, reading.languages
        extra = -num_rows % self.even_rows if isinstance(reading.cache, Apart) else 0
        if extra:
            codes, positions = functional.pad(codes, (0, 0, 0, extra)), functional.pad(positions, (0, extra))
            languages = None if languages is None else functional.pad(languages, (0, extra))
        mask = reading.cache.mask()
        logits: Tensor = (read or self.read)(codes, positions, languages, mask, reading.cache)[:num_rows]
        reading.positions = reading.positions + 1
        reading.cache.advance()
        return logits

    def read(
        self, codes: Tensor, positions: Tensor, languages: Tensor | None, mask: Tensor | None, cache: Cache
    ) -> Tensor:
        """What `step` computes, and nothing that it keeps account of: this is what torch.compile may take."""
        x = self._embed(self._gather(codes), positions.unsqueeze(1), languages)
        return self._logits(self.transformer(x, mask, memory=cache)[:, -1])

    def _prefix(
        self, phones: Tensor, phone_lengths: Tensor, codes: Tensor, code_lengths: Tensor, languages: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots `[B, P + 1 + T / G, D]`, who sees whom `[B, 1, S, S]`, and which slots are no padding `[B, S]`.

        `<EOS>` has a slot of its own after the padding, with the position after the row's last phone. Of a group
        that is not whole nothing is read: its first codes are what the slot before it says.
        """
        num_phones, num_groups = phones.shape[1], codes.shape[1] // self.settings.group
        eos = torch.full_like(phones[:, :1], self.settings.phone_eos)
        places = torch.arange(num_phones, device=phones.device).expand_as(phones)
        positions = torch.cat([places, phone_lengths[:, None]], dim=1) * self.settings.phone_stride
        said = self._gather(codes[:, : num_groups * self.settings.group])
        x = torch.cat(
            [
                self._embed(self.phone_embedding(torch.cat([phones, eos], dim=1)), positions, languages),
                self._embed(said, torch.arange(num_groups, device=codes.device), languages),
            ],
            dim=1,
        )
        visible = torch.cat(
            [
                within(phone_lengths, num_phones),
                torch.ones_like(eos, dtype=torch.bool),
                within(code_lengths // self.settings.group, num_groups),
            ],
            dim=1,
        )
        slots = torch.arange(x.shape[1], device=x.device)
        causal = slots[None, :] <= slots[:, None].clamp(min=num_phones)  # phones and <EOS> see each other
        return x, (causal & visible[:, None, :]).unsqueeze(1), visible

    def _gather(self, codes: Tensor) -> Tensor:
        """Codes `[B, T]` to the embeddings of their groups `[B, T / G, D]`."""
        content: Tensor = self.code_embedding(codes)
        if self.group_in is None:
            return content
        num_groups = codes.shape[1] // self.settings.group
        grouped: Tensor = self.group_in(content.reshape(len(codes), num_groups, self.group_in.in_features))
        return grouped

    def _embed(self, content: Tensor, positions: Tensor, languages: Tensor | None) -> Tensor:
        """Embeddings `[B, S, D]`, with their positions and the row's language."""
        if self.language_embedding is not None:
            content = content + spoken_in(self.language_embedding, languages, self.settings)
        return placed(content, positions)

    def _logits(self, hidden: Tensor) -> Tensor:
        """What slots `[..., D]` have come to, as logits of the frames after them `[..., G, V]`."""
        grouped: Tensor = hidden if self.group_out is None else self.group_out(hidden)
        weight = self.code_embedding.weight if self.head is None else self.head
        return functional.linear(grouped.reshape(*hidden.shape[:-1], self.settings.group, weight.shape[1]), weight)


def targets(codes: Tensor, code_lengths: Tensor) -> Tensor:
    """What the logits of codes `[B, T]` should say: `[B, T + 1]`, `<EOS>` after the last frame, then `IGNORED`."""
    frames = torch.arange(codes.shape[1] + 1, device=codes.device)
    ends = frames == code_lengths[:, None]
    padded = functional.pad(codes, (0, 1)).masked_fill(ends, CODEBOOK_SIZE)
    return padded.masked_fill(frames > code_lengths[:, None], IGNORED)
