"""Words of other people's files: whatever editor wrote them, nothing is lost and nothing added."""

import pytest

from tasks.text.encodings import lines_of, text_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mark_at_the_beginning_is_no_word(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("First line.\r\nSecond\u2028line: ü.\r\n\r\n".encode(encoding))
    assert text_of(path).startswith("First line.")
    assert lines_of(path) == ["First line.", "Second\u2028line: ü."]


def test_bytes_that_are_no_text_cost_themselves(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9 au lait")
    assert text_of(path) == "caf\ufffd au lait"
