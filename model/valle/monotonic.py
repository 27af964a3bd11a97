"""Reading one phone after another: at every slot the AR is told which phone is said, and says when the next one comes.

So no phone is left out and none is said twice, which is how models of little speech fail most often. The phone of a
slot is chosen a slot before its codes are, and a choice is whether to stay or how far to go on; nothing goes back. In
training `model.valle.alignment` says which phone is said, and a NAR is told by it in speaking as well. Source: VALL-E R
(Han et al. 2024, arXiv:2406.07855, section 3.3), which says the phones' names where this says steps along the phones
that it was given.

Shapes: B batch, P phones, T frames, G codes of a group, S states, M choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.valle import alignment
from model.valle.alignment import MOST_MOVES, UNIT, States
from model.valle.sampling import draw
from model.valle.settings import CODEBOOK_SIZE
from model.valle.transformer import sinusoids


def num_choices(group: int) -> int:
    """M: to stay, or to go on by one state and more, as far as speech of a group's length can."""
    return 1 + MOST_MOVES * max(1, group // UNIT)


def follow(
    table: Tensor, states: States, codes: Tensor, code_lengths: Tensor, group: int, ends: Tensor | None = None
) -> Tensor:
    """The state `[B, T / G + 1]` of every whole group, and of the one behind the last."""
    steps = alignment.align(table, states, codes, code_lengths, ends)
    firsts = torch.arange(codes.shape[1] // group + 1, device=codes.device) * group
    if not steps.shape[1]:
        return torch.zeros_like(code_lengths)[:, None]
    found = steps[:, (firsts // UNIT).clamp(max=steps.shape[1] - 1)]
    return torch.where(firsts < code_lengths[:, None], found, states.lengths[:, None])


def choices(said: Tensor, states: States, group: int, ignored: int) -> Tensor:
    """Which choice `[B, T / G + 1]` leads from each group's state to the next's; `ignored` behind the end."""
    following = torch.cat([said[:, 1:], states.lengths[:, None]], dim=1)
    right = (following - said).clamp(0, num_choices(group) - 1)
    return right.masked_fill(said >= states.lengths[:, None], ignored)


def features(states: States, said: Tensor) -> Tensor:
    """What the AR is told of slots that say these states, `[B, K]`: three symbols and a place, `[B, K, 4]`."""
    told = torch.cat([states.ids, states.places[..., None]], dim=-1)
    return told.gather(1, said[..., None].expand(-1, -1, told.shape[-1]))


def follow_frames(table: Tensor, states: States, codes: Tensor, code_lengths: Tensor) -> Tensor:
    """The state `[B, T]` of every frame, and the end's behind a row's last."""
    return alignment.align(table, states, codes, code_lengths).repeat_interleave(UNIT, 1)[:, : codes.shape[1]]


def embed(pointed: Tensor, phone_embedding: nn.Embedding, stride: float) -> Tensor:
    """What a half is told by `features` `[B, K, 4]`, as numbers `[B, K, 4 D]`; `stride` is that of `Settings`."""
    width = phone_embedding.embedding_dim
    phones: Tensor = phone_embedding(pointed[..., :3]).flatten(-2) * width**0.5
    places = sinusoids(pointed[..., 3] * stride, width).to(phones.dtype)
    return torch.cat([phones, places], dim=-1)


@dataclass
class Pointing:
    """Where each row of a batch is in its phones."""

    states: States
    at: Tensor  # int [B]: the state of the group that is said next
    so_far: Tensor  # [B, T' / G + 1, 4]: features of the prompt's groups and of the first new one
    group: int
    chances: Tensor  # [B, K]: a random number for each choice

    def features(self, said: Tensor) -> Tensor:
        """As the function of this name, for states `[B, K]`."""
        return features(self.states, said)

    def barred(self, logits: Tensor) -> Tensor:
        """Logits `[B, G, V]` of codes: where the phones end the speech ends, and nowhere else."""
        is_end = torch.arange(logits.shape[-1], device=logits.device) == CODEBOOK_SIZE
        is_over = self.at >= self.states.lengths
        return logits.masked_fill(is_end ^ is_over[:, None, None], float("-inf"))

    def legal(self, num_choices: int) -> Tensor:
        """Which choices `[B, M]` each row has.

        A step of two frames may end one phone, so no phone is passed over but where a group has room for it.
        """
        steps = torch.arange(num_choices, device=self.at.device)
        passed = (self.at[:, None] + steps - 1).clamp(min=0, max=self.states.pauses.shape[1] - 1)
        spoken = (~self.states.pauses).cumsum(1)
        skipped = spoken.gather(1, passed) - spoken.gather(1, self.at[:, None])
        return (steps < 2) | (skipped < max(1, self.group // UNIT))

    def move(self, logits: Tensor, number: int) -> None:
        """Goes on in each row by what logits `[B, M]` of choices and the row's chance of this number say."""
        legal = self.legal(logits.shape[1])
        chosen = draw(logits.float().masked_fill(~legal, float("-inf")).softmax(-1), self.chances[:, number])
        self.at = torch.minimum(self.at + chosen, self.states.lengths)

    def keep(self, places: list[int]) -> None:
        """Forgets all rows but these."""
        self.states = States(*(tensor[places] for tensor in self.states))
        self.at, self.chances = self.at[places], self.chances[places]


def find(
    table: Tensor,
    states: States,
    prompt: Tensor,
    prompt_lengths: Tensor,
    group: int,
    chances: Tensor,
    prompt_phones: Sequence[int | None],
) -> Pointing:
    """Where prompts `[B, T']` have come to in their rows' phones. The first new group says the next phone, or a pause.

    Where nobody knows how many phones a prompt says, it has come as far as it sounds.
    """
    numbers = torch.arange(states.places.shape[1], device=prompt.device)
    known = torch.tensor([-1 if number is None else number for number in prompt_phones], device=prompt.device)
    inside = (states.places < known[:, None]) & (numbers > 0) & (numbers < states.lengths[:, None])
    ends = torch.where(known < 0, -1, inside.long().mul(numbers).amax(1))
    said = follow(table, states, prompt, prompt_lengths, group, ends)
    last = said.gather(1, (prompt_lengths // group - 1).clamp(min=0)[:, None]).squeeze(1)
    goes_on = torch.where(states.pauses.gather(1, ends.clamp(min=0)[:, None]).squeeze(1), ends, ends + 1)
    at = torch.where(known < 0, last, torch.minimum(torch.maximum(goes_on, last), states.lengths - 1))
    at = torch.where(prompt_lengths > 0, at, 0)
    groups = torch.arange(said.shape[1], device=prompt.device)
    said = torch.where(groups < (prompt_lengths // group)[:, None], said, at[:, None])
    return Pointing(states, at, features(states, said), group, chances)


def chances(seed: int, number: int) -> Tensor:
    """Random numbers of a row `[K]` that no code is drawn with."""
    return torch.from_numpy(np.random.default_rng([seed, 1]).random(number))
