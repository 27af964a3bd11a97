"""A checkpoint is a folder: `weights.safetensors`, and `settings.json` that says what they are.

`settings.json` is written last and carries the weights' sha256, so a folder with
it is whole, and weights swapped beside it are refused rather than believed.

    ValueError
    └── CheckpointError    a checkpoint is missing, damaged, newer than this code, or for other phones or another codec
"""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from model.cpu.blank_weights import Blank
from model.gpu.full_precision import keep_fp32
from model.valle.ar import AR
from model.valle.nar import NAR
from model.valle.settings import Half, Settings, Size

FORMAT = 5  # raise it when an older reader could not read what is written now; 4 knew no `chained`, `stem` and `stages`
WEIGHTS, SETTINGS = "weights.safetensors", "settings.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, in one sentence that names it."""


def build(settings: Settings) -> AR | NAR:
    """The half that the settings name, with fresh weights from torch's global generator."""
    return AR(settings) if settings.half == "ar" else NAR(settings)


def num_parameters(model: nn.Module) -> int:
    """Numbers that training may change."""
    return sum(parameter.numel() for parameter in model.parameters())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all; one process at a time, so what a kill left is written over."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def save(folder: Path, model: AR | NAR) -> str:
    """Writes a checkpoint; gives the sha256 of its weights."""
    weights = save_tensors({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})
    digest = hashlib.sha256(weights).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS, weights)
    record = {"format": FORMAT, "sha256": digest, **asdict(model.settings)}
    write_whole(folder / SETTINGS, json.dumps(record, ensure_ascii=False, indent=1).encode())
    return digest


def load(folder: Path, device: str = "cpu", symbols: tuple[str, ...] | None = None) -> AR | NAR:
    """The half in a folder, ready to speak (no dropout, no gradients).

    Args:
        folder: a checkpoint.
        device: where its weights go.
        symbols: the symbol table that the phones will come from; null where the checkpoint's own is asked instead.

    Raises:
        CheckpointError: something about it is missing, damaged, newer, or for other phones.
    """
    settings, digest = _read_settings(folder)
    if symbols is not None and symbols != settings.symbols:
        raise CheckpointError(
            f"{folder} reads another table of phone symbols ({len(settings.symbols)} symbols, not these "
            f"{len(symbols)}): make the phones again with its table, or train again"
        )
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {WEIGHTS}: copy the whole folder of the checkpoint") from None
    if hashlib.sha256(weights).hexdigest() != digest:
        raise CheckpointError(f"{folder / WEIGHTS} is not what {SETTINGS} says (its sha256 differs): copy it again")
    with torch.device("meta"), Blank():
        model = build(settings)
    try:
        model.load_state_dict(load_tensors(weights), assign=True)
    except (SafetensorError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"{folder / WEIGHTS} holds other weights than {SETTINGS} describes: {cause}") from error
    keep_fp32()
    return model.to(torch.device(device), torch.float32).eval().requires_grad_(False)  # half precision may be stored


def read_settings(folder: Path) -> Settings:
    """What a checkpoint is, without reading its weights.

    Raises:
        CheckpointError: as `load`.
    """
    return _read_settings(folder)[0]


def digest_of_weights(folder: Path) -> str:
    """The sha256 that a checkpoint says its weights have.

    Raises:
        CheckpointError: as `load`.
    """
    return _read_settings(folder)[1]


def _read_settings(folder: Path) -> tuple[Settings, str]:
    path = folder / SETTINGS
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        format_number = int(record["format"])
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {SETTINGS}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    if format_number > FORMAT:
        raise CheckpointError(
            f"{path} is of format {format_number}, and this version reads up to {FORMAT}: use a newer valle"
        )
    try:
        half: Half = record["half"]
        names = ("tied", "prompt", "group", "phone_frames", "choice", "monotonic", "chained", "stem", "stages")
        options = {name: record[name] for name in names if name in record}
        size, languages = Size(**record["size"]), tuple(record.get("languages", ()))
        settings = Settings(half, size, tuple(record["symbols"]), record["codec"], languages=languages, **options)
        return settings, str(record["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
