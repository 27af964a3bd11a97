"""Batches under a budget of frames, from examples that need not fit in memory.

Examples come in chunks, and a window of chunks is all that is held. Within it
they are shuffled, sorted by length and cut into batches, so a batch pads little.
All order comes from (seed, epoch, window), so a place in the stream is three
numbers, and going on from it needs no replay. A thread may read ahead: it changes
when a batch is made, and neither which nor in what order.

Shapes: B batch, P phones, Q codebooks, T frames.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Full, Queue
from typing import Protocol

import numpy as np

from model.valle.batch import Batch, Example, collate


class Chunks(Protocol):
    """Examples in chunks that fit in memory, each read when it is asked for; a list of lists will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence[Example]: ...


class NoExamples(ValueError):
    """There is nothing to train on."""


@dataclass(frozen=True)
class Curriculum:
    """What is learnt first.

    Short utterances teach which phone sounds how long before long ones can; two utterances of one speaker in a row
    are what a prompt and its continuation look like.
    """

    rising: float = 0.0  # the share of all steps over which ever longer batches are let in; 0: all from the first
    paired: float = 0.0  # the share of utterances that are joined with another of their speaker
    between: int = 0  # the phone id that parts two utterances

    def longest(self, done: float) -> float:
        """How many frames a batch may be long, when a share of the steps is done."""
        if done >= self.rising:
            return float("inf")
        return _SHORTEST + (_LONGEST - _SHORTEST) * done / self.rising

    def pair(self, examples: Sequence[Example], draw: np.random.Generator) -> list[Example]:
        """The examples in their order, some of them joined with the next one of the same speaker."""
        waiting: dict[tuple[str, int], Example] = {}
        given: list[Example] = []
        for example in examples:
            voice = (example.speaker, example.language)
            if voice in waiting:
                given.append(_join(waiting.pop(voice), example, self.between))
            elif example.speaker and draw.random() < self.paired / (2 - self.paired):
                waiting[voice] = example
            else:
                given.append(example)
        return [*given, *waiting.values()]


_SHORTEST, _LONGEST = 112, 900  # frames, 1.5 and 12 s: where a curriculum begins, and where it lets in everything


def _join(first: Example, second: Example, between: int) -> Example:
    phones = np.concatenate([first.phones, np.array([between], np.uint16), second.phones])
    return first._replace(phones=phones, codes=np.concatenate([first.codes, second.codes], axis=1))


@dataclass(frozen=True)
class Position:
    """A place in the endless stream of batches: the next batch."""

    epoch: int = 0
    window: int = 0  # of the epoch
    batch: int = 0  # of the window


def pack(examples: Sequence[Example], batch_frames: int) -> list[list[Example]]:
    """Batches of like lengths whose padded frames stay within the budget; a longer example is a batch of its own."""
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda example: example.codes.shape[1]):
        if batches and (len(batches[-1]) + 1) * example.codes.shape[1] <= batch_frames:
            batches[-1].append(example)
        else:
            batches.append([example])
    return batches


@dataclass(frozen=True)
class Share:
    """The part of the chunks that one of a step's batches is from: whole chunks where there are enough, else rows."""

    chunks: Chunks
    rank: int = 0
    world: int = 1

    @property
    def _by_chunk(self) -> bool:
        return len(self.chunks) >= self.world

    def __len__(self) -> int:
        return len(range(self.rank, len(self.chunks), self.world)) if self._by_chunk else len(self.chunks)

    def __getitem__(self, index: int) -> Sequence[Example]:
        if self._by_chunk:
            return self.chunks[self.rank + index * self.world]
        return self.chunks[index][(self.rank + index) % self.world :: self.world]


def stream(
    share: Share,
    batch_frames: int,
    seed: int,
    start: Position,
    window_chunks: int = 8,
    curriculum: Curriculum | None = None,
) -> Iterator[tuple[Batch, Position]]:
    """Batches without end from `start` on, each with the position after it.

    Raises:
        NoExamples: an epoch went by without one.
    """
    position = start
    while True:
        order = np.random.default_rng([seed, position.epoch]).permutation(len(share))
        windows = [order[first : first + window_chunks] for first in range(0, len(order), window_chunks)]
        is_empty = position.window == 0 and position.batch == 0
        for number in range(position.window, len(windows)):
            shuffle = np.random.default_rng([seed, position.epoch, number])
            examples = [example for chunk in windows[number] for example in share[int(chunk)]]
            shuffled = [examples[place] for place in shuffle.permutation(len(examples))]
            if curriculum and curriculum.paired:
                shuffled = curriculum.pair(shuffled, shuffle)
            packed = pack(shuffled, batch_frames)
            places = shuffle.permutation(len(packed))
            for batch in range(position.batch, len(packed)):
                is_empty = False
                position = Position(position.epoch, number, batch + 1)
                yield collate(packed[places[batch]]), position
            position = Position(position.epoch, number + 1)
        if is_empty:
            raise NoExamples(
                f"batch {share.rank} of the {share.world} of a step has no example to train on: give it more speech, "
                f"or make steps of fewer batches (checkpoints.accumulate)"
            )
        position = Position(position.epoch + 1)


@contextmanager
def ahead(batches: Iterator[tuple[Batch, Position]], number: int = 4) -> Iterator[Iterator[tuple[Batch, Position]]]:
    """The same batches in the same order, up to `number` of them made before they are asked for, by a thread.

    What the batches raise is raised where they are asked for. The thread ends with the context.
    """
    made: Queue[tuple[Batch, Position] | BaseException] = Queue(number)
    done = threading.Event()

    def put(item: tuple[Batch, Position] | BaseException) -> None:
        while not done.is_set():
            try:
                return made.put(item, timeout=0.1)
            except Full:
                continue

    def read() -> None:
        try:
            for item in batches:
                put(item)
                if done.is_set():
                    return
        except BaseException as error:  # the one who asks must hear of it, whatever it is
            put(error)

    def asked() -> Iterator[tuple[Batch, Position]]:
        while True:
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=read, name="batches", daemon=True)
    thread.start()
    try:
        yield asked()
    finally:
        done.set()
        thread.join()
