"""Cutting at pauses: nothing is lost, nothing is doubled, nothing is too long."""

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tasks import voice
from tasks.recordings import Recordings
from tasks.utterances import Cut, Limits, Stretch, Utterances, cut, split
from warehouse.errors import Mistake
from warehouse.tables import RECORDINGS, UTTERANCES

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


def limits(longest: float = 20, shortest: float = 1, pause: float = 1, margin: float = 0.2, good: float = 10) -> Limits:
    return Limits(**{name: int(value * RATE) for name, value in locals().items()})


def voiced(*seconds: tuple[float, float]) -> list[Stretch]:
    return [(int(start * RATE), int(end * RATE)) for start, end in seconds]


def kept(cuts: list[Cut]) -> list[tuple[float, float]]:
    return [(start / RATE, end / RATE) for start, end, dropped in cuts if dropped is None]


@given(recordings(), limits_of_any_kind)
def test_every_sample_lies_in_exactly_one_cut_in_order(recording, limits):
    speech, length = recording
    cuts = cut(speech, length, limits, middle)
    assert [start for start, _, _ in cuts] == [0, *(end for _, end, _ in cuts[:-1])]
    assert cuts[-1][1] == length
    assert all(start < end for start, end, _ in cuts)


@given(recordings(), limits_of_any_kind)
def test_no_utterance_is_longer_than_the_limit_and_none_kept_is_shorter(recording, limits):
    for start, end, dropped in cut(*recording, limits, middle):
        if dropped is None:
            assert limits.shortest <= end - start <= limits.longest
        if dropped == "too_short":
            assert end - start < limits.shortest


@given(recordings(), limits_of_any_kind)
def test_speech_is_never_called_silence(recording, limits):
    speech, length = recording
    silent = [(start, end) for start, end, dropped in cut(speech, length, limits, middle) if dropped == "silence"]
    for start, end in speech:
        assert all(stop <= start or begin >= end for begin, stop in silent)


@given(recordings(), limits_of_any_kind)
def test_a_long_pause_is_never_inside_an_utterance(recording, limits):
    speech, length = recording
    long = [(a, b) for (_, a), (b, _) in pairwise(speech) if b - a > limits.pause]
    for start, end, dropped in cut(speech, length, limits, middle):
        if dropped != "silence":
            assert not any(start < a and b < end for a, b in long)


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


def test_a_speaker_stays_in_one_split_whoever_else_comes():
    splits = {str(i): split(str(i), 0.1, 0.2) for i in range(2_000)}
    share = {name: list(splits.values()).count(name) / 2_000 for name in ("train", "dev", "test")}
    assert share == {
        "train": pytest.approx(0.7, abs=0.03),
        "dev": pytest.approx(0.1, abs=0.03),
        "test": pytest.approx(0.2, abs=0.03),
    }
    assert {i for i in splits if split(i, 0.3, 0.2) == "test"} == {i for i in splits if splits[i] == "test"}


def recording(**columns: object) -> dict[str, object]:
    known = {
        "recording_id": "a",
        "speaker_id": "s",
        "audio_path": "a.wav",
        "sample_rate": RATE,
        "num_samples": 40 * RATE,
    }
    return known | columns


def cut_up(*rows: dict[str, object], **settings: object) -> list[dict[str, object]]:
    table = pa.Table.from_pylist(list(rows), schema=RECORDINGS.schema)
    made = Utterances(**settings)(ds.dataset(table))
    assert made.schema == UTTERANCES.schema
    return made.to_pylist()


def test_a_recording_with_its_own_text_stays_whole():
    rows = cut_up(
        recording(recording_id="short", num_samples=500, text="HE"),
        recording(recording_id="whole", num_samples=30 * RATE, text="HELLO"),
        recording(recording_id="long", num_samples=31 * RATE, text="HELLO AGAIN"),
    )
    assert [(row["utterance_id"], row["dropped"]) for row in rows] == [
        ("short#0-500", "too_short"),
        ("whole#0-30000", None),
        ("long#0-31000", "too_long"),
    ]


def test_a_dropped_recording_has_no_rows():
    assert cut_up(recording(dropped="silent", text="HELLO")) == []


def test_a_recording_that_went_away_is_dropped_whole_with_the_reason(tmp_path):
    (row,) = cut_up(recording(), audio=tmp_path)
    assert (row["start_sample"], row["end_sample"], row["dropped"]) == (0, 40 * RATE, "unreadable")
    assert "a.wav cannot be opened" in row["detail"]


def test_a_long_breath_is_cut_at_the_quietest_place_of_the_audio(tmp_path):
    rate = 8_000  # Hz
    noise = 0.3 * np.random.default_rng(1).standard_normal(30 * rate)
    noise[14 * rate : 14 * rate + 400] *= 0.01
    soundfile.write(tmp_path / "a.wav", noise, rate)
    speech = [{"start_sample": 0, "end_sample": 30 * rate}]
    rows = cut_up(recording(sample_rate=rate, num_samples=30 * rate, speech=speech), audio=tmp_path)
    assert [row["dropped"] for row in rows] == [None, None]
    assert rows[0]["end_sample"] / rate == pytest.approx(14.025, abs=0.03)


def test_limits_that_leave_no_room_are_a_mistake():
    with pytest.raises(Mistake, match="max_seconds"):
        Utterances(max_seconds=0.5)


def test_the_weights_that_find_speech_are_part_of_the_identity():
    assert Utterances().identity() == {"voice": voice.digest()}
    assert len(voice.digest()) == 64


def test_real_chapters_are_cut_without_losing_a_word(speech):
    root = speech / "librilight-mini"
    stage = Recordings(layout="librilight", audio=root)
    made = pa.concat_tables([stage(shard) for shard in stage.shards()])
    heard = defaultdict(list)
    for row in Utterances(audio=root)(ds.dataset(made)).to_pylist():
        if row["dropped"] is None:
            assert row["seconds"] <= 20
            heard[row["recording_id"]].append((row["start_sample"], row["end_sample"]))
    for line in (root / "truth.jsonl").read_text().splitlines():
        said = json.loads(line)
        start, end = said["start_sample"], said["end_sample"]
        covered = sum(max(0, min(end, stop) - max(start, begin)) for begin, stop in heard[said["recording_id"]])
        assert (end - start - covered) / 16_000 <= 0.2


def test_speech_is_found_where_the_corpus_does_not_say(speech):
    path = speech / "librispeech-mini/LibriSpeech/test-other/533/1066/533-1066-0000.flac"
    rate, length = soundfile.info(path).samplerate, soundfile.info(path).frames
    found = voice.stretches(path, rate, length)
    assert found == sorted(found)
    assert found[0][0] >= 0
    assert found[-1][1] <= length
    assert sum(end - start for start, end in found) > 0.7 * length


def test_silence_holds_no_voice(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(44_100), 44_100)
    assert voice.stretches(tmp_path / "a.wav", 44_100, 44_100) == []
