"""The autoregressive half: phones and the first codebook so far say the next code.

A sequence is phones, `<EOS>`, codes. The code after a slot is predicted at that
slot, so the phones' `<EOS>` predicts the first code, and no start symbol is
needed; any prefix of the codes is a prompt. The output projection is the codes'
embedding. Source: VALL-E (arXiv:2301.02111), section 4.2.1.

With groups of G codes (VALL-E 2, arXiv:2406.05370, grouped code modeling) a slot is G frames:
one linear layer makes their embeddings one, another makes a slot's output G of them,
and the codes of a group do not see each other. A sequence is T / G slots long.
A chained half lets each code of a group see the one before it, by a layer behind the transformer, as
the depth transformer of RQ-Transformer does (Lee et al. 2022, arXiv:2203.01941, section 3.2): a group then costs
little more and is of one piece.

A monotonic half is also told, slot by slot, which phone is said (`model.valle.monotonic`); its logits have M more
columns, in which it says when the next phone comes.

Shapes: B batch, P phones, T frames, G codes of a group, D width, V = 1025 codes and `<EOS>`, M choices or none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.valle import alignment, monotonic
from model.valle.cache import Apart, Cache, Prefix, Together
from model.valle.monotonic import Pointing
from model.valle.settings import CODEBOOK_SIZE, Settings
from model.valle.transformer import Transformer, placed, spoken_in, within

NUM_CODES = CODEBOOK_SIZE + 1  # V: the codes and `<EOS>`
IGNORED = -100  # a target that no loss counts, torch's own choice
EVEN_ROWS = 4  # rows that a float32 product on a CPU takes at once: it sums a lone row in another order than four


@dataclass
class Reading:
    """Where the decoding of a batch stands: what it has read, and in which language."""

    cache: Cache
    positions: Tensor  # int [B]: groups so far, the position of the next
    languages: Tensor | None  # int [B]
    pointing: Pointing | None = None  # of a monotonic half
    hidden: Tensor | None = None  # [B, D] or more rows: what the last slot has come to

    def keep(self, places: list[int]) -> None:
        """Forgets all rows but these."""
        self.cache.keep(places)
        self.positions = self.positions[places]
        self.languages = None if self.languages is None else self.languages[places]
        if self.pointing:
            self.pointing.keep(places)


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
        if settings.chained:
            self.chain_in, self.chain_out = nn.Linear(2 * width, width), nn.Linear(width, width)
            nn.init.zeros_(self.chain_out.weight)
            nn.init.zeros_(self.chain_out.bias)
        self.head = None if settings.tied else nn.Parameter(torch.empty(CODEBOOK_SIZE + 1, width))
        self.language_embedding = nn.Embedding(len(settings.languages), width) if settings.languages else None
        if settings.monotonic:
            choices = monotonic.num_choices(group)
            self.pointer_in, self.choice_out = nn.Linear(4 * width, width), nn.Linear(width, choices)
            table = torch.zeros(len(settings.symbols), CODEBOOK_SIZE)  # filled before training, and never learnt
            self.heard_as = nn.Parameter(table, requires_grad=False)
            self._symbols = alignment.Symbols.of(settings.symbols)
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
        pointed: Tensor | None = None,
    ) -> Tensor:
        """Phones `[B, P]` and codes `[B, T]`, padded, to logits `[B, T + 1, V + M]`.

        Logits at t are for frame t, given the phones and the frames before the group that t belongs to, and of a
        chained half the frame before it; at T_b they are for what ends row b. What follows the end in its group is
        asked of nobody. `languages` `[B]` are places in the settings' table; `pointed` is what `follow` gives, for a
        monotonic half.
        """
        x, mask, _ = self._prefix(phones, phone_lengths, codes, code_lengths, languages, pointed)
        logits = self._logits(self.transformer(x, mask)[:, phones.shape[1] :], codes)
        return logits.flatten(1, 2)[:, : codes.shape[1] + 1]

    def follow(
        self, phones: Tensor, phone_lengths: Tensor, codes: Tensor, code_lengths: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """For a monotonic half, what `forward` is told of rows whose codes are known, and the choices to make.

        `pointed` `[B, T / G + 1, 4]`, and which of the M choices is right `[B, T / G + 1]`; else nothing.
        """
        if not self.settings.monotonic:
            return None, None
        group = self.settings.group
        states = alignment.states(phones, phone_lengths, self._symbols)
        states_said = monotonic.follow(self.heard_as, states, codes, code_lengths, group)
        return monotonic.features(states, states_said), monotonic.choices(states_said, states, group, IGNORED)

    def find(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        chances: Tensor,
        prompt_phones: Sequence[int | None],
    ) -> Pointing | None:
        """Where prompts `[B, T']` have come to in their rows' phones, for a monotonic half.

        `prompt_phones` is how many of each row's phones its prompt says, null where nobody knows.
        """
        if not self.settings.monotonic:
            return None
        states = alignment.states(phones, phone_lengths, self._symbols)
        return monotonic.find(
            self.heard_as, states, prompt, prompt_lengths, self.settings.group, chances, prompt_phones
        )

    def start(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        room: int,
        languages: Tensor | None = None,
        together: bool | None = None,
        pointing: Pointing | None = None,
    ) -> tuple[Tensor, Reading]:
        """Reads phones `[B, P]` and prompts `[B, T']`; gives logits `[B, G, V + M]` of the first new frames.

        A prompt that is no whole number of groups must lose its first frames before.

        Args:
            phones: padded, as the rest.
            phone_lengths: `[B]`.
            prompt: codes.
            prompt_lengths: `[B]`, multiples of G.
            room: the number of groups that `step` may add.
            languages: `[B]`.
            together: which cache (`model.valle.cache`); null for `Together` where there is an accelerator.
            pointing: where each row is in its phones, what `find` gives; for a monotonic half.
        """
        pointed = None if pointing is None else pointing.so_far
        if together if together is not None else phones.device.type != "cpu":
            prefix = Prefix()
            x, mask, visible = self._prefix(phones, phone_lengths, prompt, prompt_lengths, languages, pointed)
            hidden = self.transformer(x, mask, memory=prefix)
            slots = phones.shape[1] + prompt_lengths // self.settings.group
            last = hidden[torch.arange(len(x), device=x.device), slots]
            cache: Cache = Together.of(prefix, visible, room)
        else:
            last, cache = self._start_apart(phones, phone_lengths, prompt, prompt_lengths, room, languages, pointed)
        places = prompt_lengths // self.settings.group
        return self._logits(last), Reading(cache, places, languages, pointing, last)

    def _start_apart(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        room: int,
        languages: Tensor | None,
        pointed: Tensor | None = None,
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
                None if pointed is None else pointed[here, : num_frames // self.settings.group + 1],
            )
            last.append(self.transformer(x, mask, memory=prefix)[:, -1])
            cache.join(Apart.of(prefix, room))
        return torch.cat(last), cache

    def step(self, codes: Tensor, reading: Reading, read: Callable[..., tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Reads one more group of each row `[B, G]`; gives the logits `[B, G, V + M]` of the frames after it.

        Rows apart are filled up to a multiple of `even_rows`, so that each is summed alike in whatever company.
        In place of `self.read` may stand what torch.compile has made of it.
        """
        num_rows, positions, languages = len(codes), reading.positions, reading.languages
        pointed = None if reading.pointing is None else reading.pointing.features(reading.pointing.at[:, None])
        extra = -num_rows % self.even_rows if isinstance(reading.cache, Apart) else 0
        if extra:
            codes, positions = functional.pad(codes, (0, 0, 0, extra)), functional.pad(positions, (0, extra))
            languages = None if languages is None else functional.pad(languages, (0, extra))
            pointed = None if pointed is None else functional.pad(pointed, (0, 0, 0, 0, 0, extra))
        mask = reading.cache.mask()
        logits, reading.hidden = (read or self.read)(codes, positions, languages, mask, reading.cache, pointed)
        reading.positions = reading.positions + 1
        reading.cache.advance()
        return logits[:num_rows]

    def chained(self, place: int, before: Tensor, reading: Reading) -> Tensor:
        """Logits `[B, V]` of the code at a place in its group, 1 or more, behind codes `[B]`; of a chained half."""
        hidden, num_rows = reading.hidden, len(before)
        assert hidden is not None
        assert self.group_out is not None
        if isinstance(reading.cache, Apart):  # as in `step`
            hidden = functional.pad(hidden[:num_rows], (0, 0, 0, -num_rows % self.even_rows))
            before = functional.pad(before, (0, -num_rows % self.even_rows))
        grouped = self.group_out(hidden).unflatten(-1, (self.settings.group, -1))[:, place]
        return functional.linear(self._chain(grouped, before), self._head())[:num_rows]

    def read(
        self,
        codes: Tensor,
        positions: Tensor,
        languages: Tensor | None,
        mask: Tensor | None,
        cache: Cache,
        pointed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What `step` computes, and nothing that it keeps account of: this is what torch.compile may take.

        Logits `[B, G, V + M]`, and what the slots have come to `[B, D]`.
        """
        x = self._embed(self._gather(codes), positions.unsqueeze(1), languages)
        if pointed is not None:
            x = x + self._pointer(pointed)
        hidden = self.transformer(x, mask, memory=cache)[:, -1]
        return self._logits(hidden), hidden

    def _prefix(
        self,
        phones: Tensor,
        phone_lengths: Tensor,
        codes: Tensor,
        code_lengths: Tensor,
        languages: Tensor | None,
        pointed: Tensor | None = None,
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
        if pointed is not None:
            x = torch.cat([x[:, :num_phones], x[:, num_phones:] + self._pointer(pointed)], dim=1)
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

    def _pointer(self, pointed: Tensor) -> Tensor:
        """What slots are told of the phones that they say, `[B, S, 4]` to `[B, S, D]`."""
        told: Tensor = self.pointer_in(monotonic.embed(pointed, self.phone_embedding, self.settings.phone_stride))
        return told

    def _logits(self, hidden: Tensor, codes: Tensor | None = None) -> Tensor:
        """What slots `[..., D]` have come to, as logits of the frames after them `[..., G, V + M]`.

        For a chained half, codes `[B, T]` are those of all slots `[B, T / G + 1, D]`, where they are known.
        """
        group = self.settings.group
        grouped: Tensor = hidden.unsqueeze(-2)
        if self.group_out is not None:
            grouped = self.group_out(hidden).unflatten(-1, (group, -1))
        if self.settings.chained and codes is not None:
            filled = functional.pad(codes, (0, grouped.shape[1] * group - codes.shape[1]))
            before = filled.reshape(len(filled), -1, group)[..., :-1]
            grouped = torch.cat([grouped[..., :1, :], self._chain(grouped[..., 1:, :], before)], dim=-2)
        logits = functional.linear(grouped, self._head())
        if not self.settings.monotonic:
            return logits
        choices = self.choice_out(hidden).unsqueeze(-2)
        return torch.cat([logits, choices.expand(*choices.shape[:-2], group, choices.shape[-1])], dim=-1)

    def _head(self) -> Tensor:
        return self.code_embedding.weight if self.head is None else self.head

    def _chain(self, grouped: Tensor, before: Tensor) -> Tensor:
        """What slots have come to for codes in a group `[..., D]`, with the codes before them `[...]` heard."""
        heard = self.code_embedding(before) * self.settings.size.width**0.5
        told: Tensor = self.chain_out(functional.gelu(self.chain_in(torch.cat([grouped, heard], dim=-1))))
        return grouped + told


def targets(codes: Tensor, code_lengths: Tensor) -> Tensor:
    """What the logits of codes `[B, T]` should say: `[B, T + 1]`, `<EOS>` after the last frame, then `IGNORED`."""
    frames = torch.arange(codes.shape[1] + 1, device=codes.device)
    ends = frames == code_lengths[:, None]
    padded = functional.pad(codes, (0, 1)).masked_fill(ends, CODEBOOK_SIZE)
    return padded.masked_fill(frames > code_lengths[:, None], IGNORED)
