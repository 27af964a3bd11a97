"""What a training begins with: random weights or another training's, and for a monotonic half how phones sound.

Shapes: D width of the codec's latents, N phones, V codes.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.training.batches import Chunks, pack
from model.valle import alignment
from model.valle.alignment import Symbols
from model.valle.ar import AR
from model.valle.batch import Example, collate
from model.valle.checkpoint import CheckpointError, build, load
from model.valle.nar import NAR
from model.valle.settings import Settings

_LANGUAGES = "language_embedding.weight"
_HEARD, _HEARD_AT_ONCE = 400_000, 8_000  # frames: what an alignment is learnt from, and how many side by side


def begin(settings: Settings, start: Path | None, codebooks: Tensor | None) -> AR | NAR:
    """A half with random weights, or with those of a checkpoint.

    It may know fewer languages, and a NAR need not have been told which phones its frames say.
    """
    model = build(settings)
    if start is None:
        return model if codebooks is None else _placed(model, codebooks)
    learnt = load(start, symbols=settings.symbols)
    gained: dict[str, Any] = {"languages": settings.languages}
    if settings.half == "nar":
        gained["monotonic"] = learnt.settings.monotonic or settings.monotonic
    if replace(learnt.settings, **gained) != settings or _lost(learnt, settings):
        theirs, ours = asdict(learnt.settings), asdict(settings)
        differing = [name for name in ours if theirs[name] != ours[name]]
        raise CheckpointError(
            f"{start} is of another {' and '.join(differing)} than asked for: name a checkpoint of the same, or "
            f"ask for its own"
        )
    weights = model.state_dict() | learnt.state_dict()
    if model.language_embedding is not None:
        weights[_LANGUAGES] = _embedded(settings.languages, learnt)
    model.load_state_dict(weights)
    return model


def _lost(learnt: AR | NAR, settings: Settings) -> set[str]:
    """The languages that a checkpoint knows and a training does not ask for."""
    return {*learnt.settings.languages} - {*settings.languages}


def _embedded(languages: tuple[str, ...], learnt: AR | NAR) -> Tensor:
    """Embeddings `[L, D]` of languages: a new one's is the mean of those that a checkpoint knows, or nothing."""
    if learnt.language_embedding is None:
        return torch.zeros(len(languages), learnt.settings.size.width)
    known = dict(zip(learnt.settings.languages, learnt.language_embedding.weight, strict=True))
    return torch.stack([known.get(language, learnt.language_embedding.weight.mean(0)) for language in languages])


@torch.no_grad()
def _placed(model: AR | NAR, codebooks: Tensor) -> AR | NAR:
    """The model with embeddings of codes that are the codec's own entries, those of each codebook turned at random.

    A direction of its own says how far an entry is from the middle: embeddings are heads as well, and what is near to
    a point `h` is likely by `h @ e - |e|^2 / 2`.
    """
    width = model.settings.size.width
    embeddings = [model.code_embedding.weight] if isinstance(model, AR) else list(model.code_embeddings)
    for embedding, entries in zip(embeddings, codebooks, strict=False):
        axes = torch.nn.init.orthogonal_(torch.empty(entries.shape[1] + 1, width))
        turned = entries @ axes[:-1]
        turned *= width**-0.5 / turned.pow(2).mean().sqrt()
        nearness = -turned.pow(2).sum(1, keepdim=True)
        spread = width**-0.5 / nearness.std().clamp(min=1e-9)
        embedding[: len(turned)] = turned + (nearness - nearness.mean()) * spread * axes[-1:]
    return model


def listen(chunks: Chunks, settings: Settings, seed: int) -> Tensor:
    """How each phone sounds, `[N, V]`, by an hour and a half of speech from all over the chunks."""
    heard: list[Example] = []
    num_frames = 0
    for place in np.random.default_rng(seed).permutation(len(chunks)):
        heard += chunks[int(place)]
        num_frames = sum(example.codes.shape[1] for example in heard)
        if num_frames > _HEARD:
            break
    batches = [collate(rows) for rows in pack(heard, _HEARD_AT_ONCE)]
    rows = [(batch.phones, batch.phone_lengths, batch.codes[:, 0], batch.code_lengths) for batch in batches]
    return alignment.fit(lambda: rows, Symbols.of(settings.symbols))
