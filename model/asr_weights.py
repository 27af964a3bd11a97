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

from model.asr_engine import ENGINES, FASTER

EMBEDDED = Path(__file__).parent / "embedded" / "whisper.pt"

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

    A known name needs no weights; a path's name is not part of it, so a moved file stays the same model. A folder is
    a model in CTranslate2's format, and is named by its `model.bin`.

    Raises:
        FileNotFoundError: no known name and no file.
    """
    name = ALIASES.get(model, model)
    if name in KNOWN:
        return f"{name}@{KNOWN[name]}"
    with weights_path(name).open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    return f"{'embedded' if name == 'embedded' else 'file'}@{digest[:8]}"


def weights_path(name: str) -> Path:
    """The file that holds a model's weights: `embedded`, a checkpoint, or a folder in CTranslate2's format.

    Raises:
        FileNotFoundError: there is none.
    """
    path = EMBEDDED if name == "embedded" else Path(name)
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
    if Path(model).is_dir():
        if engine != FASTER:
            raise ValueError(f"{model} is a folder in CTranslate2's format, which only the engine {FASTER!r} loads")
    elif not is_zipfile(path):
        raise ValueError(f"{model} is no checkpoint of openai-whisper's, which both engines load")


def load_whisper(model: str, device: str = "cpu") -> Any:
    """openai-whisper's own model, by the names of `load_asr`.

    Raises:
        ValueError: the file is no checkpoint of openai-whisper's.
        FileNotFoundError: no known name and no file.
        ConnectionError: the weights of a known name are not here and cannot be fetched.
    """
    import whisper

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
