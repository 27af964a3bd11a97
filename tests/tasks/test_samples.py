"""Speech to judge: whose voice, which words, and what becomes of a model that fails."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from model.codec import encodec
from model.valle import synthesis
from model.valle.synthesis import Generated, Request
from tasks.audio import audio_files
from tasks.audio.resynthesis import decode
from tasks.evaluation.systems import CONTINUAL, RESYNTHESIS, TRUTH, VALLE
from tasks.provenance.credentials import examine
from tasks.samples import Samples
from tasks.text.phonemization import phonemize
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS
from tests.tasks import small_evaluation
from tests.tasks.small_evaluation import LONG, PROMPT_SECONDS, SHORT, Row, World
from warehouse.errors import Mistake
from warehouse.stage import Stage
from warehouse.tables import CHECKPOINTS, SAMPLES

FRAMES = 75  # of a prompt of one second


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_evaluation.build(tmp_path_factory.mktemp("root"))


def stage(world: World, **settings: Any) -> Samples:
    chosen = {"min_seconds": 1.0, "prompt_seconds": PROMPT_SECONDS, "seeds": (0,), **settings}
    return Samples(**{**world.where(), **chosen})


def make(world: World, samples: Samples, fingerprint: str = "abcdef012345", shard: str = "all") -> list[Row]:
    """The rows of a shard."""
    folder = world.root / "samples" / fingerprint / shard
    table = samples(*(world.dataset(table) for table in samples.takes), shard=shard, folder=folder)
    assert table.schema == SAMPLES.schema
    rows: list[Row] = table.to_pylist()
    return rows


def speech(world: World, row: Row) -> NDArray[np.float32]:
    waveform, rate = soundfile.read(world.root / row["audio_path"], dtype="float32")
    assert rate == 24_000
    assert waveform.ndim == 1
    return np.asarray(waveform)


def by_system(rows: list[Row], system: str) -> list[Row]:
    return [row for row in rows if row["system"] == system]


def saying(num_frames: int, finished: bool = True, heard: list[Request] | None = None) -> Any:
    """A model that says so much, the code 7 throughout, and remembers what it was asked."""

    def generate(_pair: object, requests: list[Request], *_: object, **__: object) -> list[Generated]:
        if heard is not None:
            heard.extend(requests)
        return [Generated(np.full((8, num_frames), 7, np.uint16), finished) for _ in requests]

    return generate


def test_it_keeps_the_contract_of_a_stage() -> None:
    assert isinstance(Samples(), Stage)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"min_seconds": -1.0}, r"samples\.min_seconds is -1\.0; it must be 0 or more"),
        ({"max_seconds": math.nan}, r"samples\.max_seconds is nan"),
        ({"prompt_seconds": 0.0}, r"samples\.prompt_seconds is 0\.0; it must be above 0"),
        ({"temperature": math.inf}, r"samples\.temperature is inf"),
        ({"top_k": -1}, r"samples\.top_k is -1"),
        ({"top_p": 0.0}, r"samples\.top_p is 0\.0; it must be above 0, and 1 at most"),
        ({"top_p": 1.5}, r"samples\.top_p is 1\.5"),
        ({"repetition_window": -1}, r"samples\.repetition_window is -1"),
        ({"repetition_threshold": math.nan}, r"samples\.repetition_threshold is nan"),
        ({"mark_strength": -1.0}, r"samples\.mark_strength is -1\.0"),
        ({"num_utterances": 0}, r"samples\.num_utterances is 0; it must be 1 or more"),
        ({"batch_size": 0}, r"samples\.batch_size is 0"),
        ({"shard_pairs": 0}, r"samples\.shard_pairs is 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_a_mistake(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        Samples(**wrong)


def test_lengths_that_no_utterance_has_are_a_mistake_once_both_are_said() -> None:
    with pytest.raises(Mistake, match="samples.max_seconds is 10, under samples.min_seconds"):
        Samples(min_seconds=12.0).identity()
    assert Samples(min_seconds=12.0, max_seconds=15.0).identity()


def test_checkpoints_are_taken_only_where_the_model_is_trained_here() -> None:
    assert CHECKPOINTS in Samples().takes
    assert CHECKPOINTS not in Samples(checkpoint="a/folder").takes


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


def test_fewer_utterances_are_the_first_of_more(world: World) -> None:
    few, more = (make(world, stage(world, num_utterances=number)) for number in (1, 2))
    ids = [list(dict.fromkeys(row["utterance_id"] for row in by_system(rows, TRUTH))) for rows in (few, more)]
    assert (len(ids[0]), len(ids[1])) == (1, 2)
    assert ids[0][0] == ids[1][0]


def test_the_same_stage_makes_the_same_speech(world: World) -> None:
    rows = [make(world, stage(world, batch_size=size), fingerprint) for size, fingerprint in ((1, "3"), (32, "4"))]
    for one, other in zip(*rows, strict=True):
        assert one["sample_id"] == other["sample_id"]
        if one["dropped"] is None:
            assert np.array_equal(speech(world, one), speech(world, other))


def test_a_split_without_examples_is_said_with_the_setting(world: World) -> None:
    with pytest.raises(ValueError, match=r"samples\.split.*'dev'"):
        make(world, stage(world, split="dev"))
    assert make(world, stage(world, split="all", num_utterances=1))


def test_a_length_that_nobody_speaks_is_said_with_the_setting(world: World) -> None:
    with pytest.raises(ValueError, match=r"samples\.min_seconds.* 4 to 10 s"):
        make(world, stage(world, min_seconds=4.0))


def test_without_a_seed_there_is_nothing_to_say() -> None:
    with pytest.raises(ValueError, match=r"samples\.seeds"):
        Samples(seeds=())


def test_the_newest_weights_that_were_kept_speak(world: World) -> None:
    mine = encodec.identity(world.codec)
    newer = small_evaluation.kept_weights(world.root, "ar", 20, mine)
    gone = {"checkpoint_id": "ar-30-gone", "half": "ar", "step": 30, "path": None, "sha256": None}
    tables = world.tables | {"checkpoints": [newer, *world.tables["checkpoints"], gone]}
    rows = by_system(make(replace(world, tables=tables), stage(world, num_utterances=1)), VALLE)
    nar = next(row["checkpoint_id"] for row in world.tables["checkpoints"] if row["half"] == "nar")
    assert {row["checkpoint_id"] for row in rows} == {f"{newer['checkpoint_id']}+{nar}"}


def test_a_half_without_weights_is_named(world: World) -> None:
    only_ar = [row for row in world.tables["checkpoints"] if row["half"] == "ar"]
    with pytest.raises(ValueError, match="'nar'"):
        make(replace(world, tables=world.tables | {"checkpoints": only_ar}), stage(world))


def test_a_model_of_another_codec_is_refused(world: World, tmp_path: Path) -> None:
    other = small_evaluation.save_codec(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"samples\.codec"):
        make(world, stage(world, codec=other))


def test_a_folder_with_a_pair_is_named_by_its_weights_and_not_by_its_place(world: World, tmp_path: Path) -> None:
    mine = encodec.identity(world.codec)
    for folder, seed in (("one", 1), ("same", 1), ("other", 2)):
        small_evaluation.save_half(tmp_path / folder / "ar", "ar", mine, seed)
        small_evaluation.save_half(tmp_path / folder / "nar", "nar", mine, seed)
    one, same, other = (stage(world, checkpoint=str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one.identity() == same.identity() != other.identity()
    rows = by_system(make(world, one), VALLE)
    assert rows[0]["checkpoint_id"] == one.identity()["checkpoint"]


def test_a_folder_without_a_pair_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no checkpoint"):
        stage(world, checkpoint=str(tmp_path)).identity()


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


def test_the_shards_together_say_what_the_set_in_one_says(world: World) -> None:
    whole = make(world, stage(world, shard_pairs=9), "5" * 12)
    parted = stage(world, num_utterances=3, shard_pairs=1)
    assert parted.gathers == ("00-of-3", "01-of-3", "02-of-3")
    shards = [make(world, parted, "6" * 12, shard) for shard in parted.gathers]
    assert len({row["utterance_id"] for row in shards[0]}) == 1
    rows = {row["sample_id"]: row for rows in shards for row in rows}
    assert len(rows) == sum(map(len, shards)) == len(whole)
    for row in whole:
        other = rows[row["sample_id"]]
        assert (row["prompt_id"], row["dropped"], row["evaluation_set"]) == (
            other["prompt_id"],
            other["dropped"],
            other["evaluation_set"],
        )
        if row["dropped"] is None:
            assert np.array_equal(speech(world, row), speech(world, other))


def test_a_shard_for_which_nothing_is_left_is_empty_and_loads_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodec, "load_codec", lambda *_, **__: pytest.fail("a codec was loaded"))
    samples = stage(world)
    assert len(samples.gathers) == 20
    assert make(world, samples, shard="01-of-20") == []


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


def test_a_frozen_set_is_said_whatever_lengths_and_numbers_are_asked_for(world: World, tmp_path: Path) -> None:
    ids = [row["utterance_id"] for row in world.tables["utterances"]]
    (tmp_path / "set.csv").write_text(f"utterance_id,prompt_id\n{ids[1]},{ids[0]}\n{ids[2]},\n")
    samples = stage(world, pairs=tmp_path / "set.csv", num_utterances=1, min_seconds=9.0)
    rows = make(world, samples)
    assert [(row["utterance_id"], row["prompt_id"]) for row in by_system(rows, TRUTH)] == [
        (ids[1], ids[0]),
        (ids[2], None),
    ]
    assert {row["evaluation_set"] for row in rows} == {samples.identity()["pairs"]}
    assert {row["protocol"] for row in rows} == {"vall-e"}
    (tmp_path / "set.csv").write_text(f"utterance_id,prompt_id\n{ids[1]},\n")
    assert samples.identity()["pairs"] != rows[0]["evaluation_set"]


def test_a_frozen_set_of_another_corpus_is_one_sentence(world: World, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("utterance_id,prompt_id\nzoe/1#0-9,\nzoe/0#0-9,\n")
    with pytest.raises(Mistake, match="2 utterances of the set are not here, the first zoe/0#0-9"):
        make(world, stage(world, pairs=tmp_path / "set.csv"))


def test_a_published_list_is_said_after_its_own_prompts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Request] = []
    monkeypatch.setattr(synthesis, "generate", saying(5, heard=heard))
    anna, _, ben = (world.root / "audio" / row["audio_path"] for row in world.tables["recordings"])
    lines = [f"one|{LONG}|{anna}|{SHORT}|{ben}", f"two|{LONG}|{anna}|He saw 語.", f"three|{LONG}|{anna}|{SHORT}"]
    (tmp_path / "meta.lst").write_text("\n".join(lines))
    samples = stage(world, pairs=tmp_path / "meta.lst", seeds=(0, 1), shard_pairs=2)
    assert samples.gathers == ("00-of-2", "01-of-2")
    rows = make(world, samples, shard="00-of-2")
    assert {(row["sample_id"], row["dropped"]) for row in rows} == {
        ("ground-truth/one/0", None),
        ("codec-resynthesis/one/0", None),
        ("valle/one/0", None),
        ("valle/one/1", None),
        ("valle/two/0", "unknown_symbol"),
        ("valle/two/1", "unknown_symbol"),
    }
    assert {row["protocol"] for row in rows} == {"seed-tts"}
    assert {row["evaluation_set"] for row in rows} == {samples.identity()["pairs"]}
    assert {row["prompt_text"] for row in rows if not row["dropped"]} == {LONG}
    long, short, _ = (np.array(row["phone_ids"]) for row in world.tables["phones"])
    for request in heard:  # the whole prompt with all of its words
        assert request.phones.tolist() == [*long, SYMBOL_IDS[BOUNDARY], *short]
        assert np.array_equal(
            request.prompt_codes, np.array([world.tables["codes"][0][f"codebook_{q}"] for q in range(1, 9)])
        )
    assert {row["system"] for row in make(world, samples, shard="01-of-2")} == {VALLE}


def test_a_prompt_of_a_list_that_is_no_audio_costs_its_line_alone(world: World, tmp_path: Path) -> None:
    anna = world.root / "audio" / world.tables["recordings"][0]["audio_path"]
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "meta.lst").write_text(f"one|{LONG}|text.wav|{SHORT}\ntwo|{LONG}|{anna}|{SHORT}")
    rows = make(world, stage(world, pairs=tmp_path / "meta.lst"))
    assert {row["sample_id"]: row["dropped"] for row in rows}["valle/one/0"] == "unreadable"
    assert {row["sample_id"]: row["dropped"] for row in rows}["valle/two/0"] in (None, "empty")
