"""Words of other people's files: whatever editor wrote them, nothing is lost, nothing added and nothing changed."""

import pytest

from tasks.text.encodings import Line, lines_of, text_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_mark_at_the_beginning_is_no_word(tmp_path, encoding):
    path = tmp_path / "a.txt"
    mark = "\ufeff" if encoding.endswith("-be") else ""
    path.write_bytes(f"{mark}First line.\r\nSecond\u2028line: ü \u0a41\u0100.\r\n\r\n".encode(encoding))
    assert list(lines_of(path)) == [Line("First line."), Line("Second\u2028line: ü \u0a41\u0100."), Line(""), Line("")]
    assert text_of(path) == "First line.\nSecond\u2028line: ü \u0a41\u0100.\n\n"


def test_what_an_older_windows_wrote_is_read_line_by_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("“Café”\r\n".encode("cp1252") + "“Café”\n".encode() + "5 €".encode("cp1252"))
    assert text_of(path) == "“Café”\n“Café”\n5 €"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"caf\xe9 \x81", "caf\\xe9 \\x81"),  # 81 has no meaning in Windows-1252
        (b"\xef\xbb\xbfcaf\xe9", "caf\\xe9"),  # its mark says that it is UTF-8
        ("café".encode("utf-16-le"), "c\\x00a\\x00f\\x00\\xe9\\x00"),  # no mark says that it is UTF-16
        ("\ufeffcafé".encode("utf-16-le")[:-1], "caf\\xe9"),  # cut off in the middle of a letter
    ],
)
def test_bytes_that_are_no_text_are_refused_and_never_become_others(tmp_path, content, words):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert list(lines_of(path)) == [Line(words, is_text=False)]
    with pytest.raises(ValueError, match=r"line 1 of a\.txt is neither UTF-8 nor Windows-1252"):
        text_of(path)
