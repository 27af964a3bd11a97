"""Standard streams that are closed, and terminals that lack letters."""

import os
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[3]
CODE = """
import sys, os
from flows.machine.standard_streams import settle_streams
settle_streams()
with open(sys.argv[1], "w") as file:
    print("lost words ə", file=sys.stderr)
    print("lost words ə")
    file.write(f"{file.fileno()} {sys.stdin.read()!r}")
"""


def test_closed_streams_become_nothing_and_no_file_of_ours(tmp_path: Path) -> None:
    code = f"{sys.executable} -c '{CODE}' {tmp_path / 'file'} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", code], cwd=HOUSE, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "3 ''"


def test_a_letter_that_a_terminal_lacks_is_written_otherwise(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "file"],
        cwd=HOUSE,
        env=os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == said.stderr == "lost words \\u0259\n"
