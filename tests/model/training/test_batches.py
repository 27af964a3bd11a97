"""Batches: within their budget, every example once an epoch, from any position on."""

import threading
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.training.batches import Curriculum, NoExamples, Position, Share, ahead, pack, stream
from model.valle.batch import Example, collate


def example(number, num_frames=5, num_phones=3):
    """An example whose first phone is its number."""
    phones = np.full(num_phones, number, np.uint16)
    return Example(phones, np.full((1, num_frames), number, np.uint16))


def numbered(batches):
    """The numbers of the examples of some batches, in order."""
    return [row[0].item() for batch in batches for row in batch.phones]


def test_examples_are_padded_side_by_side():
    batch = collate([example(4, 2, 1), example(7, 3, 2)])
    assert batch.phones.tolist() == [[4, 0], [7, 7]]
    assert batch.phone_lengths.tolist() == [1, 2]
    assert batch.codes.tolist() == [[[4, 4, 0]], [[7, 7, 7]]]
    assert batch.code_lengths.tolist() == [2, 3]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 100))
@settings(deadline=None)
def test_a_batch_stays_within_its_budget_and_loses_nothing(lengths, budget):
    packed = pack([example(number, length) for number, length in enumerate(lengths)], budget)
    for batch in packed:
        longest = max(row.codes.shape[1] for row in batch)
        assert len(batch) * longest <= budget or len(batch) == 1
    assert sorted(row.phones[0] for batch in packed for row in batch) == list(range(len(lengths)))


CHUNKS = [[example(10 * chunk + row, 3 + row) for row in range(5)] for chunk in range(6)]
ALL = sorted(row.phones[0].item() for chunk in CHUNKS for row in chunk)


def epochs(share, num_epochs, seed=0, window_chunks=2):
    """The batches of the first epochs, each with the position after it."""
    found = []
    for batch, position in stream(share, 12, seed, Position(), window_chunks):
        if position.epoch == num_epochs:
            return found
        found.append((batch, position))


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    found = epochs(Share(CHUNKS), 2)
    first, second = ([batch for batch, position in found if position.epoch == epoch] for epoch in (0, 1))
    assert sorted(numbered(first)) == sorted(numbered(second)) == ALL
    assert numbered(first) != numbered(second)


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    orders = [numbered(batch for batch, _ in epochs(Share(CHUNKS), 1, seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_the_stream_goes_on_from_any_position():
    found = epochs(Share(CHUNKS), 2)
    for place, (_, position) in enumerate(found[:-1]):
        batch, _ = next(stream(Share(CHUNKS), 12, 0, position, window_chunks=2))
        assert numbered([batch]) == numbered([found[place + 1][0]])


@pytest.mark.parametrize("world", [2, 4, 7])
def test_workers_share_all_examples_and_none_twice(world):
    read = [numbered(batch for batch, _ in epochs(Share(CHUNKS, rank, world), 1)) for rank in range(world)]
    assert sorted(number for numbers in read for number in numbers) == ALL


@pytest.mark.parametrize("start", [Position(), Position(epoch=10**6, window=1, batch=1)])
def test_only_a_window_of_chunks_is_read_at_once_wherever_it_goes_on(start):
    asked = []

    class Recorded:
        def __len__(self):
            return len(CHUNKS)

        def __getitem__(self, index):
            asked.append(index)
            return CHUNKS[index]

    next(stream(Share(Recorded()), 12, 0, start, window_chunks=2))
    assert len(asked) == 2


@pytest.mark.parametrize("share", [Share([]), Share([[], []]), Share([[example(1)]], rank=1, world=2)])
def test_a_worker_without_examples_is_told_so(share):
    with pytest.raises(NoExamples, match="has no example"):
        list(islice(stream(share, 100, 0, Position()), 1))


def test_a_thread_that_reads_ahead_changes_nothing_and_ends():
    plain = [(numbered([batch]), position) for batch, position in epochs(Share(CHUNKS), 2)]
    with ahead(stream(Share(CHUNKS), 12, 0, Position(), 2), number=3) as batches:
        made = [(numbered([batch]), position) for batch, position in islice(batches, len(plain))]
    assert made == plain
    assert "batches" not in [thread.name for thread in threading.enumerate()]


def test_what_goes_wrong_in_the_thread_is_heard_where_a_batch_is_asked_for():
    with (
        ahead(stream(Share([]), 12, 0, Position())) as batches,
        pytest.raises(NoExamples, match="steps of fewer batches"),
    ):
        next(batches)


def spoken(number: int, speaker: str, num_frames: int = 10, language: int = 0) -> Example:
    return example(number, num_frames)._replace(speaker=speaker, language=language)


def test_a_curriculum_lets_in_ever_longer_batches_and_in_the_end_all():
    rising = Curriculum(rising=0.5)
    assert rising.longest(0.0) == 112
    assert rising.longest(0.0) < rising.longest(0.25) < rising.longest(0.49) <= 900
    assert rising.longest(0.5) == float("inf")
    assert Curriculum().longest(0.0) == float("inf")


def test_two_utterances_are_joined_only_where_speaker_and_language_are_one():
    examples = [spoken(i, "anna" if i % 2 else "ben", language=i % 4 // 2) for i in range(40)]
    joined = Curriculum(paired=1.0, between=7).pair(examples, np.random.default_rng(0))
    pairs = [one for one in joined if one.codes.shape[1] == 20]
    assert len(pairs) == 20
    for pair in pairs:
        first, second = (examples[int(pair.codes[0, place])] for place in (0, 10))
        assert (first.speaker, first.language) == (second.speaker, second.language) == (pair.speaker, pair.language)
        assert pair.phones.tolist() == [*first.phones, 7, *second.phones]


def test_about_the_share_asked_for_is_joined_and_nothing_is_lost():
    examples = [spoken(i, f"speaker {i % 5}") for i in range(1_000)]
    given = Curriculum(paired=0.3).pair(examples, np.random.default_rng(0))
    joined = sum(2 for one in given if one.codes.shape[1] == 20)
    assert 240 < joined < 360
    assert sum(one.codes.shape[1] for one in given) == 10_000
    nobody = [one._replace(speaker="") for one in examples]
    assert Curriculum(paired=1.0).pair(nobody, np.random.default_rng(0)) == nobody
