"""What benches say while they run, and their short form."""

from argparse import ArgumentParser

import pytest

from bench.progress import options, told


def test_short_stands_for_what_is_not_said() -> None:
    def asked(words: str) -> tuple[int, int]:
        parser = ArgumentParser()
        parser.add_argument("--files", type=int, default=16)
        parser.add_argument("--rounds", type=int, default=3)
        found = options(parser, words.split(), files=2, rounds=1)
        return found.files, found.rounds

    assert asked("") == (16, 3)
    assert asked("--short") == (2, 1)
    assert asked("--files 5 --short") == (5, 1)


def test_figures_are_told_as_they_are_found_and_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert told({"frames/s": 12.5}) | told({"goal": None}) == {"frames/s": 12.5, "goal": None}
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "frames/s: 12.5\ngoal: null\n")
