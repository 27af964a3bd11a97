"""Checkpoints: rows for every validation, weights that speak, and data read from Parquet a shard at a time."""

import pickle
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from model.training.batches import NoExamples
from model.valle.checkpoint import CheckpointError, load
from model.valle.synthesis import Request, generate, load_pair
from tasks.checkpoints import Checkpoints
from tasks.text.symbols import SYMBOLS
from tasks.training.worker import Kept, ShardFiles, TrainShards, read, shared_out, valid_examples
from warehouse.fingerprint import fingerprints
from warehouse.stage import Stage
from warehouse.tables import CHECKPOINTS, CODEBOOKS, CODES, EXAMPLES, PHONES

STAGE = Checkpoints(
    size="tiny",
    codec="encodec_24khz",
    num_validations=2,
    ar_steps=3,
    ar_warmup_steps=1,
    ar_batch_frames=60,
    nar_steps=2,
    nar_warmup_steps=1,
    nar_batch_frames=60,
    tensorboard=False,
)


class Corpus:
    """Shards of examples, phones and codes on disk; every shard has an utterance that was dropped on the way."""

    def __init__(self, root: Path, splits: dict[str, list[str]]) -> None:
        self.root = root
        draw = np.random.default_rng(0)
        for shard, rows in splits.items():
            ids = [f"{shard}#{number}" for number in range(len(rows) + 1)]
            dropped = [None] * len(rows) + ["too_short"]
            self._write(EXAMPLES, shard, utterance_id=ids, split=[*rows, "train"], dropped=dropped)
            phones = [draw.integers(0, len(SYMBOLS), draw.integers(2, 6)).tolist() for _ in rows]
            # The other tables keep an order of their own, and say nothing of what was dropped.
            self._write(PHONES, shard, utterance_id=ids[::-1], phone_ids=[None, *phones[::-1]], dropped=dropped[::-1])
            lengths = draw.integers(10, 20, len(rows)).tolist()
            codes = {
                name: [*(draw.integers(0, 1024, length).tolist() for length in lengths), None] for name in CODEBOOKS
            }
            self._write(CODES, shard, utterance_id=ids, num_frames=[*lengths, None], dropped=dropped, **codes)

    def _write(self, table, shard, **columns):
        num_rows = len(columns["utterance_id"])
        rows = pa.table({name: columns.get(name, [None] * num_rows) for name in table.schema.names}, table.schema)
        path = self.root / table.name / "0123456789ab" / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)

    def silence(self, codebook):
        """Makes a codebook say one thing for ever."""
        for path in (self.root / CODES.name).rglob("*.parquet"):
            table = pq.read_table(path)
            mute = [codes and [7] * len(codes) for codes in table[codebook].to_pylist()]
            place = table.schema.get_field_index(codebook)
            pq.write_table(
                table.set_column(place, table.schema.field(place), pa.array(mute, pa.list_(pa.uint16()))), path
            )

    def datasets(self):
        """What the stage takes."""
        folders = (self.root / table.name for table in (EXAMPLES, PHONES, CODES))
        return [ds.dataset(folder, format="parquet") for folder in folders]

    def files(self, shard):
        """The files of one shard."""
        paths = (self.root / table.name / "0123456789ab" / f"{shard}.parquet" for table in (EXAMPLES, PHONES, CODES))
        return ShardFiles(*map(str, paths))

    def make(self, half, stage=STAGE):
        """The rows of a half, and the folder of its weights."""
        folder = self.root / "checkpoints" / "ba9876543210" / half
        folder.mkdir(parents=True, exist_ok=True)
        return stage(*self.datasets(), shard=half, folder=folder).to_pylist(), folder


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path, {"a": ["train"] * 6 + ["test"], "b": ["train"] * 4 + ["dev"] * 3})


def test_it_is_a_stage_of_two_shards_that_only_launches():
    stage: Stage = STAGE
    assert stage.gathers == ("ar", "nar")
    assert stage.needs.cpus == 0


def test_every_validation_is_a_row_and_the_last_names_the_weights(corpus):
    rows, folder = corpus.make("ar")
    assert [row["step"] for row in rows] == [0, 2, 3]
    assert [row["path"] for row in rows] == [None, None, "checkpoints/ba9876543210/ar"]
    assert [row["sha256"] is None for row in rows] == [True, True, False]
    assert len({row["checkpoint_id"] for row in rows}) == 3
    assert rows[-1]["checkpoint_id"] == f"ar-3-{rows[-1]['sha256'][:12]}"
    assert rows[0]["train_loss"] is None
    assert rows[0]["tokens_seen"] == 0 < rows[-1]["tokens_seen"]
    assert {row["half"] for row in rows} == {"ar"}
    assert {(row["dropped"], row["detail"]) for row in rows} == {(None, None)}
    assert rows[-1]["valid_loss"] < rows[0]["valid_loss"]
    assert (folder / "weights.safetensors").exists()


def test_the_best_is_named_and_kept_beside_the_last(corpus):
    wild = replace(STAGE, ar_learning_rate=0.3, ar_warmup_steps=0, num_validations=3)
    rows, folder = corpus.make("ar", wild)
    [best] = [row for row in rows if row["is_best"]]
    assert best["valid_loss"] == min(row["valid_loss"] for row in rows) < rows[-1]["valid_loss"]
    assert best["path"] == f"checkpoints/ba9876543210/ar/best-{best['step']:09d}"
    for row in (best, rows[-1]):
        assert sha256((corpus.root / row["path"] / "weights.safetensors").read_bytes()).hexdigest() == row["sha256"]
        assert row["checkpoint_id"].endswith(row["sha256"][:12])
    assert sum(row["sha256"] is not None for row in rows) == 2
    assert load(folder).settings.half == "ar"


def test_rows_say_how_each_codebook_does_and_what_is_wrong(corpus):
    corpus.silence("codebook_3")
    rows, _ = corpus.make("nar")
    assert [loss is None for loss in rows[-1]["valid_loss_by_codebook"]] == [True] + [False] * 7
    assert [hits is None for hits in rows[-1]["valid_top10_by_codebook"]] == [True] + [False] * 7
    assert all(row["valid_perplexity"] == pytest.approx(np.exp(row["valid_loss"])) for row in rows)
    assert all("dead_codebook: 3 (0.00 bits)" in row["alarms"] for row in rows)
    assert any(alarm.startswith("phones_ignored") for alarm in rows[-1]["alarms"])


def test_both_halves_speak_together(corpus):
    pair = load_pair(*(corpus.make(half)[1] for half in ("ar", "nar")), symbols=SYMBOLS)
    assert pair.codec.startswith("encodec_24khz@")
    [said] = generate(pair, [Request(np.array([5, 6], np.uint16), np.zeros((8, 4), np.uint16), seed=0, max_frames=5)])
    assert said.codes.shape[0] == 8


def test_a_training_made_again_is_the_same(corpus):
    first, folder = corpus.make("nar")
    assert corpus.make("nar")[0] == first
    folder.rename(folder.with_name("before"))
    assert corpus.make("nar")[0] == first


def test_the_launcher_gets_a_function_and_a_config_that_travel(corpus):
    asked = []

    def launch(function, config, batches, states):
        asked.append((function, config))
        function, config = pickle.loads(pickle.dumps((function, config)))
        function(config)

    stage = Checkpoints(**{**vars(STAGE), "launch": launch})
    assert corpus.make("ar", stage)[0] == corpus.make("ar")[0]
    assert len(asked) == 1
    assert stage == STAGE


def test_where_and_the_other_half_s_settings_are_not_in_a_half_s_name():
    def names(**changes):
        stage = Checkpoints(**{**vars(STAGE), **changes})
        return fingerprints(stage, {})

    assert names() == names(device="cuda", save_every=7, codec="the name of what `codes` already counts")
    assert names() == names(keep_last=5, sharding="fsdp", checkpoint_activations=True, compile=True, tensorboard=False)
    assert names()["ar"] not in [
        names(**change)["ar"] for change in ({"precision": "bf16"}, {"ema": 0.9}, {"accumulate": 2})
    ]
    assert names()["nar"] == names(ar_steps=9)["nar"]
    assert names()["ar"] != names(ar_steps=9)["ar"]
    assert all(names()[half] != names(seed=1)[half] for half in ("ar", "nar"))


def kept(*ids, language="en"):
    return [Kept(utterance_id, "train", "anna", language) for utterance_id in ids]


def test_an_example_knows_its_language_and_one_that_is_not_named_is_an_error(corpus):
    files = corpus.files("a")
    [example] = read(files, kept("a#0", language="es"), CODEBOOKS, ("en", "es"))
    assert (example.speaker, example.language) == ("anna", 1)
    with pytest.raises(ValueError, match="checkpoints.languages lacks 'fr'"):
        read(files, kept("a#0", language="fr"), CODEBOOKS, ("en", "es"))


def test_examples_are_whole_whatever_the_order_of_the_tables(corpus):
    files = corpus.files("a")
    examples = read(files, kept("a#3", "a#0"), CODEBOOKS)
    phones = {row["utterance_id"]: row["phone_ids"] for row in pq.read_table(files.phones).to_pylist()}
    codes = {row["utterance_id"]: row for row in pq.read_table(files.codes).to_pylist()}
    for utterance_id, example in zip(["a#3", "a#0"], examples, strict=True):
        assert example.phones.dtype == example.codes.dtype == np.uint16
        assert example.phones.tolist() == phones[utterance_id]
        assert example.codes.tolist() == [codes[utterance_id][name] for name in CODEBOOKS]
    assert [example.codes.tolist() for example in read(files, kept("a#3"), CODEBOOKS[:1])] == [
        examples[0].codes[:1].tolist()
    ]
    assert read(files, [], CODEBOOKS) == []


def test_an_example_without_phones_is_an_error_and_names_the_file(corpus):
    with pytest.raises(ValueError, match=r"phones/0123456789ab/a.parquet lacks phone_ids"):
        read(corpus.files("a"), kept("a#7"), CODEBOOKS)


def test_only_what_was_kept_of_train_is_trained_on(corpus):
    shards = TrainShards((corpus.files("a"), corpus.files("b")), CODEBOOKS, "dev")
    assert [len(shards[0]), len(shards[1])] == [6, 4]


def test_the_ar_reads_the_first_codebook_alone(corpus):
    for path in (corpus.root / "codes").rglob("*.parquet"):
        rows = pq.read_table(path)
        pq.write_table(rows.select(["utterance_id", "codebook_1"]), path)
    rows, _ = corpus.make("ar")
    assert rows[-1]["step"] == 3


def test_without_train_examples_it_says_so(tmp_path):
    with pytest.raises(NoExamples, match="no example is of split train"):
        Corpus(tmp_path, {"a": ["dev", "test"]}).make("ar")


def test_without_dev_a_fixed_share_of_train_is_held_out(tmp_path):
    corpus = Corpus(tmp_path, {"a": ["train"] * 40})
    rows, _ = corpus.make("ar")
    assert all("held out by hash" in row["detail"] for row in rows)
    held_out = 40 - len(TrainShards((corpus.files("a"),), CODEBOOKS, "held-out")[0])
    assert 0 < held_out < 10


def test_a_corpus_too_small_to_hold_any_out_validates_on_itself(tmp_path):
    rows, _ = Corpus(tmp_path, {"a": ["train"]}).make("nar")
    assert all("validated on train itself" in row["detail"] for row in rows)
    assert rows[-1]["valid_loss"] > 0


def test_validation_draws_from_all_shards_by_hash_and_no_more_than_it_was_told_to(tmp_path):
    splits = {"a": ["train"]} | {name: ["dev"] * 4 for name in "bcdefg"}
    corpus, asked = Corpus(tmp_path, splits), []

    def launch(function, config, batches, states):
        asked.append(config["job"])
        function(config)

    for valid_utterances in (6, 24):
        corpus.make("ar", Checkpoints(**{**vars(STAGE), "valid_utterances": valid_utterances, "launch": launch}))
    few, all_ = asked
    assert few.shards == all_.shards == (corpus.files("a"),)
    assert 2 < len(few.valid_shards) < 6  # a first shard or two would not do for voices
    assert all_.valid_shards == tuple(map(corpus.files, "bcdefg"))
    assert [len(list(valid_examples(job, CODEBOOKS))) for job in asked] == [6, 24]
    assert Kept("b#0", "dev", None, None).lot == Kept("b#0", "dev", "of another voice", "en").lot


@pytest.mark.parametrize(("frames", "accumulate", "batches"), [(60, 0, 1), (96_000, 0, 16), (96_000, 4, 4)])
def test_a_step_is_so_many_batches_whatever_the_number_of_workers(corpus, frames, accumulate, batches):
    asked = []
    stage = replace(
        STAGE,
        ar_batch_frames=frames,
        accumulate=accumulate,
        launch=lambda _function, config, most, _states: asked.append((config, most)),
    )
    with pytest.raises(FileNotFoundError):  # nothing was trained
        corpus.make("ar", stage)
    [(config, most)] = asked
    assert most == config["job"].training.accumulate == batches
    assert config["job"].training.batch_frames == frames


def test_a_schedule_is_told_in_steps_and_frames_with_who_cannot_share_a_step_out():
    stage = replace(STAGE, ar_steps=1_000, ar_warmup_steps=100, ar_batch_frames=24_000)
    words = "1,000 steps of 24,000 frames; the rate rises for 100 steps (2,400,000 frames) and falls to 0 at 24,000,000"
    assert stage.schedule("ar", 4) == stage.schedule("ar", 2) == f"{words} frames"
    assert stage.schedule("ar", 3).endswith(
        "2 of 3 workers train, for 3 cannot share out the 4 batches of a step evenly"
    )
    assert [shared_out(12, workers) for workers in (1, 2, 5, 7, 64)] == [1, 2, 4, 6, 12]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"size": "huge"}, "checkpoints.size is 'huge', and must be one of tiny, embedded, small, paper"),
        ({"ar_steps": 0}, "checkpoints.ar_steps is 0, and must be 1 or more"),
        ({"nar_batch_frames": -1}, "checkpoints.nar_batch_frames is -1, and must be 1 or more"),
        ({"ema": 1.0}, "checkpoints.ema is 1, and must be 0, or a decay below 1"),
        ({"accumulate": -1}, "checkpoints.accumulate is -1, and must be 0 or more"),
    ],
)
def test_a_setting_that_cannot_be_is_named(setting, words):
    with pytest.raises(ValueError, match=words):
        replace(STAGE, **setting)


def test_fine_tuning_starts_from_a_folder_that_its_name_knows_by_the_weights(corpus, tmp_path):
    for half in ("ar", "nar"):
        _, folder = corpus.make(half)
        shutil.copytree(folder, tmp_path / "voice" / half)
    shutil.copytree(tmp_path / "voice", tmp_path / "moved")
    tuned, moved = (replace(STAGE, start_from=str(tmp_path / name)) for name in ("voice", "moved"))
    assert fingerprints(tuned, {}) == fingerprints(moved, {})
    assert all(fingerprints(tuned, {})[half] != fingerprints(STAGE, {})[half] for half in ("ar", "nar"))
    before = corpus.make("ar")[0][-1]["valid_loss"]
    folder.parent.rename(folder.parent.with_name("000000000000"))
    assert corpus.make("ar", tuned)[0][0]["valid_loss"] == pytest.approx(before, rel=1e-6)


def test_what_cannot_be_started_from_is_told_in_a_sentence(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoints.start_from: .*nowhere/ar holds no checkpoint of a half"):
        replace(STAGE, start_from=str(tmp_path / "nowhere")).identity()
    _, folder = corpus.make("ar")
    folder.parent.rename(tmp_path / "voice")
    start_from = str(tmp_path / "voice")
    with pytest.raises(CheckpointError, match="ar is of another size than asked for"):
        corpus.make("ar", replace(STAGE, start_from=start_from, size="small"))
    with pytest.raises(CheckpointError, match="ar is of another codec than asked for"):
        corpus.make("ar", replace(STAGE, start_from=start_from, codec="embedded"))


@pytest.mark.parametrize(
    ("half", "options"), [("ar", {"ar_group": 2, "tied": False}), ("nar", {"nar_prompt": "prefix", "tied": False})]
)
def test_the_options_of_a_half_are_in_its_weights_and_in_its_name_alone(corpus, half, options):
    stage = replace(STAGE, **options)
    _, folder = corpus.make(half, stage)
    settings = load(folder).settings
    assert [settings.group, settings.prompt, settings.tied] == (
        [2, "random", False] if half == "ar" else [1, "prefix", False]
    )
    one, two = (fingerprints(replace(stage, tied=True), {}), fingerprints(STAGE, {}))
    assert [name for name in ("ar", "nar") if one[name] != two[name]] == [half]


def test_one_utterance_is_enough_for_one_worker(tmp_path):
    rows, _ = Corpus(tmp_path, {"a": ["train"]}).make("ar")
    assert rows[-1]["step"] == 3


def test_the_rows_have_the_table_s_columns(corpus):
    folder = corpus.root / "checkpoints" / "ba9876543210" / "ar"
    folder.mkdir(parents=True)
    assert STAGE(*corpus.datasets(), shard="ar", folder=folder).schema == CHECKPOINTS.schema
