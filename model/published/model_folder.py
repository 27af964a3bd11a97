"""A model's folder as `transformers` saves it, its identity, and the library itself.

Nothing heavy is loaded before weights are: planning a pipeline asks for an identity alone.
"""

import hashlib
import importlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"
_REST = ("preprocessor_config.json", "tokenizer_config.json", "vocab.json")  # what else decides what is heard

_IDLE = ("masked_spec_embed", "objective.weight")  # weights for training alone


def identity(folder: Path) -> str:
    """`folder@1a2b3c4d`, by the sha256 of weights, settings and vocabulary; the folder's own place is no part of it.

    Raises:
        ValueError: it holds no model, or `transformers` is not installed.
    """
    if find_spec("transformers") is None:
        raise ValueError("transformers is not installed; pip install 'valle[judges]' brings it")
    files = [folder / name for name in (CONFIG, *WEIGHTS, *_REST) if (folder / name).is_file()]
    names = {file.name for file in files}
    if CONFIG not in names or not names & set(WEIGHTS):
        raise ValueError(f"{folder} holds no model in transformers' format: {CONFIG} beside {' or '.join(WEIGHTS)}")
    return f"folder@{_digest(tuple((str(file), file.stat().st_mtime_ns) for file in files))}"


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[str, int], ...]) -> str:
    whole = hashlib.sha256()
    for path, _ in files:
        with Path(path).open("rb") as file:
            whole.update(f"{Path(path).name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:8]


def library() -> Any:
    """`transformers`, also where torchaudio is broken, which it loads wherever there is one and does not need here."""
    transformers = importlib.import_module("transformers")
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        for name in ("transformers.utils", "transformers.utils.import_utils"):
            vars(importlib.import_module(name))["is_torchaudio_available"] = bool  # which says False
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load(kind: Any, folder: Path) -> Any:
    """A model of one of the library's kinds, with all of the weights that it hears with.

    Raises:
        ValueError: some are not there, and would be random.
        OSError: it cannot be read.
    """
    model, found = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if missing := sorted(name for name in found["missing_keys"] if not name.endswith(_IDLE)):
        raise ValueError(
            f"it lacks {missing[0]} and {len(missing) - 1} others" if missing[1:] else f"it lacks {missing[0]}"
        )
    return model
