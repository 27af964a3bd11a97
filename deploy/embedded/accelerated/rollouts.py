"""What an AR says by itself, and what it thinks of each choice that it made: rollouts of a policy.

Shapes: B rows, P phones, T frames, K = T / G groups of codes, V = 1024 codes, M choices.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.valle.ar import AR, NUM_CODES
from model.valle.batch import Example, collate
from model.valle.sampling import EMPTY, Sampling, nucleus, sample
from model.valle.settings import CODEBOOK_SIZE
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS

_FRAMES_OF_A_PHONE = 9  # at most, which is slow speech


class Spoken(NamedTuple):
    """A prompt: an utterance and its voice."""

    phones: NDArray[np.uint16]
    codes: NDArray[np.uint16]  # [8, T]


class Asked(NamedTuple):
    """What is to be said, and in which voice."""

    prompt: Spoken
    phones: NDArray[np.uint16]
    text: str


class Rollout(NamedTuple):
    """What an AR has said, and all that it was told meanwhile, its prompt included."""

    phones: Tensor  # [B, P]
    phone_lengths: Tensor  # [B]
    codes: Tensor  # [B, T], the first codebook
    lengths: Tensor  # [B], frames
    prompt_lengths: Tensor  # [B], frames
    pointed: Tensor  # [B, K + 1, 4]
    moves: Tensor  # [B, K], the choices that were made
    legal: Tensor  # bool [B, K, M]

    def rows(self, some: slice) -> "Rollout":
        """Some of them."""
        return Rollout(*(tensor[some] for tensor in self))


@torch.no_grad()
def roll_out(ar: AR, asked: list[Asked], sampling: Sampling, device: torch.device, seed: int) -> Rollout:
    """An AR says first codes, all rows at once, until each has come to the end of its phones or has no room left."""
    group = ar.settings.group
    cut = [one.prompt.codes[:, one.prompt.codes.shape[1] % group :] for one in asked]
    whole = [
        Example(np.concatenate([one.prompt.phones, [SYMBOL_IDS[BOUNDARY]], one.phones]), codes)
        for one, codes in zip(asked, cut, strict=True)
    ]
    batch = collate(whole).to(device)
    prompt, prompt_lengths = batch.codes[:, 0], batch.code_lengths
    most = -(-_FRAMES_OF_A_PHONE * max(len(one.phones) for one in asked) // group) + 20
    draws = torch.Generator(device).manual_seed(seed)
    chances = torch.rand(len(asked), most, device=device, generator=draws, dtype=torch.float64)
    rows = (batch.phones, batch.phone_lengths, prompt, prompt_lengths)
    pointing = ar.find(*rows, chances, [len(one.prompt.phones) for one in asked])
    assert pointing is not None, "only a half that goes phone by phone is taught so"
    languages = torch.zeros(len(asked), dtype=torch.long, device=device) if ar.settings.languages else None
    logits, reading = ar.start(*rows, most, languages, True, pointing)
    recent = torch.full((len(asked), 1), EMPTY, device=device)
    said, told, moves, legal, going = [], [], [], [], []
    for number in range(most):
        choices, logits = logits[:, 0, NUM_CODES:], pointing.barred(logits[..., :NUM_CODES])
        codes = torch.empty(len(asked), group, dtype=torch.long, device=device)
        for place in range(group):
            here = logits[:, place]
            if ar.settings.chained and place:
                here = pointing.barred(ar.chained(place, codes[:, place - 1], reading)[:, None])[:, 0]
            uniforms = torch.rand(len(asked), 2, device=device, generator=draws, dtype=torch.float64)
            codes[:, place] = sample(here, recent, uniforms, sampling)
        before = pointing.at
        told.append(pointing.features(before[:, None]))
        legal.append(pointing.legal(choices.shape[1]))
        going.append(before < pointing.states.lengths)
        pointing.move(choices, number)
        moves.append(pointing.at - before)
        said.append(codes)
        if number % 8 == 0 and not bool(going[-1].any()):
            break
        logits = ar.step(codes, reading)
    new = torch.stack(going, 1).sum(1) * group
    steps = _Steps(torch.cat(said, 1), torch.cat(told, 1), torch.stack(moves, 1), torch.stack(legal, 1))
    return _joined(rows, pointing.so_far, steps, new, group)


class _Steps(NamedTuple):
    """What was said behind prompts, K groups at most."""

    said: Tensor  # [B, G K]
    told: Tensor  # [B, K, 4]
    moves: Tensor  # [B, K]
    legal: Tensor  # bool [B, K, M]


def _joined(
    rows: tuple[Tensor, Tensor, Tensor, Tensor], so_far: Tensor, steps: _Steps, new: Tensor, group: int
) -> Rollout:
    """Prompts with what was said behind them, `new` `[B]` frames, row by row without a gap."""
    phones, phone_lengths, prompt, prompt_lengths = rows
    said, told, moves, legal = steps
    num_rows, num_groups, device = len(said), told.shape[1], said.device
    groups = prompt_lengths // group
    room = int(groups.max()) + num_groups
    codes = F.pad(prompt, (0, room * group - prompt.shape[1]))
    codes.scatter_(1, prompt_lengths[:, None] + torch.arange(said.shape[1], device=device), said)
    codes = codes.clamp(max=CODEBOOK_SIZE - 1)  # what stands behind an end counts nowhere
    places = groups[:, None] + torch.arange(num_groups, device=device)
    pointed = F.pad(so_far, (0, 0, 0, room + 1 - so_far.shape[1]))
    pointed.scatter_(1, places[..., None].expand_as(told), told)
    made = torch.zeros(num_rows, room, dtype=torch.long, device=device).scatter_(1, places, moves)
    allowed = torch.ones(num_rows, room, legal.shape[2], dtype=torch.bool, device=device)
    allowed.scatter_(1, places[..., None].expand_as(legal), legal)
    lengths = prompt_lengths + new
    longest = int(lengths.max())
    return Rollout(
        phones,
        phone_lengths,
        codes[:, :longest],
        lengths,
        prompt_lengths,
        pointed[:, : longest // group + 1],
        made[:, : longest // group],
        allowed[:, : longest // group],
    )


class Chances(NamedTuple):
    """What an AR thinks of each choice that was made."""

    codes: Tensor  # [B, T, V], nats of all codes but the end's
    moves: Tensor  # [B, K, M]
    said: Tensor  # bool [B, T]: frames that it said itself


def chances(ar: AR, rollout: Rollout) -> Chances:
    """As when the rollout was made, all at once; differentiable."""
    group = ar.settings.group
    languages = torch.zeros_like(rollout.lengths) if ar.settings.languages else None
    logits = ar(
        rollout.phones, rollout.phone_lengths, rollout.codes, rollout.lengths, languages, rollout.pointed
    ).float()
    num_frames = rollout.codes.shape[1]
    frames = torch.arange(num_frames, device=logits.device)
    moves = logits[:, ::group, NUM_CODES:][:, : rollout.moves.shape[1]].masked_fill(~rollout.legal, -1e9)
    said = (frames >= rollout.prompt_lengths[:, None]) & (frames < rollout.lengths[:, None])
    return Chances(logits[:, :num_frames, :CODEBOOK_SIZE].log_softmax(-1), moves.log_softmax(-1), said)


def likelihood(found: Chances, rollout: Rollout, sampling: Sampling, group: int) -> Tensor:
    """The nats `[B]` of each row's choices, by the distribution that they were drawn from."""
    scores = found.codes / sampling.temperature
    with torch.no_grad():
        inside = nucleus(scores.softmax(-1).flatten(0, 1), 0, sampling.top_p).view_as(scores) > 0
        inside.scatter_(2, rollout.codes[..., None], True)
    codes = scores.masked_fill(~inside, -1e9).log_softmax(-1).gather(2, rollout.codes[..., None]).squeeze(2)
    moves = found.moves.gather(2, rollout.moves[..., None]).squeeze(2)
    return (codes * found.said).sum(1) + (moves * found.said[:, ::group]).sum(1)


def divergence(found: Chances, before: Chances, group: int) -> Tensor:
    """The nats, summed, by which what an AR thinks now differs from what it thought before (Kullback and Leibler)."""
    codes = (found.codes.exp() * (found.codes - before.codes)).sum(-1) * found.said
    moves = (found.moves.exp() * (found.moves - before.moves)).sum(-1) * found.said[:, ::group]
    return codes.sum() + moves.sum()
