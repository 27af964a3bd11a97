"""Published lists: lines as they are published, and a sentence for each that cannot be used."""

from pathlib import Path

import pytest

from tasks.protocols.published_list import Entry, digest, read
from warehouse.errors import Mistake


def a_list(folder: Path, *lines: str) -> Path:
    """A list with its audio, but for what is called `gone`."""
    (folder / "wavs").mkdir(exist_ok=True)
    for name in ("one", "two", "truth"):
        (folder / "wavs" / f"{name}.wav").write_bytes(name.encode())
    (folder / "meta.lst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "meta.lst"


def test_a_line_has_four_fields_or_the_true_speech_as_a_fifth(tmp_path: Path) -> None:
    path = a_list(tmp_path, "a|What she said.|wavs/one.wav|Say this.", "", "b|Well | wavs/two.wav|That.|wavs/truth.wav")
    assert read(path) == (
        Entry("a", "What she said.", "wavs/one.wav", "Say this."),
        Entry("b", "Well", "wavs/two.wav", "That.", "wavs/truth.wav"),
    )


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a|b|wavs/one.wav"], "line 1 of .* has 3 fields; a line of a list is utt"),
        (["a|b|wavs/one.wav|c|wavs/two.wav|d"], "has 6 fields"),
        (["a|b|wavs/one.wav|c", "b|x|wavs/two.wav| "], "line 2 of .* has no text"),
        (["a||wavs/one.wav|c"], "has no prompt_text"),
        (["a|b|wavs/one.wav|c", "a|b|wavs/two.wav|c"], "line 2 of .* has 'a' again"),
        (["../a|b|wavs/one.wav|c"], "cannot name a file"),
        (["a|b|wavs/gone.wav|c"], "names wavs/gone.wav, which is not there$"),
        (["a|b|wavs/gone.wav|c|gone2.wav"], "names wavs/gone.wav, which is not there, nor are 1 others"),
        ([""], "has no line in it"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=says):
        read(a_list(tmp_path, *lines))


def test_a_list_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="there is no file .*meta.lst"):
        read(tmp_path / "meta.lst")


def test_the_digest_is_of_what_the_list_says_and_not_of_where_it_lies(tmp_path: Path) -> None:
    lines = ["a|b|wavs/one.wav|c", "b|d|wavs/two.wav|e"]
    here, there, other = (tmp_path / name for name in ("here", "there", "other"))
    for folder in (here, there, other):
        folder.mkdir()
    assert digest(a_list(here, *lines)) == digest(a_list(there, *lines[::-1]))
    assert digest(a_list(here, *lines)) != digest(a_list(other, lines[0], "b|d|wavs/two.wav|f"))
    before = digest(a_list(here, *lines))
    (here / "wavs" / "one.wav").write_bytes(b"another recording")
    assert digest(here / "meta.lst") != before
