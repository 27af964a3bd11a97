"""Utterances: each says where it lies, who speaks, and whether it is spoken of LibriVox."""

import json
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.audio import voice_activity
from tasks.audio.cutting import cut
from tasks.corpora.held_out import held_out
from tasks.recordings import Recordings
from tasks.utterances import Utterances, split
from warehouse.errors import Mistake
from warehouse.tables import RECORDINGS, UTTERANCES

RATE = 1_000  # Hz, so that samples read as milliseconds


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


def chapter(seconds: float, *voiced: tuple[float, float], **columns: object) -> dict[str, object]:
    speech = [{"start_sample": int(start * RATE), "end_sample": int(end * RATE)} for start, end in voiced]
    return recording(corpus="librilight", num_samples=int(seconds * RATE), speech=speech, **columns)


def test_what_is_spoken_of_librivox_at_either_end_of_a_chapter_is_marked():
    rows = cut_up(chapter(120, (4, 20), (22, 40), (42, 60), (62, 80), (82, 95), (97, 100), (102, 110)))
    assert [(row["start_sample"], row["end_sample"], row["zone"]) for row in rows if row["dropped"] is None] == [
        (3_800, 20_200, "opening"),
        (21_800, 40_200, "opening"),  # it begins less than 30 s after the first word
        (41_800, 60_200, None),
        (61_800, 80_200, None),
        (81_800, 95_200, None),
        (96_800, 100_200, "closing"),  # it ends less than 15 s before the last word
        (101_800, 110_200, "closing"),
    ]
    assert {row["zone"] for row in rows if row["dropped"] == "silence"} == {None}


def test_how_long_the_ends_of_a_chapter_are_can_be_set():
    words = [(start, start + 8) for start in range(0, 100, 10)]
    rows = cut_up(chapter(100, *words), max_seconds=10, opening_seconds=0, closing_seconds=25)
    zones = [row["zone"] for row in rows if row["dropped"] is None]
    assert zones == [None] * 7 + ["closing"] * 3


@pytest.mark.parametrize(
    "columns", [{"corpus": "sample"}, {"corpus": "librispeech", "text": "HELLO"}, {"text": "HELLO", "speech": None}]
)
def test_only_a_whole_chapter_of_librivox_has_zones(columns):
    rows = cut_up(chapter(10, (0, 10)) | columns)
    assert [row["zone"] for row in rows] == [None]


def test_a_chapter_without_a_voice_has_no_zones():
    assert [(row["zone"], row["voiced_seconds"]) for row in cut_up(chapter(10))] == [(None, 0)]


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 60_000), min_size=2, max_size=40), st.integers(60_000, 70_000))
def test_the_rows_of_a_recording_hold_its_samples_and_its_speech_once(edges, length):
    edges = sorted(edges)
    speech = [{"start_sample": start, "end_sample": end} for start, end in zip(edges[::2], edges[1::2], strict=False)]
    longest = max(stretch["end_sample"] - stretch["start_sample"] for stretch in speech)
    settings = {"max_seconds": max(1, longest / RATE + 1)}  # so that no audio has to be read
    rows = cut_up(recording(num_samples=length, speech=speech), **settings)
    assert [row["start_sample"] for row in rows] == [0, *(row["end_sample"] for row in rows[:-1])]
    assert rows[-1]["end_sample"] == length
    assert sum(row["seconds"] for row in rows) == pytest.approx(length / RATE)
    spoken = sum(stretch["end_sample"] - stretch["start_sample"] for stretch in speech) / RATE
    assert sum(row["voiced_seconds"] for row in rows) == pytest.approx(spoken)
    assert all(0 <= row["voiced_seconds"] <= row["seconds"] + 1e-9 for row in rows)
    assert all(row["voiced_seconds"] == 0 for row in rows if row["dropped"] == "silence")


def test_an_utterance_says_how_much_of_it_is_voiced():
    rows = cut_up(chapter(20, (1, 3), (3.5, 5), (8, 8.5)))
    assert [(row["seconds"], row["voiced_seconds"]) for row in rows] == [
        (0.8, 0),
        (4.4, 3.5),
        (2.6, 0),
        (0.9, 0.5),
        (11.3, 0),
    ]
    (whole,) = cut_up(recording(num_samples=5 * RATE, text="HELLO"))
    assert whole["voiced_seconds"] is None


def test_the_readers_of_librispeechs_dev_and_test_sets_never_train():
    readers = held_out("librispeech")
    for corpus in ("librispeech", "librilight"):
        heard = (recording(recording_id=id_, speaker_id=id_, corpus=corpus, text="HE") for id_ in readers)
        assert {row["speaker_id"]: row["split"] for row in cut_up(*heard)} == readers


def test_a_folder_of_somebody_s_own_that_is_called_like_a_reader_is_not_claimed():
    [row] = cut_up(recording(speaker_id="1272", corpus="my-voices", text="HE"))
    assert (row["split"], row["corpus"]) == (split("1272", 0.02, 0.02), "my-voices") == ("train", "my-voices")


def test_a_reader_is_split_by_hash_where_nobody_is_held_out():
    rows = cut_up(recording(speaker_id="1089", text="HE"), recording(speaker_id="84", text="HE"), hold_out="none")
    assert [row["split"] for row in rows] == [split("1089", 0.02, 0.02), split("84", 0.02, 0.02)] == ["train"] * 2


def test_a_list_of_readers_that_nobody_knows_is_a_mistake():
    with pytest.raises(Mistake, match="hold_out is 'vctk'; it may be librispeech or none"):
        Utterances(hold_out="vctk")


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
    (tmp_path / "b.wav").touch()
    (row,) = cut_up(recording(), audio=tmp_path)
    assert (row["start_sample"], row["end_sample"], row["dropped"]) == (0, 40 * RATE, "unreadable")
    assert "a.wav cannot be opened" in row["detail"]


def test_nothing_is_dropped_where_the_whole_corpus_went_away(tmp_path):
    for corpus in (tmp_path / "gone", tmp_path):  # an empty folder is a mount point without its disk
        with pytest.raises(OSError, match=f"there is no folder {corpus}"):
            cut_up(recording(), audio=corpus)


def test_a_long_breath_is_cut_at_the_quietest_place_of_the_audio(tmp_path):
    rate = 8_000  # Hz
    noise = 0.3 * np.random.default_rng(1).standard_normal(30 * rate)
    noise[14 * rate : 14 * rate + 400] *= 0.01
    soundfile.write(tmp_path / "a.wav", noise, rate)
    speech = [{"start_sample": 0, "end_sample": 30 * rate}]
    rows = cut_up(recording(sample_rate=rate, num_samples=30 * rate, speech=speech), audio=tmp_path)
    assert [row["dropped"] for row in rows] == [None, None]
    assert rows[0]["end_sample"] / rate == pytest.approx(14.025, abs=0.03)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_seconds": 0.5}, "utterances.max_seconds is 0.5; it must be 1 or more"),
        ({"max_seconds": math.nan}, "utterances.max_seconds is nan"),
        ({"max_text_seconds": math.nan}, "utterances.max_text_seconds is nan; it must be 0 or more"),
        ({"min_seconds": -1.0}, "utterances.min_seconds is -1.0"),
        ({"margin_seconds": -1.0}, "utterances.margin_seconds is -1.0"),
        ({"pause_seconds": math.inf}, "utterances.pause_seconds is inf"),
        ({"opening_seconds": -1.0}, "utterances.opening_seconds is -1.0"),
        ({"closing_seconds": math.nan}, "utterances.closing_seconds is nan"),
        ({"dev_share": -0.1}, "utterances.dev_share is -0.1; it must be from 0 to 1"),
        ({"test_share": 1.1}, "utterances.test_share is 1.1; it must be from 0 to 1"),
    ],
)
def test_a_limit_that_makes_no_sense_is_a_mistake(wrong, says):
    with pytest.raises(Mistake, match=says):
        Utterances(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"margin_seconds": 6.0}, {"min_seconds": 21.0}, {"dev_share": 0.6, "test_share": 0.5}]
)
def test_limits_that_do_not_go_together_are_a_mistake_once_all_are_said(wrong):
    stage = Utterances(**wrong)
    with pytest.raises(Mistake, match="utterances"):
        stage.identity()
    assert replace(stage, max_seconds=30.0, dev_share=0.0).identity()


def test_the_weights_that_find_speech_are_part_of_the_identity():
    assert Utterances().identity() == {"voice": voice_activity.digest()}
    assert len(voice_activity.digest()) == 64


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


def test_every_bad_file_that_is_a_recording_is_cut_or_dropped_and_no_sample_is_lost(speech):
    root = speech / "bad"
    stage = Recordings(layout="folder", audio=root)
    made = pa.concat_tables([stage(shard) for shard in stage.shards()]).to_pylist()
    lengths = {row["recording_id"]: row["num_samples"] for row in made if row["dropped"] is None}
    rows = Utterances(audio=root)(ds.dataset(pa.Table.from_pylist(made, schema=RECORDINGS.schema))).to_pylist()
    held = dict.fromkeys(lengths, 0)
    for row in rows:
        assert row["start_sample"] == held[row["recording_id"]]
        held[row["recording_id"]] = row["end_sample"]
        assert row["dropped"] in (None, "silence", "too_short", "too_long")
        assert (row["zone"], row["detail"]) == (None, None)
    assert held == lengths
    assert len(lengths) == 29


def test_speech_is_found_where_the_corpus_does_not_say(speech):
    path = speech / "librispeech-mini/LibriSpeech/test-other/533/1066/533-1066-0000.flac"
    rate, length = soundfile.info(path).samplerate, soundfile.info(path).frames
    found = voice_activity.stretches(path, rate, length)
    assert found == sorted(found)
    assert found[0][0] >= 0
    assert found[-1][1] <= length
    assert sum(end - start for start, end in found) > 0.7 * length


def test_silence_holds_no_voice(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(44_100), 44_100)
    assert voice_activity.stretches(tmp_path / "a.wav", 44_100, 44_100) == []


def test_a_recording_that_nobody_expected_costs_itself_and_no_sample_is_lost(monkeypatch):
    def stumble(*words):
        if words[1] in stones:
            raise ZeroDivisionError("division by zero")
        return cut(*words)

    monkeypatch.setattr("tasks.utterances.cut", stumble)
    made = [chapter(40 + i, (1.0, 9.0), recording_id=f"r{i}") for i in range(4)]
    stones = {42 * RATE}
    rows = cut_up(*made)
    [lost] = [row for row in rows if row["dropped"] == "error"]
    assert (lost["utterance_id"], lost["split"], lost["seconds"]) == ("r2#0-42000", rows[0]["split"], 42.0)
    assert lost["detail"] == "ZeroDivisionError: division by zero"
    assert sum(row["end_sample"] - row["start_sample"] for row in rows) == (40 + 41 + 42 + 43) * RATE
    stones = {length * RATE for length in (41, 42, 43)}
    with pytest.raises(ZeroDivisionError):
        cut_up(*made)


def test_of_a_poisoned_recording_one_row_holds_every_sample():
    [row] = Utterances().poisoned(recording(recording_id="r", corpus="librilight"))
    assert (row["utterance_id"], row["seconds"]) == ("r#0-40000", 40.0)
