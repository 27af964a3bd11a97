"""Who is spoken of: the first of the utterances, a share of them, a frozen set, a published list."""

from pathlib import Path

import numpy as np
import pytest

from model.codec import encodec
from model.valle import synthesis
from model.valle.synthesis import Request
from tasks.evaluation.systems import TRUTH, VALLE
from tasks.text.symbols import BOUNDARY, SYMBOL_IDS
from tests.tasks.small_evaluation import LONG, SHORT, World
from tests.tasks.small_samples import by_system, make, saying, speech, stage
from warehouse.errors import Mistake


def test_fewer_utterances_are_the_first_of_more(world: World) -> None:
    few, more = (make(world, stage(world, num_utterances=number)) for number in (1, 2))
    ids = [list(dict.fromkeys(row["utterance_id"] for row in by_system(rows, TRUTH))) for rows in (few, more)]
    assert (len(ids[0]), len(ids[1])) == (1, 2)
    assert ids[0][0] == ids[1][0]


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
