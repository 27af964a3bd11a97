"""Training with many workers: what they learn is what one learns, whatever their number, also when it changes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from model.training import trainer as training_module
from model.training.trainer import Where, train
from model.valle.batch import Example
from model.valle.settings import Settings
from tests.model.training.test_trainer import CALM, CHUNKS, SIZE, SYMBOLS, TRAINING, VALID, Killed, kill_at, weights

WORKERS = """
import json, os, sys, torch, torch._dynamo, torch.distributed.fsdp
from pathlib import Path
sys.path[:0] = [{root!r}]
from dataclasses import asdict
from model.training.parallel import Buckets
from tests.model.training.test_many_workers import train_all
Buckets.__init__.__defaults__ = (2_000,)  # a small model in many buckets
torch.set_num_threads(1)
world, folder, meeting = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def work(rank):
    torch.distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=world)
    done = train_all(folder, kills=world == 2)
    progress = {{name: [asdict(record) for record in records] for name, records in done.items()}}
    (folder / f"{{rank}}.json").write_text(json.dumps(progress))

for rank in range(world):
    if os.fork() == 0:  # all that was imported is there
        code = 1
        try:
            work(rank)
            code = 0
        finally:
            os._exit(code)  # the threads of gloo now and then hang a process that ends in order
sys.exit(any(os.wait()[1] for _ in range(world)))
"""
FOUR = replace(TRAINING, steps=4, batch_frames=80, accumulate=4)  # batches of a step, for 1, 2 or 4 workers
WHERE = Where(tensorboard=False, save_every=1)
NAR_SETTINGS = Settings("nar", SIZE, SYMBOLS, "")


def train_all(folder, kills=True):
    """The progress of an AR on four examples, of a NAR on many, of one like it that was killed, of one with an average
    and of FSDP; and `left` is killed and not taken up. Or of those that nobody kills."""
    few = [[Example(np.full(2, n, np.uint16), np.arange(n, n + 20, dtype=np.uint16)[None]) for n in (3, 4, 5, 6)]]
    ar = train(Settings("ar", CALM, SYMBOLS, "", monotonic=True), FOUR, few, VALID, folder / "ar", WHERE)
    unbroken = train(NAR_SETTINGS, FOUR, CHUNKS, VALID, folder / "unbroken", WHERE)
    averaged = replace(FOUR, ema=0.5)
    ddp, fsdp = (
        train(NAR_SETTINGS, averaged, CHUNKS, VALID[:3], folder / sharding, replace(WHERE, sharding=sharding))
        for sharding in ("ddp", "fsdp")
    )
    progress = {"ar": ar, "unbroken": unbroken, "ddp": ddp, "fsdp": fsdp}
    if kills:
        with pytest.MonkeyPatch.context() as patched:
            kill_at(patched, 2)
            for name in ("broken", "left"):
                with pytest.raises(Killed):
                    train(NAR_SETTINGS, FOUR, CHUNKS, VALID, folder / name, WHERE)
        progress["broken"] = train(NAR_SETTINGS, FOUR, CHUNKS, VALID, folder / "broken", WHERE)
    return progress


def run_workers(folder, world):
    """What `train_all` gives in each of several workers."""
    script = WORKERS.format(root=str(Path(__file__).parents[3]))
    words = [sys.executable, "-c", script, str(world), str(folder), str(folder / "meeting")]
    with subprocess.Popen(words, start_new_session=True) as workers:
        try:
            assert workers.wait(200) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(workers.pid, signal.SIGKILL)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the trainings of one worker say."""
    return train_all(tmp_path_factory.mktemp("one-worker"))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """The folder of the trainings of two workers, and what each of the two says of them."""
    folder = tmp_path_factory.mktemp("two-workers")
    return folder, run_workers(folder, 2)


def assert_alike(theirs, ours):
    """Progress that differs by rounding alone; what is left to it are millionths of these losses."""
    for one, other in zip(ours, theirs, strict=True):
        assert other["tokens_seen"] == one.tokens_seen
        for figure in ("train_loss", "valid_loss", "valid_loss_shuffled"):
            assert other[figure] == (getattr(one, figure) and pytest.approx(getattr(one, figure), rel=1e-4))


@pytest.mark.slow
def test_two_workers_learn_what_one_does_dropout_and_all_and_outlive_a_kill(alone, two_workers):
    _, (first, second) = two_workers
    assert first == second
    assert [record["step"] for record in first["unbroken"]] == [0, 3, 4]
    assert first["unbroken"] == first["broken"]
    for name in alone:
        assert_alike(first[name], alone[name])


@pytest.mark.slow
def test_four_workers_do_as_well(alone, tmp_path):
    for found in run_workers(tmp_path, 4):
        assert found.keys() == {"ar", "unbroken", "ddp", "fsdp"}
        for name in found:
            assert_alike(found[name], alone[name])


@pytest.mark.slow
def test_workers_with_a_part_of_every_weight_learn_what_workers_with_all_of_them_do(two_workers):
    folder, (found, _) = two_workers
    for ours, theirs in zip(found["ddp"], found["fsdp"], strict=True):
        assert ours["valid_loss"] == pytest.approx(theirs["valid_loss"], rel=1e-5)
    ours, theirs = weights(folder / "ddp"), weights(folder / "fsdp")
    moved = [name for name in ours if "query_key_value.bias" not in name]  # softmax is blind to a key's bias
    assert max((ours[name] - theirs[name]).abs().mean().item() for name in moved) < 1e-5


@pytest.mark.slow
def test_one_worker_goes_on_from_two_and_skips_nothing(alone, two_workers):
    folder, _ = two_workers
    records = train(NAR_SETTINGS, FOUR, CHUNKS, VALID, folder / "left", WHERE)
    assert [record.learning_rate for record in records] == [record.learning_rate for record in alone["unbroken"]]
    assert_alike([asdict(record) for record in records], alone["unbroken"])


def test_workers_that_cannot_share_a_step_out_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(training_module.Workers, "here", lambda: training_module.Workers(0, 3))
    with pytest.raises(ValueError, match="3 workers cannot share out the 4 batches of a step evenly"):
        train(NAR_SETTINGS, FOUR, CHUNKS, VALID, tmp_path, WHERE)
