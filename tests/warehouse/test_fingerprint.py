"""Fingerprints: everything that determines a result, and nothing else."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.engine.recipe import Recipe
from tests.toy import ToyCodes, ToyExamples, ToyTotals, ToyUtterances
from warehouse.fingerprint import ANY, describe, fingerprints
from warehouse.stage import Resources
from warehouse.tables import CHECKPOINTS, CODES


@dataclass(frozen=True)
class Halves:
    """A stage with a setting of each shard's own."""

    makes, takes = CHECKPOINTS, (CODES,)
    needs, version, gathers = Resources(), 1, ("ar", "nar")
    size: str = "tiny"
    ar_steps: int = 10
    nar_steps: int = 10


@dataclass(frozen=True)
class Weighed:
    """A stage whose model's name stands for its weights."""

    makes, takes = CODES, ()
    needs, version, gathers = Resources(), 1, False
    model: str = "a.pt"
    weights: str = field(default="1234", compare=False)

    def identity(self) -> dict[str, object]:
        return {"model": self.weights}


def toy(**settings: object) -> dict[str, dict[str, str]]:
    codes = replace(ToyCodes(), **settings)  # type: ignore[arg-type]
    return Recipe((ToyUtterances(), codes, ToyExamples(), ToyTotals())).fingerprints()


def test_a_setting_changes_what_depends_on_it_alone() -> None:
    before, after = toy(), toy(step=2)
    assert before["utterances"] == after["utterances"]
    assert all(before[table] != after[table] for table in ("codes", "examples", "totals"))


def test_where_a_stage_works_changes_nothing() -> None:
    assert toy() == toy(pause=3.0)
    here, there = (Recipe((ToyUtterances(audio=Path(p)),)).fingerprints() for p in ("/a", "/b"))
    assert here == there


def test_a_shard_counts_its_own_settings_alone() -> None:
    upstream = {"codes": {ANY: "0"}}
    before, after = fingerprints(Halves(), upstream), fingerprints(Halves(ar_steps=20), upstream)
    assert before["ar"] != after["ar"]
    assert before["nar"] == after["nar"]
    assert "nar_steps" not in describe(Halves(), "ar")
    assert fingerprints(Halves(size="small"), upstream).keys() == {"ar", "nar"}


def test_weights_count_by_their_digest_and_not_by_their_name() -> None:
    assert describe(Weighed("a.pt", "1234")) == describe(Weighed("b.pt", "1234"))
    assert describe(Weighed("a.pt", "1234")) != describe(Weighed("a.pt", "5678"))


def test_a_fingerprint_is_twelve_hex_digits() -> None:
    [print_] = toy()["codes"].values()
    assert len(print_) == 12
    assert int(print_, 16)
