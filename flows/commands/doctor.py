"""`valle doctor`: what is here and what is missing for a run, each with what to do. It never hangs and never raises."""

import hashlib
import json
import os
import platform
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path

from flows.engine.site import Site, load_site
from flows.machine import probes
from flows.machine.diagnosis import MISSING, OK, WARNING, Diagnosis, ask, within
from flows.machine.namesakes import HOUSE
from warehouse import corpus_copy
from warehouse.errors import Mistake

PATIENCE = 60.0  # seconds for all that is asked; importing torch from a cold disk takes half of that
NAMED = ("fastapi", "sqlalchemy", "prefect", "ray", "duckdb")  # which work together in these ranges alone


def examine(root: str | None, site: str | None, recipe: str | None) -> list[Diagnosis]:
    """Every diagnosis.

    Args:
        recipe: whose weights are looked for; that of the root's last run unless said, or the demo.

    Raises:
        Mistake: there is no such site or recipe.
    """
    where = within(PATIENCE, "the site", lambda: load_site(site, root=root))
    models = within(PATIENCE, f"{where.root}", lambda: dict(_models(where, recipe)))
    return ask(
        {
            "python": _python,
            "versions": versions,
            "weights": partial(weights, models),
            "gpu": partial(probes.gpu, where.device, PATIENCE - 5),
            "root": partial(probes.disk, where.root),
            "warehouse": partial(_warehouse, where.root),
            "corpus": partial(_corpus, where),
            "memory": probes.memory,
            "/dev/shm": partial(probes.shared_memory, where.object_store_bytes),
            "open files": probes.open_files,
            "ray": partial(probes.ray, where.ray_address),
            "prefect": probes.prefect,
            "espeak": _espeak,
            "proxies": partial(probes.proxies, probes.first_environment()),
        },
        PATIENCE,
    )


def _python() -> list[Diagnosis]:
    return [Diagnosis("python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")]


def versions() -> list[Diagnosis]:
    """The packages against the ranges that work together: those that are told by name, and the others if wrong."""
    from packaging.requirements import Requirement

    found = []
    for line in _required():
        asked = Requirement(line)
        if asked.marker and not asked.marker.evaluate({"extra": ""}):
            continue
        pip = f"pip install --constraint requirements.lock '{asked.name}{asked.specifier}'"
        try:
            version = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            found.append(Diagnosis(asked.name, MISSING, f"it is not installed; {asked.specifier or 'any'} works", pip))
            continue
        if not asked.specifier.contains(version, prereleases=True):
            found.append(Diagnosis(asked.name, MISSING, f"{version} is installed, and {asked.specifier} works", pip))
        elif asked.name.lower() in NAMED:
            found.append(Diagnosis(asked.name, OK, f"{version}, of {asked.specifier}"))
    return found


def _required() -> list[str]:
    """What is asked for, as the project says beside its code, or else as it was installed."""
    with suppress(OSError, KeyError, tomllib.TOMLDecodeError):
        said: list[str] = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "dependencies"
        ]
        return said
    return metadata.requires("valle") or []


def _models(site: Site, recipe: str | None) -> Iterator[tuple[str, str]]:
    """The models that a recipe names, by the setting that names them."""
    from flows.recipes import load_recipe
    from warehouse.catalogue import Catalogue

    settings: list[str] = []
    if recipe is None:
        with suppress(Mistake, OSError):
            last = Catalogue(site.root).last_run().options
            recipe, settings = last["recipe"], last["settings"]
    made = load_recipe(recipe or "demo")[0].set(settings)
    for stage in made.stages:
        for name in ("model", "judge"):
            if isinstance(value := getattr(stage, name, None), str):
                yield f"{stage.makes.name}.{name}", value


def weights(models: dict[str, str]) -> list[Diagnosis]:
    """The weights that ship, and those that a recipe names, against the digests that they should have."""
    found = list(_embedded())
    for setting, model in models.items():
        if model != "reference":
            found.append(_codec(setting, model) if setting.startswith("codes.") else _whisper(setting, model))
    return found


def _embedded() -> Iterator[Diagnosis]:
    import model

    folder = Path(model.__file__).parent / "embedded"
    sums = {
        name: digest for digest, name in (line.split() for line in (folder / "sha256sums").read_text().splitlines())
    }
    for half in ("ar", "nar"):
        said = json.loads((folder / "valle" / half / "settings.json").read_text(encoding="utf-8"))
        sums[f"valle/{half}/weights.safetensors"] = said["sha256"]
    wrong = [name for name, digest in sums.items() if not (folder / name).is_file() or _sha256(folder / name) != digest]
    if not wrong:
        yield Diagnosis("embedded weights", OK, f"{len(sums)} files in {folder}, each of its digest")
    for name in wrong:
        yield Diagnosis("embedded weights", MISSING, f"{folder / name} is not there, or damaged", "install valle again")


def _codec(setting: str, model: str) -> Diagnosis:
    from model.codec.weights import PUBLISHED, PUBLISHED_URL, CodecError, weights_path

    if model != PUBLISHED:
        try:
            return Diagnosis(setting, OK, f"{model}: {weights_path(model)}")
        except CodecError as error:
            return Diagnosis(setting, MISSING, str(error), f"name another with --set {setting}=")
    name = Path(PUBLISHED_URL).name
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "torch"
    return _fetched(setting, model, Path(home) / "hub" / "checkpoints" / name, name.removesuffix(".th")[-8:])


def _whisper(setting: str, model: str) -> Diagnosis:
    from model.asr.weights import ALIASES, KNOWN, converted, weights_path

    name = ALIASES.get(model, model)
    if name in KNOWN:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "whisper"
        return _fetched(setting, model, cache / f"{name}.pt", KNOWN[name])
    try:
        converted(model)
        return Diagnosis(setting, OK, f"{model}: {weights_path(name)}")
    except (OSError, ValueError) as error:
        return Diagnosis(setting, MISSING, str(error), f"name another with --set {setting}=")


def _fetched(setting: str, model: str, path: Path, digest: str) -> Diagnosis:
    """Published weights, where the first run that needs them puts them."""
    if not path.is_file():
        todo = f"it is fetched when first needed; without a network, copy it to {path}, or --set {setting}=embedded"
        return Diagnosis(setting, WARNING, f"{model} is not here yet", todo)
    if not _sha256(path).startswith(digest):
        return Diagnosis(setting, MISSING, f"{path} is damaged: its sha256 does not begin with {digest}", "remove it")
    return Diagnosis(setting, OK, f"{model}: {path}, of its publisher's digest")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _warehouse(root: Path) -> list[Diagnosis]:
    from warehouse.catalogue import Catalogue

    index = Catalogue(root)
    if trouble := index.trouble():
        return [
            Diagnosis("warehouse", MISSING, f"its catalogue cannot be used ({trouble[:160]})", "valle check --mend")
        ]
    if damaged := index.damaged_recipes():
        return [Diagnosis("warehouse", MISSING, f"{damaged[0]} is damaged", "valle check --mend")]
    says = f"{root} has a catalogue" if index.published.exists() else f"none in {root} yet"
    return [Diagnosis("warehouse", OK, says)]


def _corpus(site: Site) -> list[Diagnosis]:
    where = corpus_copy.said(site.corpus)
    objects = corpus_copy.objects_of(site.corpus)
    if any(objects.children("")) if objects else site.corpus.is_dir():
        return [Diagnosis("corpus", OK, where)]
    todo = "name it with --audio or `audio` of the site; `valle download` brings one, and the demo makes its own"
    return [Diagnosis("corpus", WARNING, f"{where} is not there", todo)]


def _espeak() -> list[Diagnosis]:
    import ctypes

    from tasks.text.espeak import data_path, library_path

    todo = "pip install --force-reinstall --constraint requirements.lock espeakng-loader"
    try:
        ctypes.cdll.LoadLibrary(library_path())
    except (ImportError, OSError) as error:
        return [Diagnosis("espeak", MISSING, f"its library cannot be loaded ({error})", todo)]
    if not (Path(data_path()) / "phontab").is_file():
        return [Diagnosis("espeak", MISSING, f"{data_path()} lacks its voices", todo)]
    return [Diagnosis("espeak", OK, library_path())]
