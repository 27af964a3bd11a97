"""The queue: whoever is free takes the largest of all that waits."""

import threading
import time
from functools import partial

import pytest

from flows.engine.shard_queue import FIRST, ShardQueue


def test_the_largest_is_begun_first_and_of_equals_the_one_that_came_first() -> None:
    begun: list[str] = []
    hold = threading.Event()
    with ShardQueue(1) as queue:
        queue.put([(0.0, lambda: (hold.wait(), None)[1])])
        queue.put([(size, partial(begun.append, name)) for name, size in [("small", 1.0), ("large", 9.0)]])
        queue.put([(size, partial(begun.append, name)) for name, size in [("large too", 9.0), ("again", FIRST)]])
        hold.set()
    assert begun == ["again", "large", "large too", "small"]


def test_no_more_are_in_hand_than_there_are_threads_and_none_is_idle() -> None:
    lock, in_hand, most, three = threading.Lock(), 0, 0, threading.Barrier(3)

    def work() -> None:
        nonlocal in_hand, most
        with lock:
            in_hand += 1
            most = max(most, in_hand)
        three.wait(100)
        time.sleep(0.01)  # in which a fourth would be counted
        with lock:
            in_hand -= 1

    with ShardQueue(3) as queue:
        queue.put([(1.0, work)] * 12)
    assert most == 3


def test_what_one_raises_is_heard_by_who_waits_for_it_and_stops_no_other() -> None:
    def fails() -> None:
        raise ValueError("wrong")

    with ShardQueue(1) as queue:
        first, second = queue.put([(2.0, fails), (1.0, lambda: None)])
        with pytest.raises(ValueError, match="wrong"):
            first.result()
        assert second.result() is None
