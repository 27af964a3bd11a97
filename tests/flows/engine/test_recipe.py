"""Recipes: in order, set by words, placed by a site."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flows.engine.recipe import Recipe, is_one_to_one
from flows.recipes import RECIPES, demo, load_recipe
from tests.toy import ToyCodes, ToyTotals, ToyUtterances, toy
from warehouse.errors import Mistake
from warehouse.stage import Resources, same_as
from warehouse.tables import CODES, EXAMPLES, UTTERANCES


@dataclass(frozen=True, kw_only=True)
class Rich:
    """A stage with a setting of every type."""

    makes, takes = EXAMPLES, (CODES,)
    needs, version, gathers = Resources(), 1, False
    number: int = 1
    share: float = 0.5
    name: str = "a"
    flag: bool = False
    limit: int | None = 3
    seeds: tuple[int, ...] = (0, 1)
    step: int = same_as("codes.step", 0)
    audio: Path = field(default=Path("audio"), compare=False)


def rich(*settings: str) -> Rich:
    stage = Recipe((ToyUtterances(), ToyCodes(), Rich())).set(settings).place({"audio": Path("/corpus")}).stages[-1]
    assert isinstance(stage, Rich)
    return stage


def test_a_recipe_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="ToyCodes takes .*utterances.*, which no stage above it makes"):
        Recipe((ToyCodes(), ToyUtterances()))


@pytest.mark.parametrize("name", ["funnel", "ledger", "artifacts", "two words"])
def test_a_table_is_not_called_as_the_warehouse_calls_its_own(name: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Clash(ToyUtterances):
        makes = replace(UTTERANCES, name=name)

    with pytest.raises(ValueError, match=f"Clash cannot call its table '{name}'"):
        Recipe((Clash(),))


def test_two_stages_do_not_make_one_table() -> None:
    with pytest.raises(ValueError, match="ToyUtterances makes utterances, which a stage above it makes already"):
        Recipe((ToyUtterances(), ToyUtterances()))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("number=7", 7),
        ("share=1", 1.0),
        ("share=1e-3", 0.001),
        ("name=7", "7"),
        ("name=x=y", "x=y"),
        ("flag=true", True),
        ("limit=none", None),
        ("limit=4", 4),
        ("seeds=[3, 4]", (3, 4)),
        ("seeds=3,4", (3, 4)),
    ],
)
def test_a_setting_is_read_as_its_field_says(setting: str, value: object) -> None:
    assert getattr(rich(f"examples.{setting}"), setting.partition("=")[0]) == value


@pytest.mark.parametrize("setting", ["number=x", "number=1.5", "share=much", "flag=perhaps", "seeds=a,b", "limit=x"])
def test_what_is_not_of_the_fields_type_is_refused(setting: str) -> None:
    with pytest.raises(Mistake, match=rf"examples\.{setting.partition('=')[0]} is "):
        rich(f"examples.{setting}")


def test_a_shared_setting_follows_the_stage_that_owns_it() -> None:
    assert rich().step == 1
    assert rich("codes.step=5").step == 5


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("step=5", "examples.step is the same as codes.step, so it is set there"),
        ("audio=/elsewhere", "examples.audio says where, so a site says it"),
    ],
)
def test_a_setting_that_would_not_count_is_refused(setting: str, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        rich(f"examples.{setting}")


def test_only_fields_that_say_where_are_placed() -> None:
    assert rich().audio == Path("/corpus")
    placed = Recipe((ToyUtterances(),)).place({"min_letters": 9, "audio": Path("/x")}).stages[0]
    assert (placed.min_letters, placed.audio) == (1, Path("/x"))  # type: ignore[attr-defined]


def test_one_to_one_is_having_the_key_of_the_first_table() -> None:
    assert is_one_to_one(ToyCodes())
    assert not is_one_to_one(ToyUtterances())
    assert not is_one_to_one(ToyTotals())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_loaded_and_asks_for_all_tables_in_order(name: str) -> None:
    recipe, module = load_recipe(name)
    assert (recipe.name, module) == (name, None)
    assert recipe.tables == [
        "recordings",
        "utterances",
        "transcripts",
        "phones",
        "codes",
        "examples",
        "checkpoints",
        "samples",
        "scores",
    ]


def test_a_recipe_file_brings_its_own_classes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from tests.toy import toy\nmine = toy\nwrong = lambda: 3\n")
    recipe, module = load_recipe(f"{file}:mine")
    assert recipe.tables == toy().tables
    assert module is not None
    with pytest.raises(Mistake, match="gives a int, not a"):
        load_recipe(f"{file}:wrong")
    with pytest.raises(Mistake, match="has no function 'other'"):
        load_recipe(f"{file}:other")
    file.write_text("import nothing_of_the_kind\n")
    with pytest.raises(Mistake, match="cannot be run: ModuleNotFoundError"):
        load_recipe(f"{file}:mine")


def test_placing_changes_no_fingerprint() -> None:
    recipe = toy()
    assert recipe.fingerprints() == recipe.place({"audio": Path("/x"), "device": "cuda"}).fingerprints()
    assert recipe.fingerprints() != replace(recipe, stages=recipe.set(["codes.step=2"]).stages).fingerprints()


def test_a_training_that_nobody_asks_for_is_not_made() -> None:
    shipped = demo().set(["samples.checkpoint=embedded"])

    assert "checkpoints" not in shipped.until("scores")
    assert shipped.until("scores") == [table for table in shipped.tables if table != "checkpoints"]
    assert shipped.until("checkpoints")[-1] == "checkpoints"
    assert shipped.until(None) == shipped.tables
    assert "checkpoints" in demo().until("scores")
    assert demo().until("codes") == ["recordings", "utterances", "transcripts", "phones", "codes"]
