"""Leases: one holder at a time, whoever is killed, stopped or far away."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.toy import wait_for
from tests.warehouse.fake_objects import Client, FakeStore
from warehouse import leases
from warehouse.errors import Mistake
from warehouse.leases import lease
from warehouse.objects import Objects, Unanswered

NAME = "codes/0a1b/.all.lease"


def lose(objects: Objects) -> None:
    with lease(objects, NAME, beat=0.05):
        objects.put(NAME, b"another took it")
        time.sleep(0.3)


@pytest.fixture
def objects() -> Objects:
    return Objects("fake://store", Client(FakeStore(0)))


def test_one_works_at_a_time_and_leaves_nothing_behind(objects: Objects) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with lease(objects, NAME, beat=0.05, dead=5.0):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not objects.list("codes")


def test_a_holder_that_renews_is_never_taken_for_dead(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times nearly so much goes by as makes one dead, each time once a renewal has been seen."""
    order: list[str] = []
    now, seen = [0.0], [""]
    monkeypatch.setattr("warehouse.leases.time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait() -> None:
        def pause(_: float) -> None:
            seen.append(etag())
            time.sleep(0.005)

        with lease(objects, NAME, beat=0.05, dead=1.0, pause=pause):
            order.append("other")

    def etag() -> str:
        return objects.get_tagged(NAME)[1]

    with lease(objects, NAME, beat=0.05, dead=1.0):
        thread = threading.Thread(target=wait)
        thread.start()
        for _ in range(10):
            before, polls = etag(), len(seen)
            wait_for(lambda: before not in seen[-2:] and len(seen) > polls + 2, "a renewal that the other has seen")  # noqa: B023
            now[0] += 0.9
        order.append("one")
    thread.join()
    assert order == ["one", "other"]


def test_of_another_machine_a_silent_holder_is_waited_for_and_told_so(objects: Objects) -> None:
    objects.put(NAME, b"somebody another-boot/1/2/3")
    begun = time.monotonic()
    with lease(objects, NAME, beat=0.05, dead=0.5):
        assert time.monotonic() - begun >= 0.5
    with pytest.raises(Unanswered, match="somebody else has gone on with it"):
        lose(objects)
    assert objects.get(NAME) == b"another took it", "what is no longer ours is not removed"


def test_of_this_machine_a_holder_that_was_killed_is_not_waited_for(objects: Objects) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    objects.put(NAME, f"it {leases._process(process.pid)}".encode())
    taken = threading.Event()

    def take() -> None:
        with lease(objects, NAME, beat=0.05, dead=60.0):
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not taken.wait(0.5), "it lives"
    process.kill()
    process.wait()
    assert taken.wait(60)
    thread.join()


@pytest.mark.parametrize("said", ["", "one", "one two", "one a/b/c/d", "one a/b/1/2/3"])
def test_what_says_nothing_of_a_process_is_of_another_machine(said: str, tmp_path: Path) -> None:
    assert not leases._is_dead(said)


def test_a_renewal_that_was_heard_and_not_answered_loses_nothing(objects: Objects) -> None:
    with lease(objects, NAME, beat=0.05):
        said, _ = objects.get_tagged(NAME)
        objects.put(NAME, said.split(b" 1")[0] + b" 99")  # the answer to a renewal of ours never came
        time.sleep(0.3)
    assert not objects.list("codes")


def test_credentials_that_fail_for_a_moment_lose_nothing(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = objects._backend.put, [Mistake("access is denied"), Mistake("access is denied")]

    def put(name: str, data: bytes | Path, condition: str) -> str:
        if refusals and data.count(b" ") > 1:  # type: ignore[union-attr]
            raise refusals.pop()
        return real(name, data, condition)

    with lease(objects, NAME, beat=0.05):
        monkeypatch.setattr(objects._backend, "put", put)
        wait_for(lambda: not refusals, "renewals")
    assert not objects.list("codes")
