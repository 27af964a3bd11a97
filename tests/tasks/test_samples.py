"""Speech to judge: whose voice, which words, and what becomes of a model that fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.codec import encodec
from model.valle import synthesis
from model.valle.synthesis import Generated, Request
from tasks.audio import audio_files
from tasks.audio.resynthesis import decode
from tasks.evaluation.systems import CONTINUAL, RESYNTHESIS, TRUTH, VALLE
from tasks.provenance.credentials import examine
from tasks.text.phonemization import phonemize
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS
from tests.tasks.small_evaluation import LONG, PROMPT_SECONDS, SHORT, World
from tests.tasks.small_samples import FRAMES, by_system, make, saying, speech, stage


def test_every_utterance_is_said_by_every_system_and_by_the_model_with_every_seed(world: World) -> None:
    rows = make(world, stage(world, seeds=(0, 1)))
    ids = [row["utterance_id"] for row in world.tables["utterances"]]
    expected = {f"{system}/{name}/0" for system in (TRUTH, RESYNTHESIS) for name in ids}
    expected |= {f"{system}/{name}/{seed}" for system in (VALLE, CONTINUAL) for name in ids for seed in (0, 1)}
    assert {row["sample_id"] for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        if row["dropped"] is None:
            assert row["audio_path"].startswith(f"samples/abcdef012345/all/{row['system']}/")
            assert row["seconds"] == len(speech(world, row)) / 24_000 > 0
            assert row["seconds_to_make"] > 0
        assert (row["checkpoint_id"] is None) == (row["system"] in (TRUTH, RESYNTHESIS))
        assert row["text"] in (LONG, SHORT)


def test_the_prompt_is_another_utterance_of_the_speaker_and_for_the_continuation_the_utterance_itself(
    world: World,
) -> None:
    rows = make(world, stage(world))
    speaker = {row["utterance_id"]: row["speaker_id"] for row in world.tables["utterances"]}
    for row in by_system(rows, VALLE) + by_system(rows, TRUTH):
        if speaker[row["utterance_id"]] == "anna":
            assert speaker[row["prompt_id"]] == "anna"
            assert row["prompt_id"] != row["utterance_id"]
    assert all(row["prompt_id"] == row["utterance_id"] for row in by_system(rows, CONTINUAL))


def test_the_model_reads_the_prompts_words_before_the_targets_and_hears_one_prompt_of_codes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Request] = []
    monkeypatch.setattr(synthesis, "generate", saying(5, heard=heard))
    make(world, stage(world, num_utterances=None))
    long, short, _ = (np.array(row["phone_ids"]) for row in world.tables["phones"])
    phones = [request.phones.tolist() for request in heard]
    first_words = [said for said in phones if said[-len(short) :] == short.tolist() and len(said) > len(short)]
    assert len(first_words) == 1
    before = first_words[0][: -len(short)]
    assert before[-1] == SYMBOL_IDS[BOUNDARY]
    assert before[:-1] == long[: len(before) - 1].tolist()
    assert long[len(before) - 1] == SYMBOL_IDS[BOUNDARY]  # the prompt's phones end where a word does
    assert long.tolist() in phones
    assert short.tolist() in phones
    assert all(request.prompt_codes.shape == (8, FRAMES) for request in heard)


def test_a_continuation_begins_with_its_prompt_and_goes_on_with_what_the_model_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "generate", saying(20))
    row = next(row for row in by_system(make(world, stage(world)), CONTINUAL) if row["text"] == LONG)
    place = next(i for i, known in enumerate(world.tables["codes"]) if known["utterance_id"] == row["utterance_id"])
    truth = np.array([world.tables["codes"][place][f"codebook_{q}"] for q in range(1, 9)])[:, :FRAMES]
    codes = np.concatenate([truth, np.full((8, 20), 7)], axis=1)
    expected = encodec.load_codec(world.codec).decode(torch.from_numpy(codes)[None]).reshape(-1).numpy()
    assert np.allclose(speech(world, row), expected.clip(-1, 1), atol=2**-15)


def test_a_mark_is_a_setting_that_the_sampling_and_the_credentials_know(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[Any] = []

    def generate(_pair: object, requests: list[Request], sampling: Any, **_: object) -> list[Generated]:
        marks.append(sampling.mark)
        return [Generated(np.full((8, 20), 7, np.uint16), True) for _ in requests]

    monkeypatch.setattr(synthesis, "generate", generate)
    for strength in (0.0, 2.0):
        rows = by_system(make(world, stage(world, mark_strength=strength)), VALLE)
        row = next(row for row in rows if row["audio_path"])
        origin = examine(world.root / row["audio_path"]).origin
        assert origin
        assert origin.mark == (strength or None)
    assert marks[0] is None
    assert marks[1].strength == 2.0


def test_the_ar_really_runs_in_a_continuation(world: World) -> None:
    truth, one, other = (
        speech(world, next(row for row in by_system(rows, system) if row["text"] == LONG))
        for system, rows in (
            (RESYNTHESIS, make(world, stage(world))),
            (CONTINUAL, make(world, stage(world, seeds=(1,)), "1" * 12)),
            (CONTINUAL, make(world, stage(world, seeds=(2,)), "2" * 12)),
        )
    )
    kept = 320 * (FRAMES - 10)
    assert np.allclose(one[:kept], truth[:kept], atol=1e-3)
    assert not np.allclose(one[-2400:], other[-2400:], atol=1e-3)
    assert not np.allclose(one[kept + 6400 :][:2400], truth[kept + 6400 :][:2400], atol=1e-3)


def test_a_zero_shot_sample_holds_nothing_of_its_prompt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "generate", saying(20))
    rows = [row for row in by_system(make(world, stage(world)), VALLE) if row["dropped"] is None]
    assert rows
    assert all(row["seconds"] == 20 / 75 for row in rows)


def test_an_empty_sample_is_a_row_with_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "generate", saying(0, finished=False))
    rows = by_system(make(world, stage(world)), CONTINUAL)
    assert {row["dropped"] for row in rows} == {"empty"}
    assert all(row["audio_path"] is None and row["text"] for row in rows)


def test_an_endless_sample_is_kept_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "generate", saying(75, finished=False))
    rows = by_system(make(world, stage(world)), CONTINUAL)
    assert {(row["dropped"], row["detail"]) for row in rows} == {(None, "endless: stopped after 1.0 s")}


def test_a_speaker_with_one_utterance_has_no_prompt_but_is_still_heard(world: World) -> None:
    rows = {row["system"]: row for row in make(world, stage(world)) if row["utterance_id"].startswith("ben/")}
    assert rows[VALLE]["dropped"] == "no_prompt"
    assert "no other utterance" in rows[VALLE]["detail"]
    assert rows[TRUTH]["dropped"] is None
    assert rows[TRUTH]["prompt_id"] is None
    assert rows[CONTINUAL]["dropped"] is None


def test_an_utterance_no_longer_than_a_prompt_cannot_be_continued(world: World) -> None:
    rows = by_system(make(world, stage(world, prompt_seconds=2.0)), CONTINUAL)
    assert {row["text"]: row["dropped"] for row in rows} == {LONG: None, SHORT: "too_short"}


def test_a_recording_that_is_gone_costs_its_true_speech_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "another.wav").touch()
    rows = make(world, stage(world, audio=tmp_path))
    assert {row["dropped"] for row in by_system(rows, TRUTH)} == {"unreadable"}
    assert {row["dropped"] for row in by_system(rows, RESYNTHESIS)} == {None}


def test_nothing_is_dropped_where_the_whole_corpus_went_away(world: World, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no folder .*gone"):
        make(world, stage(world, audio=tmp_path / "gone"))


def test_the_same_stage_makes_the_same_speech(world: World) -> None:
    rows = [make(world, stage(world, batch_size=size), fingerprint) for size, fingerprint in ((1, "3"), (32, "4"))]
    for one, other in zip(*rows, strict=True):
        assert one["sample_id"] == other["sample_id"]
        if one["dropped"] is None:
            assert np.array_equal(speech(world, one), speech(world, other))


def test_codes_that_cannot_be_decoded_cost_their_sample_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stone = by_system(make(world, stage(world)), RESYNTHESIS)[0]["utterance_id"]
    decoded: list[int] = []

    def stumble(codec: Any, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        decoded.append(codes.shape[1])
        if len(decoded) == 1:
            raise RuntimeError("the codes are strange")
        return decode(codec, codes)

    monkeypatch.setattr("tasks.samples.decode", stumble)
    rows = make(world, stage(world))
    lost = [row for row in rows if row["dropped"] == "error"]
    assert [(row["system"], row["utterance_id"], row["detail"]) for row in lost] == [
        (RESYNTHESIS, stone, "RuntimeError: the codes are strange")
    ]


def test_a_prompt_lies_beside_its_samples_as_recorded_and_as_decoded(world: World) -> None:
    for row in make(world, stage(world)):
        if row["dropped"] == "no_prompt" or row["prompt_id"] is None:
            assert row["prompt_path"] is None
            continue
        assert row["prompt_seconds"] == PROMPT_SECONDS
        recorded, decoded = (
            speech(world, {"audio_path": row[name]}) for name in ("prompt_path", "prompt_decoded_path")
        )
        assert len(recorded) == len(decoded) == 24_000
        place = next(i for i, one in enumerate(world.tables["codes"]) if one["utterance_id"] == row["prompt_id"])
        truth = audio_files.read(world.root / "audio" / world.tables["recordings"][place]["audio_path"], 24_000)
        assert np.allclose(recorded, truth[:24_000], atol=2e-2)  # resampled with or without what comes after
        codes = np.array([world.tables["codes"][place][f"codebook_{q}"] for q in range(1, 9)])[:, :FRAMES]
        assert np.allclose(decoded, decode(encodec.load_codec(world.codec), codes).clip(-1, 1), atol=2**-15)


def test_a_prompt_is_cut_behind_a_word_where_the_transcript_has_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Request] = []
    monkeypatch.setattr(synthesis, "generate", saying(5, heard=heard))
    words = [
        {"word": f" {word}", "start": place / 3, "end": place / 3 + 0.2, "prob": 1.0}
        for place, word in enumerate(LONG.split())
    ]
    first, *others = world.tables["transcripts"]
    tables = world.tables | {"transcripts": [first | {"words": words}, *others]}
    rows = by_system(make(replace(world, tables=tables), stage(world)), VALLE)
    cuts = {row["prompt_id"]: (row["prompt_text"], row["prompt_cut"], row["prompt_seconds"]) for row in rows}
    assert cuts[first["utterance_id"]] == ("The old man", "word", 70 / 75)  # up to the middle of a pause
    assert {cut for _, cut, _ in cuts.values()} == {"word", "share", None}
    begun = phonemize("The old man").phone_ids
    [one] = [request for request in heard if request.prompt_codes.shape == (8, 70)]
    assert one.phones[: one.prompt_phones].tolist() == [*begun]


@pytest.mark.parametrize(("ablation", "frames"), [("no-prompt", 0), ("no-phones", FRAMES)])
def test_an_ablation_is_a_system_of_its_own_that_lacks_what_it_says(
    world: World, monkeypatch: pytest.MonkeyPatch, ablation: str, frames: int
) -> None:
    assert by_system(make(world, stage(world, ablation=ablation), "8" * 12), f"valle-{ablation}")  # it really speaks
    heard: list[Request] = []
    monkeypatch.setattr(synthesis, "generate", saying(5, heard=heard))
    rows = make(world, stage(world, ablation=ablation))
    assert {row["system"] for row in rows} == {f"valle-{ablation}", TRUTH, RESYNTHESIS}
    said = [row for row in by_system(rows, f"valle-{ablation}") if not row["dropped"]]
    assert all(row["prompt_path"] and row["prompt_seconds"] == PROMPT_SECONDS for row in said)
    assert len(said) == len(heard) == 2
    texts = [row["phone_ids"] for row in world.tables["phones"]]
    for request in heard:
        assert tuple(request.phones.tolist()) in texts
        assert request.prompt_codes.shape == (8, frames)
