"""Consent to the use of a voice: kept in the ledger, told by the catalogue."""

from pathlib import Path

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import ConsentRecord
from warehouse.query import select


def said(root: Path, name: str, voice: str, second: int, withdrawn: bool = False) -> None:
    record = ConsentRecord(
        record_id=name,
        voice=voice,
        prompt=f"{name}.wav",
        said_by="ann",
        host="here",
        written_at=f"2026-01-01T00:00:{second:02d}+00:00",
        withdrawn=withdrawn,
    )
    ledger.emit(root, record)


def test_it_is_known_before_and_after_a_catalogue_takes_it_up(tmp_path: Path) -> None:
    assert ledger.consent(tmp_path, "audio:1") is None
    said(tmp_path, "one", "audio:1", 1)
    for _ in range(2):
        found = ledger.consent(tmp_path, "audio:1")
        assert found is not None
        assert found.prompt == "one.wav"
        assert ledger.consent(tmp_path, "audio:2") is None
        Catalogue(tmp_path).take_up()


def test_the_first_word_counts_whenever_it_is_taken_up(tmp_path: Path) -> None:
    for name, second in (("second", 2), ("first", 1), ("third", 3)):
        said(tmp_path, name, "audio:1", second)
        Catalogue(tmp_path).take_up()
    found = ledger.consent(tmp_path, "audio:1")
    assert found is not None
    assert found.prompt == "first.wav"
    query = "select voice, prompt, said_by, host, said_at::varchar as said_at from consents"
    row = {"voice": "audio:1", "prompt": "first.wav", "said_by": "ann", "host": "here"}
    assert select(tmp_path, query).to_pylist() == [row | {"said_at": "2026-01-01 00:00:01"}]


def test_it_outlives_both_databases(tmp_path: Path) -> None:
    for i in range(3):
        said(tmp_path, f"v{i}", f"audio:{i}", i)
    Catalogue(tmp_path).take_up()
    before = select(tmp_path, "from consents order by voice").to_pylist()
    for path in tmp_path.glob("*catalogue.duckdb*"):
        path.unlink()
    Catalogue(tmp_path).rebuild()
    assert select(tmp_path, "from consents order by voice").to_pylist() == before
    assert len(before) == 3


def test_the_latest_word_counts_in_whatever_order_they_are_taken_up(tmp_path: Path) -> None:
    for name, second in (("withdrawn", 2), ("first", 1)):
        said(tmp_path, name, "audio:1", second, withdrawn=name == "withdrawn")
        Catalogue(tmp_path).take_up()
    assert ledger.consent(tmp_path, "audio:1") is None
    assert ledger.withdrawal(tmp_path, "audio:1") is not None
    query = "select prompt, withdrawn_at > said_last_at as gone from consents"
    assert select(tmp_path, query).to_pylist() == [{"prompt": "first.wav", "gone": True}]
    said(tmp_path, "again", "audio:1", 3)
    found = ledger.consent(tmp_path, "audio:1")
    assert found is not None
    assert found.prompt == "again.wav", "what was said before it was withdrawn counts no more"
    assert ledger.withdrawal(tmp_path, "audio:1") is None
    Catalogue(tmp_path).take_up()
    before = select(tmp_path, "from consents").to_pylist()
    assert [row["prompt"] for row in before] == ["first.wav"]
    Catalogue(tmp_path).rebuild()
    assert select(tmp_path, "from consents").to_pylist() == before
