"""Cutting at pauses: nothing is lost, nothing is doubled, nothing is too long."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.audio.cutting import Cut, Limits, Stretch, cut

RATE = 1_000  # Hz, so that samples read as milliseconds

limits_of_any_kind = st.builds(
    lambda room, shortest, pause, margin, good: Limits(
        longest=room + 2 * margin, shortest=shortest, pause=pause, margin=margin, good=good
    ),
    room=st.integers(2, 3_000),
    shortest=st.integers(0, 500),
    pause=st.integers(0, 1_000),
    margin=st.integers(0, 300),
    good=st.integers(1, 2_000),
)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Stretch], int]:
    """Voiced stretches apart from each other, and the length of the recording they lie in."""
    edges = sorted(draw(st.sets(st.integers(0, 20_000), max_size=40)))
    speech = list(zip(edges[::2], edges[1::2], strict=False))
    return speech, draw(st.integers(max([1, *edges]), 25_000))


def middle(start: int, stop: int) -> int:
    return (start + stop) // 2


places = st.sampled_from([min, middle, max])  # where it may be quietest within a stretch: anywhere, its ends too


def limits(longest: float = 20, shortest: float = 1, pause: float = 1, margin: float = 0.2, good: float = 10) -> Limits:
    return Limits(**{name: int(value * RATE) for name, value in locals().items()})


def voiced(*seconds: tuple[float, float]) -> list[Stretch]:
    return [(int(start * RATE), int(end * RATE)) for start, end in seconds]


def kept(cuts: list[Cut]) -> list[tuple[float, float]]:
    return [(start / RATE, end / RATE) for start, end, dropped in cuts if dropped is None]


@settings(deadline=None, max_examples=60)
@given(recordings(), limits_of_any_kind, places)
def test_every_sample_lies_in_exactly_one_cut_in_order(recording, limits, quietest):
    speech, length = recording
    cuts = cut(speech, length, limits, quietest)
    assert [start for start, _, _ in cuts] == [0, *(end for _, end, _ in cuts[:-1])]
    assert cuts[-1][1] == length
    assert all(start < end for start, end, _ in cuts)


@settings(deadline=None, max_examples=60)
@given(recordings(), limits_of_any_kind, places)
def test_no_utterance_is_longer_than_the_limit_and_none_kept_is_shorter(recording, limits, quietest):
    for start, end, dropped in cut(*recording, limits, quietest):
        if dropped is None:
            assert limits.shortest <= end - start <= limits.longest
        if dropped == "too_short":
            assert end - start < limits.shortest


@settings(deadline=None, max_examples=60)
@given(recordings(), limits_of_any_kind, places)
def test_speech_is_never_called_silence(recording, limits, quietest):
    speech, length = recording
    silent = [(start, end) for start, end, dropped in cut(speech, length, limits, quietest) if dropped == "silence"]
    for start, end in speech:
        assert all(stop <= start or begin >= end for begin, stop in silent)


@settings(deadline=None, max_examples=60)
@given(recordings(), limits_of_any_kind, places)
def test_a_long_pause_is_never_inside_an_utterance(recording, limits, quietest):
    speech, length = recording
    long = [(a, b) for (_, a), (b, _) in pairwise(speech) if b - a > limits.pause]
    for start, end, dropped in cut(speech, length, limits, quietest):
        if dropped != "silence":
            assert not any(start < a and b < end for a, b in long)


@settings(deadline=None, max_examples=60)
@given(recordings(), limits_of_any_kind)
def test_silence_after_a_recording_changes_its_last_utterance_alone(recording, limits):
    speech, length = recording
    before, after = (kept(cut(speech, length + more, limits, middle)) for more in (0, 1_000))
    assert len(after) >= len(before)  # the last one may gain a margin, and so be long enough
    assert after[: len(before) - 1] == before[:-1]


def test_short_pieces_are_joined_up_to_the_limit():
    speech = voiced(*((3 * i, 3 * i + 2.5) for i in range(12)))  # 12 sentences of 2.5 s, 0.5 s apart
    assert [round(end - start) for start, end in kept(cut(speech, 36_000, limits(), middle))] == [18, 18]


def test_a_cut_prefers_the_longer_pause():
    speech = voiced((0, 11), (11.1, 12), (12.8, 24))
    assert kept(cut(speech, 24_000, limits(), middle)) == [(0, 12.2), (12.6, 24)]


def test_speech_without_a_pause_is_cut_where_it_is_quietest():
    asked = []

    def quiet_at_11(start: int, stop: int) -> int:
        asked.append((start, stop))
        return 11_000

    assert kept(cut(voiced((0, 25)), 25_000, limits(), quiet_at_11)) == [(0, 11), (11, 25)]
    assert all(start <= 11_000 <= stop for start, stop in asked)


def test_margins_go_into_the_pause_and_the_rest_is_silence():
    assert cut(voiced((2, 5), (8, 11)), 12_000, limits(), middle) == [
        (0, 1_800, "silence"),
        (1_800, 5_200, None),
        (5_200, 7_800, "silence"),
        (7_800, 11_200, None),
        (11_200, 12_000, "silence"),
    ]


def test_a_recording_without_a_voice_is_one_silence():
    assert cut([], 5_000, limits(), middle) == [(0, 5_000, "silence")]
