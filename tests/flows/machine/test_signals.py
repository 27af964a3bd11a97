"""Signals that end a command: each interrupts, once, and whoever does not come to an end is ended."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[3]
CODE = """
import os, signal, sys, threading, time
{first}
from flows.machine import signals
signals.GRACE = 0.5
signals.heed_signals()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(15))  # as a library does
signals.heed_again()
try:
    print("ready", flush=True)
    {waits}
except KeyboardInterrupt:
    assert signals.is_interrupted()
    {then}
"""


def _as_at_a_terminal() -> None:
    """Whoever runs the tests may ignore signals, as `nohup` does, and what ignores them passes that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def told(number: signal.Signals, then: str, first: str = "", waits: str = "time.sleep(60)") -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(then=then, first=first, waits=waits)],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_at_a_terminal,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_of_them_interrupts(number: signal.Signals) -> None:
    assert told(number, "sys.exit(7)") == (7, "")


@pytest.mark.parametrize("waits", ["time.sleep(60)", "signal.set_wakeup_fd(-1); time.sleep(60)"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_does_not_come_to_an_end_is_ended(number: signal.Signals, waits: str) -> None:
    """Also where somebody else, such as asyncio, has taken away what signals are heard by."""
    code, said = told(number, "signals._interrupt(signal.SIGTERM, None); time.sleep(60)", waits=waits)
    assert code == 130
    assert said == "interrupted; what is made is kept, and the next run goes on from there\n"


def test_a_second_ctrl_c_does_not_wait() -> None:
    assert told(signal.SIGINT, "signals._interrupt(signal.SIGINT, None)")[0] == 130


def test_under_nohup_a_hang_up_stays_unheard() -> None:
    later = "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()"
    assert told(signal.SIGHUP, "sys.exit(7)", f"signal.signal(signal.SIGHUP, signal.SIG_IGN); {later}")[0] == 7


def test_a_library_that_does_not_come_back_is_not_waited_for() -> None:
    """A handler runs between two steps of Python, and a call into a library is one step, however long."""
    stuck = "lock = ctypes.create_string_buffer(64); [ctypes.CDLL(None).pthread_mutex_lock(lock) for _ in range(2)]"
    code, said = told(signal.SIGTERM, stuck, "import ctypes", waits=stuck)
    assert code == 130
    assert said.startswith("interrupted")


def test_a_command_that_was_interrupted_does_not_wait_for_pythons_own_end() -> None:
    code = """
import atexit, signal
from flows import cli
atexit.register(print, "an end of Python's own")
cli._ended = lambda _command: signal.raise_signal(signal.SIGTERM)
print("words")
cli.main()
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (130, "words\n")
    assert said.stderr == "interrupted; what is made is kept, and the next run goes on from there\n"
