"""Training: it learns, a kill does not change it, and two workers are one larger one."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import training as training_module
from model.batches import Example
from model.checkpoint import load
from model.settings import Settings, Size
from model.training import Diverged, Training, train

SYMBOLS = tuple("abcdefgh")
SIZE = Size(num_layers=1, num_heads=2, width=16, ffn_width=32, dropout=0.1)
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


def run(folder, half, training=TRAINING, **more):
    return train(Settings(half, SIZE, SYMBOLS, "a codec"), training, CHUNKS, VALID, folder, **more)


class Killed(Exception):
    """Stands for a kill."""


def kill_at(monkeypatch, step):
    """Lets a training die in the middle of a step."""
    whole = training_module._step

    def dies(*args):
        if args[3].step == step:
            raise Killed
        whole(*args)

    monkeypatch.setattr(training_module, "_step", dies)


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
    one, two = (load(tmp_path / name).state_dict() for name in ("unbroken", "broken"))
    assert all(one[name].equal(two[name]) for name in one)


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
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) at step \d: lower the learning rate"):
        run(tmp_path, "ar", replace(TRAINING, learning_rate=1e30))
    assert not (tmp_path / "weights.safetensors").exists()


def test_without_anything_to_validate_on_the_losses_are_null(tmp_path):
    records = train(Settings("ar", SIZE, SYMBOLS, ""), replace(TRAINING, steps=1), CHUNKS, [], tmp_path)
    assert [(record.valid_loss, record.valid_top10) for record in records] == [(None, None)] * 2


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    training = Training(steps=100, learning_rate=1.0, warmup_steps=10)
    rates = [training.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0.0
    assert rates == [*sorted(rates[:10]), *sorted(rates[10:], reverse=True)]


def test_an_example_s_loss_in_a_batch_is_its_loss_alone(tmp_path):
    run(tmp_path, "ar")
    model = load(tmp_path)
    alone = [training_module.validate(model, [example], 1, training_module.Workers(0, 1)) for example in VALID]
    sizes = [example.codes.shape[1] + 1 for example in VALID]
    together = training_module.validate(model, VALID, 10_000, training_module.Workers(0, 1))
    assert together[0] == pytest.approx(np.average([loss for loss, _ in alone], weights=sizes), rel=1e-5)
    assert together[1] == pytest.approx(np.average([hits for _, hits in alone], weights=sizes), rel=1e-5)


WORKER = """
import json, os, sys, torch
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from dataclasses import asdict
from test_training import train_three
torch.set_num_threads(1)
rank, folder, meeting = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
progress = [[asdict(record) for record in records] for records in train_three(folder, batch_frames=20)]
print(json.dumps(progress), flush=True)
os._exit(0)  # the threads of gloo now and then hang a process that ends in order
"""
CALM = replace(SIZE, dropout=0.0)


def train_three(folder, batch_frames):
    """The progress of an AR on two examples of 20 frames, of a NAR on many, and of one like it that was killed."""
    pair = [[Example(np.full(2, n, np.uint16), np.arange(n, n + 20, dtype=np.uint16)[None]) for n in (3, 4)]]
    few = replace(TRAINING, steps=4, batch_frames=batch_frames)
    ar = train(Settings("ar", CALM, SYMBOLS, ""), few, pair, VALID, folder / "ar")
    nar = Settings("nar", SIZE, SYMBOLS, "")
    unbroken = train(nar, few, CHUNKS, VALID, folder / "unbroken")
    with pytest.MonkeyPatch.context() as patched:
        kill_at(patched, 2)
        with pytest.raises(Killed):
            train(nar, few, CHUNKS, VALID, folder / "broken", save_every=1)
    return ar, unbroken, train(nar, few, CHUNKS, VALID, folder / "broken")


def run_two_workers(folder):
    """What `train_three` gives in each of two workers."""
    here = Path(__file__).parent
    script = WORKER.format(root=str(here.parents[1]), tests=str(here))
    command = [sys.executable, "-c", script]
    workers = [
        subprocess.Popen([*command, str(rank), str(folder), str(folder / "meeting")], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=100)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0]
    return [json.loads(output) for output in outputs]


def test_two_workers_are_one_with_a_batch_twice_as_large_and_outlive_a_kill(tmp_path):
    first, second = run_two_workers(tmp_path)
    assert first == second
    one, unbroken, broken = first
    assert [record["step"] for record in unbroken] == [0, 3, 4]
    assert unbroken == broken
    alone, *_ = train_three(tmp_path / "alone", batch_frames=40)
    for ours, theirs in zip(alone, one, strict=True):
        assert list(asdict(ours).values())[2:] == pytest.approx(list(theirs.values())[2:], rel=1e-4)
        assert ours.train_loss is None or ours.train_loss == pytest.approx(theirs["train_loss"], rel=1e-4)
