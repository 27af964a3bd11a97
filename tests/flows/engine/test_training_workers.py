"""What a group of training workers fails of is the first cause, not what the others made of it."""

from flows.engine.shards import LASTING_ERRORS
from flows.engine.workers import _cause
from model.training.batches import NoExamples


def test_a_lasting_error_of_any_worker_comes_before_the_lost_connections_of_the_others():
    lost, cause = RuntimeError("connection closed by peer"), NoExamples("worker 1 of 2 has no example")
    assert _cause({0: lost, 1: cause}) is cause
    assert isinstance(cause, LASTING_ERRORS)


def test_without_one_it_is_the_first_worker_s():
    first, second = RuntimeError("a"), RuntimeError("b")
    assert _cause({1: second, 0: first}) is first
    assert _cause({}) is None
