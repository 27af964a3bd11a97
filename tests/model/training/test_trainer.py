"""Training: it learns, and a kill does not change it."""

import json
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.training import trainer as training_module
from model.training.batches import Curriculum, Position
from model.training.initialization import begin
from model.training.parallel import Workers
from model.training.progress import best, best_folder
from model.training.trainer import Diverged, Training, Where, train
from model.training.validation import ask
from model.valle.batch import Example
from model.valle.checkpoint import CheckpointError, load
from model.valle.settings import Settings, Size

SYMBOLS = tuple("abcdefgh")
SIZE = Size(num_layers=1, num_heads=2, width=16, ffn_width=32, dropout=0.1)
CALM = replace(SIZE, dropout=0.0)
TRAINING = Training(steps=7, learning_rate=1e-2, warmup_steps=2, batch_frames=60, validate_every=3)


def examples(count=12, seed=0, num_codebooks=8):
    """Random speech of 4 to 20 frames."""
    draw = np.random.default_rng(seed)
    return [
        Example(
            draw.integers(0, len(SYMBOLS), draw.integers(2, 6)).astype(np.uint16),
            draw.integers(0, 1024, (num_codebooks, draw.integers(4, 20))).astype(np.uint16),
        )
        for _ in range(count)
    ]


CHUNKS, VALID = [examples(6, seed) for seed in range(4)], examples(5, 99)


def run(folder, half, training=TRAINING, start=None, **where):
    where = Where(**{"tensorboard": False, **where})
    return train(Settings(half, SIZE, SYMBOLS, "a codec"), training, CHUNKS, VALID, folder, where, start)


class Killed(Exception):
    """Stands for a kill."""


def kill_at(monkeypatch, step):
    """Lets a training die in the middle of a step."""
    whole = training_module._Run._step

    def dies(self, batches):
        if self.state.step == step:
            raise Killed
        whole(self, batches)

    monkeypatch.setattr(training_module._Run, "_step", dies)


def weights(folder):
    return load(folder).state_dict()


def alike(one, two):
    """Whether two folders have the same weights, bit for bit."""
    ours, theirs = weights(one), weights(two)
    return all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.parametrize("half", ["ar", "nar"])
@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_resumed_training_equals_an_unbroken_one_bit_for_bit(tmp_path, monkeypatch, half, step):
    unbroken = run(tmp_path / "unbroken", half)
    with monkeypatch.context() as patched:
        kill_at(patched, step)
        with pytest.raises(Killed):
            run(tmp_path / "broken", half, save_every=2)
    torch.manual_seed(12345)
    assert run(tmp_path / "broken", half, save_every=2) == unbroken
    assert alike(tmp_path / "unbroken", tmp_path / "broken")
    chosen = best(unbroken).step
    if chosen != TRAINING.steps:
        assert alike(best_folder(tmp_path / "unbroken", chosen), best_folder(tmp_path / "broken", chosen))


@pytest.mark.parametrize(
    "more", [{"accumulate": 2}, {"ema": 0.5}, pytest.param({"precision": "bf16"}, marks=pytest.mark.slow)]
)
def test_so_does_one_with_accumulation_average_or_bf16(tmp_path, monkeypatch, more):
    training = replace(TRAINING, **more)
    unbroken = run(tmp_path / "unbroken", "nar", training)
    with monkeypatch.context() as patched:
        kill_at(patched, 5)
        with pytest.raises(Killed):
            run(tmp_path / "broken", "nar", training, save_every=2)
    assert run(tmp_path / "broken", "nar", training) == unbroken
    assert alike(tmp_path / "unbroken", tmp_path / "broken")
    assert not alike(tmp_path / "unbroken", run_and_give(tmp_path / "plain"))


@pytest.mark.parametrize("half", ["ar", "nar"])
def test_so_does_one_with_a_curriculum_which_begins_with_what_is_short(tmp_path, monkeypatch, half):
    draw, lengths = np.random.default_rng(0), []
    spoken = [
        Example(np.zeros(3, np.uint16), draw.integers(0, 1024, (8, n)).astype(np.uint16), f"speaker {n % 2}")
        for n in (40, 50, 60, 70, 200, 300, 400, 500)
    ]
    training = replace(TRAINING, batch_frames=100, curriculum=Curriculum(0.9, 0.5))

    def watched(model, batch, *rest, **more):
        lengths.append(batch.codes.shape[2])
        return ask(model, batch, *rest, **more)

    def trained(folder):
        settings = Settings(half, SIZE, SYMBOLS, "a codec")
        return train(settings, training, [spoken], VALID, folder, Where(tensorboard=False, save_every=2))

    with monkeypatch.context() as patched:
        patched.setattr(training_module, "ask", watched)
        unbroken = trained(tmp_path / "unbroken")
    assert lengths[0] <= 112
    assert max(lengths) > 112
    with monkeypatch.context() as patched:
        kill_at(patched, 5)
        with pytest.raises(Killed):
            trained(tmp_path / "broken")
    assert trained(tmp_path / "broken") == unbroken
    assert alike(tmp_path / "unbroken", tmp_path / "broken")


def test_each_language_has_an_embedding_that_learns(tmp_path):
    settings = Settings("ar", SIZE, SYMBOLS, "a codec", languages=("en", "es"))
    spoken = [[one._replace(language=i % 2) for i, one in enumerate(chunk)] for chunk in CHUNKS]
    where = Where(tensorboard=False)
    train(settings, TRAINING, spoken, VALID, tmp_path / "two", where)
    train(settings, TRAINING, CHUNKS, VALID, tmp_path / "one", where)
    two, one = (weights(tmp_path / name)["language_embedding.weight"] for name in ("two", "one"))
    assert not two[1].equal(one[1])


def run_and_give(folder):
    """The folder of a plain training of the NAR."""
    run(folder, "nar")
    return folder


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    first = run(tmp_path, "ar")
    kill_at(monkeypatch, 7)
    assert run(tmp_path, "ar") == first


def test_the_seed_decides_and_the_caller_s_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = run(tmp_path / "a", "nar")
    assert torch.rand(1).equal(expected)
    assert run(tmp_path / "b", "nar") == first
    assert run(tmp_path / "c", "nar", replace(TRAINING, seed=1)) != first


def test_progress_is_noted_before_the_first_step_and_after_the_last(tmp_path):
    records = run(tmp_path, "ar")
    assert [record.step for record in records] == [0, 3, 6, 7]
    assert records[0].train_loss is None
    assert records[0].tokens_seen == 0
    assert all(record.train_loss > 0 for record in records[1:])
    assert all(0 <= record.valid_top10 <= 1 and record.valid_loss > 0 for record in records)
    assert records[-1].tokens_seen > records[1].tokens_seen > 0


def test_saving_more_often_changes_nothing(tmp_path):
    assert run(tmp_path / "a", "ar", save_every=1) == run(tmp_path / "b", "ar", save_every=100)


def test_a_training_that_diverges_says_so_and_leaves_no_checkpoint(tmp_path):
    with pytest.raises(Diverged, match=r"the (loss|gradient) became (nan|inf) at step \d: lower the learning rate"):
        run(tmp_path, "ar", replace(TRAINING, learning_rate=1e30))
    assert not (tmp_path / "weights.safetensors").exists()
    last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
    assert last["note"].startswith("nan_loss: the ")


def test_without_anything_to_validate_on_the_losses_are_null(tmp_path):
    where = Where(tensorboard=False)
    records = train(Settings("ar", SIZE, SYMBOLS, ""), replace(TRAINING, steps=1), CHUNKS, [], tmp_path, where)
    assert [(record.valid_loss, record.valid_top10) for record in records] == [(None, None)] * 2


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    training = Training(steps=100, learning_rate=1.0, warmup_steps=10)
    rates = [training.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0.0
    assert rates == [*sorted(rates[:10]), *sorted(rates[10:], reverse=True)]


def test_two_batches_of_a_step_are_one_with_twice_the_frames(tmp_path):
    settings, where = Settings("ar", CALM, SYMBOLS, ""), Where(tensorboard=False)
    pair = [[Example(np.full(2, n, np.uint16), np.arange(n, n + 20, dtype=np.uint16)[None]) for n in (3, 4)]]
    one = replace(TRAINING, batch_frames=40)
    two = replace(TRAINING, batch_frames=40, accumulate=2)
    large, small = (train(settings, how, pair, VALID, tmp_path / str(n), where) for n, how in enumerate((one, two)))
    assert [record.tokens_seen for record in large] == [record.tokens_seen for record in small]
    assert [record.valid_loss for record in large] == pytest.approx([record.valid_loss for record in small], rel=1e-5)


def test_the_average_moves_with_the_weights_and_is_what_speaks(tmp_path):
    seen, whole = [], training_module.Average.follow

    class Watched(training_module.Average):
        def follow(self):
            whole(self)
            seen.append([weight.clone() for weight in self._weights])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_module, "Average", Watched)
        torch.manual_seed(TRAINING.seed)
        start = [p.detach().clone() for p in training_module.build(Settings("ar", SIZE, SYMBOLS, "")).parameters()]
        run(tmp_path, "ar", replace(TRAINING, ema=0.75))
    expected = start
    for step in seen:
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, step, strict=True)]
    for ours, theirs in zip(expected, load(tmp_path).parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_best_weights_are_kept_beside_the_last(tmp_path):
    wild = replace(TRAINING, learning_rate=0.3, warmup_steps=0, validate_every=1)
    records = run(tmp_path, "ar", wild)
    chosen = best(records)
    assert chosen.valid_loss == min(record.valid_loss for record in records) < records[-1].valid_loss
    assert [path.name for path in tmp_path.glob("best-*")] == [best_folder(tmp_path, chosen.step).name]
    assert not alike(tmp_path, best_folder(tmp_path, chosen.step))


def test_the_last_states_are_kept_and_a_damaged_one_is_passed_over(tmp_path, monkeypatch, caplog):
    unbroken = run(tmp_path / "unbroken", "nar")
    with monkeypatch.context() as patched:
        kill_at(patched, 6)
        with pytest.raises(Killed):
            run(tmp_path / "broken", "nar", save_every=2, keep_last=2)
    states = sorted((tmp_path / "broken" / "states").iterdir())
    assert [path.name for path in states] == ["000000004.pt", "000000006.pt"]
    states[-1].write_bytes(states[-1].read_bytes()[:-100])
    (tmp_path / "broken" / "states" / ".000000008.pt.unfinished").write_bytes(b"half")
    assert run(tmp_path / "broken", "nar", save_every=2) == unbroken
    assert "000000006.pt is damaged and passed over" in caplog.text
    assert alike(tmp_path / "unbroken", tmp_path / "broken")


def test_steps_go_on_while_a_state_is_written(tmp_path, monkeypatch):
    went_on, step, save = threading.Event(), training_module._Run._step, torch.save

    def steps(self, batches):
        step(self, batches)
        if self.state.step == 3:
            went_on.set()

    def saves(*words):
        assert went_on.wait(60)
        save(*words)

    monkeypatch.setattr(training_module._Run, "_step", steps)
    monkeypatch.setattr(torch, "save", saves)
    run(tmp_path, "ar", save_every=2)
    assert [path.name for path in sorted((tmp_path / "states").iterdir())] == ["000000006.pt", "000000007.pt"]


def test_a_state_that_cannot_be_written_ends_the_training_and_what_the_last_one_needs_stays(tmp_path, monkeypatch):
    wild, save = replace(TRAINING, learning_rate=0.3, warmup_steps=0, validate_every=1), torch.save

    def saves(saved, file):
        if saved["state"]["step"] == 4:
            raise OSError("the disk is full")
        save(saved, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", saves)
        with pytest.raises(OSError, match="the disk is full"):
            run(tmp_path / "broken", "ar", wild, save_every=2)
    assert [path.name for path in (tmp_path / "broken" / "states").glob("*.pt")] == ["000000002.pt"]
    kept = torch.load(tmp_path / "broken" / "states" / "000000002.pt")["state"]["progress"]
    chosen = min(kept, key=lambda record: record["valid_loss"])["step"]
    assert best_folder(tmp_path / "broken", chosen).exists()
    assert run(tmp_path / "broken", "ar", wild, save_every=2) == run(tmp_path / "unbroken", "ar", wild)


def test_a_training_that_goes_on_says_where_and_what_it_lost(tmp_path, monkeypatch, caplog):
    longer = replace(TRAINING, steps=26)
    with monkeypatch.context() as patched:
        kill_at(patched, 23)
        with pytest.raises(Killed):
            run(tmp_path, "ar", longer, save_every=15)
    torn = tmp_path / "progress.jsonl"
    torn.write_text(torn.read_text() + '{"step": 2')
    run(tmp_path, "ar", longer, save_every=15)
    assert "ar resumed at step 15, 6 steps lost" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["note"] for line in lines if line["note"]] == ["resumed at step 15, 6 steps lost"]
    assert {line["workers"] for line in lines if not line["note"]} == {1}
    steps = [line["step"] for line in lines if not line["note"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 26


def test_workers_that_find_different_states_do_not_train_together(tmp_path, monkeypatch):
    monkeypatch.setattr(Workers, "gather", lambda _, item: [item, [Position(1)]])
    with pytest.raises(OSError, match="workers went on from different states"):
        run(tmp_path, "ar", TRAINING)


def test_a_training_killed_before_its_first_state_says_what_that_cost(tmp_path, monkeypatch):
    longer = replace(TRAINING, steps=14)
    with monkeypatch.context() as patched:
        kill_at(patched, 12)
        with pytest.raises(Killed):
            run(tmp_path, "ar", longer)
    assert run(tmp_path, "ar", longer)[-1].step == 14
    assert '"note": "resumed at step 0, 12 steps lost"' in (tmp_path / "progress.jsonl").read_text()


def test_progress_is_a_line_now_and_then_with_pace_and_time_left(tmp_path):
    run(tmp_path, "nar", replace(TRAINING, steps=20, validate_every=20))
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [(line["step"], line["steps"]) for line in lines] == [(10, 20), (20, 20)]
    assert all(line["train_loss"] > 0 and line["tokens_per_second"] > 0 and line["mfu"] > 0 for line in lines)
    assert lines[0]["seconds_left"] > lines[1]["seconds_left"] == 0.0
    assert lines[0]["learning_rate"] == TRAINING.__class__.rate(replace(TRAINING, steps=20), 9)


def test_tensorboard_has_the_losses(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    records = run(tmp_path, "nar", tensorboard=True)
    found = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in found.Scalars("valid_loss")]
    assert losses == [(record.step, pytest.approx(record.valid_loss)) for record in records]
    assert {"train_loss", "valid_top10_by_codebook/2", "learning_rate", "mfu"} <= set(found.Tags()["scalars"])


def test_without_tensorboard_it_trains_and_says_so_in_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    caplog.set_level("INFO")
    run(tmp_path, "ar", replace(TRAINING, steps=1), tensorboard=True)
    assert "tensorboard is not installed" in caplog.text
    assert not (tmp_path / "tensorboard").exists()


def test_fine_tuning_begins_with_the_weights_of_another_training(tmp_path):
    before = run(tmp_path / "before", "ar")
    after = run(tmp_path / "after", "ar", replace(TRAINING, seed=1), start=tmp_path / "before")
    assert after[0].valid_loss == pytest.approx(before[-1].valid_loss, rel=1e-6)
    with pytest.raises(CheckpointError, match="before is of another half than asked for"):
        run(tmp_path / "other", "nar", start=tmp_path / "before")


def test_fine_tuning_may_add_languages_and_lose_none(tmp_path):
    run(tmp_path / "one", "ar")
    where = Where(tensorboard=False)
    english, both = (Settings("ar", SIZE, SYMBOLS, "a codec", languages=these) for these in (("en",), ("es", "en")))
    train(english, TRAINING, CHUNKS, VALID, tmp_path / "en", where, tmp_path / "one")
    begun = begin(both, tmp_path / "en", None).state_dict()
    before = load(tmp_path / "en").state_dict()
    assert begun["language_embedding.weight"].equal(before["language_embedding.weight"].expand(2, -1))
    assert all(begun[name].equal(before[name]) for name in before if not name.startswith("language"))
    for less in ((), ("es",)):
        with pytest.raises(CheckpointError, match="en is of another languages than asked for"):
            begin(replace(both, languages=less), tmp_path / "en", None)


def test_where_it_runs_changes_nothing(tmp_path):
    plain = run(tmp_path / "plain", "nar")
    sparing = run(tmp_path / "sparing", "nar", checkpoint_activations=True)
    for ours, theirs in zip(plain, sparing, strict=True):
        assert ours.valid_loss == pytest.approx(theirs.valid_loss, rel=1e-5)


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_codes_that_sound_alike_may_begin_alike(tmp_path, name):
    """Embeddings that begin as the codec's entries are as near as those are, and of the usual size, and one point of
    all embeddings' space is likelier the nearer it is to an entry."""
    entries = torch.randn(8, 1024, 12, generator=torch.Generator().manual_seed(3))
    how = Training(steps=1, learning_rate=0.0, validate_every=1, batch_frames=100)
    settings = Settings(name, SIZE, SYMBOLS, "a codec")
    train(settings, how, [examples()], [], tmp_path, Where(tensorboard=False), codebooks=entries)
    model = load(tmp_path)
    embedding = (model.code_embedding.weight if name == "ar" else model.code_embeddings[0])[:1024]
    near, nearest = torch.cdist(entries[:1], entries[:1])[0], torch.cdist(embedding, embedding)
    assert torch.corrcoef(torch.stack([near.flatten(), nearest.flatten()]))[0, 1] > 0.97
    assert float(embedding.pow(2).mean()) == pytest.approx(1 / model.settings.size.width, rel=0.15)
    beside = torch.cat([embedding, torch.ones(1024, 1)], dim=1)
    for wanted in (entries[0], entries[0].pow(2).sum(1, keepdim=True)):  # what distances to codes differ by
        missed = beside @ torch.linalg.lstsq(beside.double(), wanted.double()).solution.float() - wanted
        assert missed.abs().max() < 1e-2
