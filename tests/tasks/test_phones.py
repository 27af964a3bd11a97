"""Text into phones: one row for one transcript, and nothing lost on the way."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.dataset import dataset

from tasks.phones import Phones, _row
from tasks.text import symbols
from tasks.text.phonemization import Unspeakable, phonemize
from tasks.text.symbols import BOUNDARY, PAD, PUNCTUATION, SYMBOL_IDS, SYMBOLS
from warehouse.errors import Mistake
from warehouse.faults import Faults
from warehouse.tables import PHONES, TRANSCRIPTS, UTTERANCES


def phones_of(*texts: str | None, dropped: str | None = None) -> list[dict[str, object]]:
    """What the stage makes of transcripts with these texts, all of them kept or dropped for one reason."""
    rows = [{"utterance_id": f"u{i}", "text": text, "dropped": dropped} for i, text in enumerate(texts)]
    transcripts = dataset(pa.Table.from_pylist(rows, schema=TRANSCRIPTS.schema))
    table = Phones()(transcripts, dataset(UTTERANCES.schema.empty_table()))
    assert table.schema.equals(PHONES.schema)
    return table.to_pylist()


def test_a_text_becomes_stress_phones_boundaries_and_punctuation() -> None:
    spoken = phonemize("Hello, bright church!")
    assert " ".join(spoken.phones) == "h ə l ˈ oʊ ,   b ɹ ˈ aɪ t   tʃ ˈ ɜː tʃ !"
    assert [SYMBOLS[place] for place in spoken.phone_ids] == list(spoken.phones)


def test_a_price_stays_one_text() -> None:
    spoken = phonemize("It cost $3.50. Yes.")
    assert spoken.text_spoken == "It cost three dollars and fifty cents. Yes."
    assert [phone for phone in spoken.phones if phone in PUNCTUATION] == [".", "."]


def test_text_is_the_same_whoever_stands_beside_it() -> None:
    texts = ["hello", "", "It cost $3.50.", "...", "the world"]
    together = phones_of(*texts)
    assert [row["phones"] for row in together] == [phones_of(text)[0]["phones"] for text in texts]
    assert [row["utterance_id"] for row in together] == ["u0", "u1", "u2", "u3", "u4"]
    assert [row["dropped"] for row in together] == [None, "not_speakable", None, "not_speakable", None]


def test_a_transcript_without_text_is_not_speakable() -> None:
    assert phones_of(None)[0]["dropped"] == "not_speakable"


def test_dropped_transcripts_are_skipped() -> None:
    assert phones_of("hello", dropped="not_english") == []


def test_a_transcript_in_capitals_is_not_spelled() -> None:
    assert phonemize("IT WAS THE END OF US").phones == phonemize("it was the end of us").phones


@pytest.mark.parametrize(("text", "strangers"), [("hi 你好", "你 好"), ("well 😀 😀", "😀"), ("Да, yes", "Д а")])
def test_what_has_no_symbol_is_named_and_not_left_out(text: str, strangers: str) -> None:
    (row,) = phones_of(text)
    assert (row["dropped"], row["detail"]) == ("unknown_symbol", strangers)
    assert row["phones"] is None


def test_another_language_is_read_by_its_own_rules() -> None:
    assert phonemize("der Bach", "de").phones == ("d", "ɛ", "ɾ", BOUNDARY, "b", "ˈ", "a", "x")


def test_a_language_that_espeak_does_not_know_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="klingon"):
        phonemize("hello", "klingon")


def test_a_run_in_a_language_that_espeak_does_not_know_is_a_mistake_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Mistake, match=r"phones\.language: .*klingon"):
        Phones(language="klingon").identity()
    assert Phones(language="de").identity() == Phones().identity()
    monkeypatch.setattr("tasks.phones.backend", None)
    assert Phones().identity(), "English is planned without loading espeak-ng"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["It", "cost", "$3.50.", ",", "(no)", "—", "...", '"', "IV", "'", "-"]), max_size=8))
def test_punctuation_is_kept_and_words_are_set_apart_once(scraps: list[str]) -> None:
    text = " ".join(scraps)
    if not any(map(str.isalnum, text)):
        with pytest.raises(Unspeakable, match="nothing to say"):
            phonemize(text)
        return
    spoken = phonemize(text)
    marks = [mark for mark in spoken.text_spoken if mark in PUNCTUATION]
    assert [phone for phone in spoken.phones if phone in PUNCTUATION] == marks
    assert BOUNDARY * 2 not in "".join(spoken.phones)
    assert BOUNDARY not in (spoken.phones[0], spoken.phones[-1])


def test_every_symbol_stands_once_and_padding_first() -> None:
    assert len(set(SYMBOLS)) == len(SYMBOLS)
    assert SYMBOL_IDS[PAD] == 0


def test_the_symbol_table_is_the_one_that_weights_were_trained_with() -> None:
    assert symbols.digest() == "62bf4eb3"


def test_the_symbol_table_and_the_engine_are_part_of_the_identity() -> None:
    assert Phones().identity()["symbols"] == symbols.digest()
    assert str(Phones().identity()["espeak"]).startswith("espeakng-loader ")


def test_a_text_that_a_library_cannot_stand_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwhelmed(text: str) -> str:
        if "12th" in text:
            raise OverflowError("that number is too large")
        return text

    monkeypatch.setattr("tasks.text.phonemization.verbalize", overwhelmed)
    rows = [_row(text, "en-us", Faults("not_speakable")) for text in ("One.", "The 12th time.", "Two.")]
    assert [row.get("dropped") for row in rows] == [None, "not_speakable", None]
    assert rows[1]["detail"] == "OverflowError: that number is too large"


def test_what_a_library_makes_of_most_texts_is_no_fault_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise AttributeError("the library has changed")

    monkeypatch.setattr("tasks.text.phonemization.verbalize", broken)
    with pytest.raises(AttributeError, match="the library has changed"):
        phones_of("One.", "Two.", "Three.")
