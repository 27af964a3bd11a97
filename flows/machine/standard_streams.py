"""Standard streams: closed ones become nothing, and a letter that a terminal lacks is no error."""

import atexit
import io
import os
import sys


def settle_streams() -> None:
    """Put this process's standard streams right, and those of whatever it starts.

    Where one is closed, the next file to be opened would get its number, and be written to by whoever has words to say.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def hush_leaks() -> None:
    """Close standard error to what DuckDB's bindings print of leaks as the interpreter goes down.

    They count their own constants as leaked where a daemon thread, such as Prefect's, outlives the interpreter, and
    nanobind, which they are made with, lets only C++ switch that off. Where DuckDB is not loaded, nothing is closed.
    Registered first, so it runs last: whatever anybody has to say has been said.
    """
    sys.stderr.flush()
    if "_duckdb" in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def hush_leaks_of_a_run() -> None:
    """The same where Prefect has started this process for a flow run."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec and spec.name.partition(".")[0] == "prefect":
        atexit.register(hush_leaks)
