"""The recipes: what can be made, each the pipeline from top to bottom."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.engine.recipe import Recipe, closest
from tasks.checkpoints import Checkpoints
from tasks.codes import Codes
from tasks.examples import Examples
from tasks.phones import Phones
from tasks.recordings import Recordings
from tasks.samples import Samples
from tasks.scores import Scores
from tasks.transcripts import Transcripts
from tasks.utterances import Utterances
from warehouse.corpus_copy import said
from warehouse.errors import Mistake

ENCODEC = "encodec_24khz"
WHISPER = "large-v3-turbo"


def demo() -> Recipe:
    """Everything, offline, in minutes on two cores: the sample corpus, embedded models, and a VALL-E fine-tuned."""
    return Recipe(
        (
            Recordings(layout="sample"),
            Utterances(max_seconds=8.0),
            Transcripts(model="embedded"),
            Phones(),
            Codes(model="embedded"),
            Examples(),
            Checkpoints(
                size="embedded",
                start_from="embedded",
                languages=("en",),
                phone_frames=4.6,
                num_validations=2,
                ar_group=2,
                ar_chained=True,
                ar_monotonic=True,
                nar_layers=4,
                nar_stem=4,
                nar_monotonic=True,
                nar_stages="early",
                nar_choice="expected",
                accumulate=2,
                ar_steps=24,
                ar_warmup_steps=4,
                ar_learning_rate=2e-5,
                ar_own_codes=0.5,
                ar_batch_frames=3_000,
                nar_steps=12,
                nar_warmup_steps=3,
                nar_learning_rate=2e-5,
                nar_batch_frames=3_000,
            ),
            Samples(num_utterances=6, seeds=(0,), min_seconds=2.0, max_seconds=8.0, temperature=0.7, top_p=0.6),
            Scores(judge="embedded"),
        )
    )


def folder() -> Recipe:
    """Any folder of audio files, transcribed, tokenized and learnt from."""
    return Recipe(
        (
            Recordings(layout="folder"),
            Utterances(),
            Transcripts(model=WHISPER),
            Phones(),
            Codes(model=ENCODEC),
            Examples(),
            Checkpoints(size="small", precision="bf16"),
            Samples(),
            Scores(judge=WHISPER),
        )
    )


def librispeech() -> Recipe:
    """LibriSpeech by its own texts: the corpus that the paper evaluates on."""
    return Recipe(
        (
            Recordings(layout="librispeech"),
            Utterances(),
            Transcripts(model="reference"),
            Phones(),
            Codes(model=ENCODEC),
            Examples(),
            Checkpoints(size="small", precision="bf16"),
            Samples(split="all"),  # the paper's: every speaker of test-clean
            Scores(judge=WHISPER),
        )
    )


def librilight() -> Recipe:
    """LibriLight, which has no texts: Whisper hears it, and the paper's model learns from it."""
    return Recipe(
        (
            Recordings(layout="librilight", subset="small"),
            Utterances(),
            Transcripts(model=WHISPER),
            Phones(),
            Codes(model=ENCODEC),
            Examples(),
            Checkpoints(size="paper", precision="bf16"),
            Samples(),
            Scores(judge=WHISPER),
        )
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "folder": folder,
    "librispeech": librispeech,
    "librilight": librilight,
}


def load_recipe(name: str) -> tuple[Recipe, ModuleType | None]:
    """A recipe by its name, or by `FILE.py:FUNCTION`, then with the module that its own classes live in.

    Raises:
        Mistake: there is no such recipe, file or function, or the file cannot be run.
    """
    path, colon, function = name.rpartition(":")
    if not colon:
        if name not in RECIPES:
            raise Mistake(f"there is no recipe {name!r}, nor is it FILE.py:FUNCTION{closest(name, RECIPES)}")
        return replace(RECIPES[name](), name=name), None
    module = _module(Path(path))
    if not callable(make := getattr(module, function, None)):
        raise Mistake(f"{path} has no function {function!r} that gives a recipe")
    try:
        recipe = make()
    except Exception as error:
        raise Mistake(f"{name} gives no recipe: {type(error).__name__}: {error}") from error
    if not isinstance(recipe, Recipe):
        raise Mistake(f"{name} gives a {type(recipe).__name__}, not a flows.engine.recipe.Recipe")
    return replace(recipe, name=function), module


def words(recipe: str, site: str | None, settings: Sequence[str], corpus: Path, until: str | None) -> dict[str, Any]:
    """The words of a run, so that `rerun` can say them again, from whatever folder."""
    path, colon, function = recipe.rpartition(":")
    return {
        "recipe": f"{Path(path).absolute()}:{function}" if colon else recipe,
        "site": str(Path(site).absolute()) if site else None,
        "settings": list(settings),
        "audio": said(corpus),
        "until": until,
    }


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise Mistake(f"there is no recipe file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Mistake(f"recipe file {path} cannot be run: {type(error).__name__}: {error}") from error
    return module
