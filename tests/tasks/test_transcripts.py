"""The stage `Transcripts`: a row for each kept utterance, whatever happens to it."""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import soundfile
import torch
from whisper.normalizers import EnglishTextNormalizer

from model.asr import recognition, weights
from tasks.transcripts import Transcripts
from tests.speech import sentences
from warehouse.errors import Mistake
from warehouse.fingerprint import fingerprints
from warehouse.stage import Stage
from warehouse.tables import RECORDINGS, TRANSCRIPTS, UTTERANCES

RATE = 22_050  # Hz, of the files, so that reading has to resample
SPOKEN = dict(sentences(2, RATE))
FIRST, SECOND = SPOKEN


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def corpus(folder: Path, texts: list[str | None], name: str = "book") -> tuple[list[dict[str, Any]], ds.Dataset]:
    """One recording a text (None is silence), each a file; its utterances span it whole."""
    recordings, utterances = [], []
    for i, text in enumerate(texts):
        waveform = SPOKEN.get(text, SPOKEN[FIRST]) if text else np.zeros(2 * RATE, np.float32)
        soundfile.write(folder / f"{name}-{i}.wav", waveform, RATE)
        row = {"recording_id": f"{name}-{i}", "audio_path": f"{name}-{i}.wav", "sample_rate": RATE}
        recordings.append(row | {"num_samples": len(waveform), "text": text})
        utterances.append(utterance(recordings[-1], 0, len(waveform)))
    return utterances, ds.dataset(pa.Table.from_pylist(recordings, schema=RECORDINGS.schema))


def utterance(recording: dict[str, Any], start: int, end: int, dropped: str | None = None) -> dict[str, Any]:
    return {
        "utterance_id": f"{recording['recording_id']}#{start}-{end}",
        "recording_id": recording["recording_id"],
        "start_sample": start,
        "end_sample": end,
        "sample_rate": RATE,
        "seconds": (end - start) / RATE,
        "dropped": dropped,
    }


def dataset(utterances: list[dict[str, Any]]) -> ds.Dataset:
    return ds.dataset(pa.Table.from_pylist(utterances, schema=UTTERANCES.schema))


def made(stage: Transcripts, utterances: list[dict[str, Any]], recordings: ds.Dataset) -> list[dict[str, Any]]:
    table = stage(dataset(utterances), recordings)
    assert table.schema == TRANSCRIPTS.schema
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@dataclass(frozen=True)
class Heard:
    """What the embedded Whisper makes of silence, of a pause that was dropped and of two sentences, one by one."""

    folder: Path
    utterances: list[dict[str, Any]]
    recordings: ds.Dataset
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("heard")
    utterances, recordings = corpus(folder, [None, SECOND, FIRST])
    utterances.insert(1, utterances[0] | {"utterance_id": "pause", "dropped": "silence"})
    rows = made(Transcripts(audio=folder, batch_size=1), utterances, recordings)
    return Heard(folder, utterances, recordings, rows)


def test_it_keeps_the_contract_of_a_stage() -> None:
    assert isinstance(Transcripts(), Stage)


def test_the_embedded_whisper_writes_down_what_is_said_and_how_sure_it_is(heard: Heard) -> None:
    rows = heard.rows[1:]
    normal = EnglishTextNormalizer()
    assert jiwer.wer([normal(SECOND), normal(FIRST)], [normal(row["text"]) for row in rows]) <= 0.5
    assert {row["judge"] for row in rows} == {f"openai-whisper/{recognition.identity('embedded')}"}
    for row in rows:
        assert row["dropped"] is None
        assert row["language"] == "en"
        assert row["language_prob"] is None
        assert -1 < row["avg_logprob"] < 0 <= row["no_speech_prob"] < 0.5
        assert row["temperature"] == 0
        assert row["compression_ratio"] > 0.5
        assert row["words"] is None


def test_every_kept_utterance_has_a_row_in_the_same_order_and_dropped_ones_have_none(heard: Heard) -> None:
    assert [row["utterance_id"] for row in heard.rows] == [
        row["utterance_id"] for row in heard.utterances if not row["dropped"]
    ]
    assert [row["dropped"] for row in heard.rows] == ["empty_text", None, None]


@pytest.mark.parametrize("size", [2, 16])
def test_the_batch_size_changes_nothing_in_the_table(heard: Heard, size: int) -> None:
    stage = Transcripts(audio=heard.folder, batch_size=size)
    assert made(stage, heard.utterances, heard.recordings) == heard.rows


def test_what_is_odd_is_flagged_and_nothing_is_dropped_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = recognition.Transcript("and so and so and so on", "", "en", None, -0.1, 0.0, 1.2, 0.0, 224)
    monkeypatch.setattr(recognition, "transcribe", lambda *_, **__: [loop])
    (row,) = made(Transcripts(audio=tmp_path), *corpus(tmp_path, [FIRST]))
    assert row["flags"] == ["repeats", "unfinished"]
    assert row["dropped"] is None
    assert row["num_tokens"] == 224


def test_a_text_without_doubts_has_an_empty_list_of_flags_and_no_text_has_none(heard: Heard) -> None:
    silent, _, spoken = heard.rows
    assert spoken["flags"] == []
    assert spoken["chars_per_second"] == pytest.approx(15, abs=10)
    assert (silent["flags"], silent["chars_per_second"], silent["dropped"]) == (None, None, "empty_text")
    assert "no speech was heard" in silent["detail"]


def test_what_is_heard_is_measured_against_the_corpuss_own_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = recognition.Transcript("The keeper climbed a stair every evening at six!", "", "en", None, 0, 0, 1, 0, 9)
    monkeypatch.setattr(recognition, "transcribe", lambda *_, **__: [heard])
    utterances, recordings = corpus(tmp_path, [FIRST])
    (row,) = made(Transcripts(audio=tmp_path), utterances, recordings)
    assert (row["reference_errors"], row["reference_words"]) == (2, 9)
    (part,) = made(Transcripts(audio=tmp_path), [utterances[0] | {"end_sample": RATE}], recordings)
    assert (part["reference_errors"], part["reference_words"]) == (None, None)


def test_words_have_their_times_where_they_are_asked_for(tmp_path: Path) -> None:
    (row,) = made(Transcripts(audio=tmp_path, words=True), *corpus(tmp_path, [FIRST]))
    assert " ".join(word["word"] for word in row["words"]) == row["text"]
    assert 0 <= row["words"][0]["start"] < row["words"][-1]["end"]


def test_a_corpuss_own_text_is_doubted_too(tmp_path: Path) -> None:
    (row,) = made(Transcripts(model="reference"), *corpus(tmp_path, ["This is a LibriVox recording."]))
    assert row["flags"] == ["boilerplate"]
    assert row["dropped"] is None


def test_a_wrong_model_is_a_mistake_before_anything_is_made() -> None:
    with pytest.raises(Mistake, match="is no checkpoint of openai-whisper's"):
        Transcripts(model=__file__).identity()


def test_no_setting_is_a_threshold() -> None:
    assert {field.name for field in fields(Transcripts) if field.compare} == {"model", "engine", "language", "words"}


def test_an_utterance_is_heard_from_its_own_stretch_of_the_recording(tmp_path: Path) -> None:
    halves = list(SPOKEN.values())
    soundfile.write(tmp_path / "both.flac", np.concatenate(halves), RATE)
    recording = {"recording_id": "both", "audio_path": "both.flac", "num_samples": sum(map(len, halves))}
    second = utterance(recording, len(halves[0]), recording["num_samples"])
    recordings = ds.dataset(pa.Table.from_pylist([recording], schema=RECORDINGS.schema))
    (row,) = made(Transcripts(audio=tmp_path), [second], recordings)
    normal = EnglishTextNormalizer()
    first, second = (jiwer.wer(normal(text), normal(row["text"])) for text in (FIRST, SECOND))
    assert second < first


def test_a_bad_file_costs_itself_and_says_why(tmp_path: Path) -> None:
    utterances, recordings = corpus(tmp_path, [FIRST, SECOND])
    (tmp_path / "book-0.wav").write_bytes(b"no audio at all")
    bad, good = made(Transcripts(audio=tmp_path), utterances, recordings)
    assert (bad["dropped"], good["dropped"]) == ("unreadable", None)
    assert "book-0.wav" in bad["detail"]
    assert bad["text"] is None


def test_nothing_is_dropped_where_the_whole_corpus_went_away(tmp_path: Path) -> None:
    utterances, recordings = corpus(tmp_path, [FIRST])
    with pytest.raises(OSError, match="there is no folder .*gone"):
        made(Transcripts(audio=tmp_path / "gone"), utterances, recordings)
    (tmp_path / "book-0.wav").rename(tmp_path / "renamed.wav")
    (row,) = made(Transcripts(audio=tmp_path), utterances, recordings)
    assert row["dropped"] == "unreadable"


def test_more_than_thirty_seconds_cost_themselves(tmp_path: Path) -> None:
    utterances, recordings = corpus(tmp_path, [FIRST])
    long = utterance({"recording_id": "book-0"}, 0, 31 * RATE)
    too_long, fine = made(Transcripts(audio=tmp_path), [long, *utterances], recordings)
    assert (too_long["dropped"], fine["dropped"]) == ("too_long", None)
    assert "31.0 s" in too_long["detail"]


def test_another_language_than_asked_for_is_refused_with_its_evidence(tmp_path: Path) -> None:
    (row,) = made(Transcripts(audio=tmp_path, language="de"), *corpus(tmp_path, [FIRST]))
    assert row["dropped"] == "not_german"
    assert row["detail"] == "sounds like english"
    assert row["text"]
    assert row["avg_logprob"] is not None


def test_the_reference_is_the_corpuss_own_text(tmp_path: Path) -> None:
    spoken, silent = made(Transcripts(model="reference", audio=tmp_path), *corpus(tmp_path, [FIRST, None]))
    assert (spoken["text"], spoken["judge"], spoken["dropped"]) == (FIRST, "reference", None)
    assert spoken["avg_logprob"] is None
    assert spoken["temperature"] is None
    assert (silent["text"], silent["dropped"]) == (None, "no_text")


def test_the_reference_is_no_text_for_a_part_of_its_recording(tmp_path: Path) -> None:
    (whole,), recordings = corpus(tmp_path, [FIRST])
    part = utterance({"recording_id": "book-0"}, 0, whole["end_sample"] // 2)
    (row,) = made(Transcripts(model="reference"), [part], recordings)
    assert row["dropped"] == "no_text"
    assert "part" in row["detail"]


def test_no_utterances_are_no_rows(tmp_path: Path) -> None:
    _, recordings = corpus(tmp_path, [])
    assert made(Transcripts(), [], recordings) == []


def test_a_model_stands_in_the_fingerprint_by_its_content(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(weights.weights_path("embedded").parent, copy)
    digest = recognition.identity("embedded").split("@")[1]
    assert Transcripts(model=str(copy)).identity() == {"model": f"file@{digest}"}
    assert Transcripts().identity() == {"model": f"embedded@{digest}"}
    assert Transcripts(model="turbo").identity() == {"model": "large-v3-turbo@aff26ae4"}


def test_what_hears_does_not_count_where_the_corpuss_own_text_is_taken() -> None:
    reference = Transcripts(model="reference")
    for settings in ({"engine": recognition.FASTER}, {"words": True}):
        assert fingerprints(Transcripts(model="reference", **settings), {}) == fingerprints(reference, {})
    assert fingerprints(Transcripts(model="reference", language="de"), {}) != fingerprints(reference, {})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"engine": "kaldi"}, "transcripts.engine is 'kaldi'; it may be openai-whisper or faster-whisper"),
        ({"engine": "kaldi", "model": "reference"}, "transcripts.engine is 'kaldi'"),
        ({"batch_size": 0}, "transcripts.batch_size is 0; it must be 1 or more"),
        ({"language": "English"}, "transcripts.language is 'English'"),
        ({"language": ""}, "transcripts.language is ''"),
    ],
)
def test_a_setting_that_makes_no_sense_is_a_mistake_at_once(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        Transcripts(**settings)
    assert Transcripts(language=None).language is None


def test_where_it_works_is_no_part_of_what_it_makes() -> None:
    assert Transcripts(audio=Path("/elsewhere"), device="cuda", batch_size=3) == Transcripts()


def test_an_utterance_that_nobody_expected_costs_itself_and_the_others_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances, recordings = corpus(tmp_path, [FIRST, SECOND, None, FIRST])

    def stumble(_model: object, waveforms: list[np.ndarray], *, ids: list[str], **_: Any) -> Any:
        if stones & set(ids):
            raise RuntimeError("kernel size cannot be greater than actual input size")
        return [recognition.Transcript(f"of {len(one)}", "", "en", None, -0.1, 0, 1, 0, 9) for one in waveforms]

    monkeypatch.setattr("model.asr.recognition.transcribe", stumble)
    stones: set[str] = set()
    expected = made(Transcripts(audio=tmp_path), utterances, recordings)
    assert expected[0]["text"] != expected[1]["text"] != expected[2]["text"]
    stones = {utterances[1]["utterance_id"]}
    rows = made(Transcripts(audio=tmp_path), utterances, recordings)
    assert (rows[1]["dropped"], rows[1]["text"]) == ("error", None)
    assert rows[1]["detail"] == "RuntimeError: kernel size cannot be greater than actual input size"
    assert [rows[i] for i in (0, 2, 3)] == [expected[i] for i in (0, 2, 3)]
    stones = {row["utterance_id"] for row in utterances[1:]}
    with pytest.raises(RuntimeError, match="kernel size"):
        made(Transcripts(audio=tmp_path), utterances, recordings)


def test_a_text_that_nobody_expected_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(text: str, *_: Any, **__: Any) -> list[str]:
        if text == SECOND:
            raise OverflowError("too large")
        return []

    monkeypatch.setattr("tasks.transcripts.hallucination_flags", stumble)
    rows = made(Transcripts(model="reference"), *corpus(tmp_path, [FIRST, SECOND]))
    assert [(row["dropped"], row["detail"]) for row in rows] == [(None, None), ("error", "OverflowError: too large")]
