"""One row's fault costs that row; what most rows fall to, or a machine, is nobody's."""

import errno

import pytest

from warehouse.errors import Mistake
from warehouse.faults import Faults, together_or_alone


def test_a_row_is_dropped_with_the_exception_in_one_line() -> None:
    faults = Faults()
    assert faults.refusal(ValueError("no\n  such length")) == {
        "dropped": "error",
        "detail": "ValueError: no such length",
    }
    assert len(faults.refusal(ValueError("word " * 1_000))["detail"]) <= 300
    faults.check(num_rows=3)


def test_the_same_exception_for_most_rows_is_raised() -> None:
    faults = Faults("not_speakable")
    for name in ("a", "b", "c"):
        assert faults.refusal(AttributeError(f"{name} has no text"))["dropped"] == "not_speakable"
    faults.check(num_rows=6)
    with pytest.raises(AttributeError, match="a has no text"):
        faults.check(num_rows=5)


def test_different_exceptions_and_very_few_rows_are_no_fault_of_the_code() -> None:
    faults = Faults()
    for error in (ValueError("a"), KeyError("b"), IndexError("c"), ValueError("d")):
        faults.refusal(error)
    faults.check(num_rows=4)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "input/output error"),
        MemoryError(),
        Mistake("no such model"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_is_no_fault_of_a_row_is_raised_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        Faults().refusal(error)


def test_of_a_batch_that_cannot_be_worked_on_each_is_tried_alone() -> None:
    asked: list[list[int]] = []

    def halves(numbers: list[int]) -> list[float]:
        asked.append(numbers)
        return [1 / number for number in numbers]

    assert together_or_alone(halves, [1, 2]) == [1.0, 0.5]
    assert len(asked) == 1
    first, second, third = together_or_alone(halves, [1, 0, 2])
    assert (first, third) == (1.0, 0.5)
    assert isinstance(second, ZeroDivisionError)


def test_a_batch_that_a_device_cannot_work_on_is_not_tried_again() -> None:
    def broken(_: list[int]) -> list[int]:
        raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        together_or_alone(broken, [1, 2])
