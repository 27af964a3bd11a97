"""Long texts: cut where a reader would pause, nothing lost, joined without a click."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decoding import Request
from model.long_text import MAX_PHONES, Piece, cut, join, split

SYMBOLS = ("<pad>", " ", *",.?!;:abcdefgh")


def texts(pieces):
    return ["".join(piece.phones) for piece in pieces]


def test_a_short_text_is_one_piece():
    assert cut("ab cd.") == [Piece(tuple("ab cd."), 0.0)]
    assert cut("") == cut("  ") == []


def test_a_text_is_cut_behind_its_sentences():
    pieces = cut("ab cd. ef gh! ab, cd? ef", most=14)
    assert texts(pieces) == ["ab cd. ef gh!", "ab, cd? ef"]
    assert [piece.pause for piece in pieces] == [0.35, 0.0]


def test_a_sentence_too_long_is_cut_behind_its_clauses_then_between_words_then_anywhere():
    pieces = cut("ab cd, ef gh ab cd abcdefghabcdefgh. ab", most=9)
    assert texts(pieces) == ["ab cd,", "ef gh ab", "cd", "abcdefgha", "bcdefgh.", "ab"]
    assert [piece.pause for piece in pieces] == [0.15, 0.0, 0.0, 0.0, 0.35, 0.0]


@given(st.text(alphabet="ab,. ", max_size=80), st.integers(1, 20))
def test_nothing_is_lost_and_no_piece_is_too_long(text, most):
    pieces = cut(text, most)
    assert "".join(texts(pieces)).replace(" ", "") == text.replace(" ", "")
    assert all(0 < len(piece.phones) <= most for piece in pieces)


def test_a_piece_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cannot have 0 phones"):
        cut("ab", 0)


def test_every_piece_has_the_same_prompt_and_a_seed_of_its_own():
    ids = {symbol: place for place, symbol in enumerate(SYMBOLS)}
    text = "ab cd ef. " * (2 * MAX_PHONES // 10)
    phones = np.array([ids[symbol] for symbol in "gh " + text], np.uint16)
    request = Request(phones, np.zeros((8, 5), np.uint16), seed=3)
    requests, pauses = split(request, 3, SYMBOLS)
    assert len(requests) == len(pauses) == 3
    assert requests[0].seed == 3
    assert len({piece.seed for piece in requests}) == 3
    for piece in requests:
        assert len(piece.phones) <= MAX_PHONES
        assert piece.phones[:3].tolist() == phones[:3].tolist()
        assert piece.prompt_codes is request.prompt_codes


def test_waveforms_are_joined_with_their_pauses_and_without_a_click():
    loud = np.ones(1000, np.float32)
    joined = join([loud, loud], [0.01, 0.0], 24_000)
    assert len(joined) == 2240
    assert not joined[1000:1240].any()
    assert np.abs(np.diff(joined)).max() < 0.01
    assert joined[500] == 1.0
    assert loud.all()
    assert len(join([], [], 24_000)) == 0
