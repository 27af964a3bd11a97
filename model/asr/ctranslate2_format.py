"""A Whisper in CTranslate2's format, read into openai-whisper's own model without CTranslate2.

A `model.bin` is a list of named arrays; queries, keys and values of an attention lie one under the other in one of
them. Weights in half or single precision are taken as they are, so nothing is rounded; integers are weights times a
scale, and are divided by it.
Source: CTranslate2's `model_spec.py`, which writes the file, and `whisper_spec.py` for the names.

D width.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.cpu.blank_weights import Blank

_DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 4: torch.float16, 5: torch.bfloat16}  # by its number
_SCALE = "_scale"  # what the name of a scale has more than that of its weights
_SPEC = "WhisperSpec"
_POSITIONS = 1500  # of the encoder, in 30 s

_NAMES = (
    ("position_encodings/encodings", "positional_embedding"),
    ("embeddings/weight", "token_embedding.weight"),
    ("self_attention/layer_norm", "attn_ln"),
    ("self_attention", "attn"),
    ("attention/layer_norm", "cross_attn_ln"),
    ("attention", "cross_attn"),
    ("ffn/layer_norm", "mlp_ln"),
    ("ffn/linear_0", "mlp.0"),
    ("ffn/linear_1", "mlp.2"),
    ("gamma", "weight"),
    ("beta", "bias"),
)
_PARTS = {  # a fused matrix's parts, by attention and place
    ("attn", "linear_0"): ("query", "key", "value"),
    ("attn", "linear_1"): ("out",),
    ("cross_attn", "linear_0"): ("query",),
    ("cross_attn", "linear_1"): ("key", "value"),
    ("cross_attn", "linear_2"): ("out",),
}


def load(folder: Path, device: str = "cpu") -> Any:
    """An openai-whisper model of the weights in a folder.

    Raises:
        ValueError: they are no Whisper of CTranslate2's, or cut off.
    """
    from whisper.model import ModelDimensions, Whisper

    try:
        state = dict(_openai(_whole(dict(_arrays((folder / "model.bin").read_bytes())))))
        config = json.loads((folder / "config.json").read_text("utf-8"))
        layers = [1 + max(int(k.split(".")[2]) for k in state if k.startswith(f"{h}.blocks")) for h in _HALVES]
        width, mels, _ = state["encoder.conv1.weight"].shape
        tokens, heads = len(state["decoder.token_embedding.weight"]), width // 64
        positions = len(state["decoder.positional_embedding"])
        sizes = (mels, _POSITIONS, width, heads, layers[0], tokens, positions, width, heads, layers[1])
        with Blank():
            model = Whisper(ModelDimensions(*sizes))
        model.load_state_dict(state)
        aligned = torch.zeros(layers[1], heads, dtype=torch.bool)
        for layer, head in config["alignment_heads"]:
            aligned[layer, head] = True
    except (KeyError, IndexError, RuntimeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{folder} holds no Whisper of CTranslate2's that can be read: {error}") from error
    model.register_buffer("alignment_heads", aligned.to_sparse(), persistent=False)
    return model.to(device).eval()


_HALVES = ("encoder", "decoder")


def _arrays(file: bytes) -> Iterator[tuple[str, Tensor]]:
    """The arrays of a file, by name.

    Raises:
        ValueError: it is no Whisper.
    """
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + kind, file, place)
        place += struct.calcsize("<" + kind)
        return int(value)

    def word() -> str:
        nonlocal place
        length = number("H")
        place += length
        return file[place - length : place - 1].decode()

    number("I")  # the format's version
    if (spec := word()) != _SPEC:
        raise ValueError(f"the file says that it is a {spec!r}")
    number("I")  # the specification's revision
    for _ in range(number("I")):
        name = word()
        shape = [number("I") for _ in range(number("B"))]
        dtype, size = number("B"), number("I")
        place += size
        if place > len(file):
            raise ValueError(f"the file is cut off in {name}")
        if dtype in _DTYPES and (shape or name.endswith(_SCALE)):  # else an option, such as the activation
            yield name, torch.frombuffer(bytearray(file[place - size : place]), dtype=_DTYPES[dtype]).view(shape)


def _whole(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Arrays without their scales, by which integers are divided: one for each row, or for 16 bits one for all."""
    found = {}
    for name, array in arrays.items():
        if (scale := arrays.get(name + _SCALE)) is not None and not array.is_floating_point():
            found[name] = array.float() / scale.view(-1, *[1] * (array.ndim - 1))
        elif not name.endswith(_SCALE):
            found[name] = array
    return found


def _openai(arrays: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """openai-whisper's names for CTranslate2's arrays, in single precision."""
    for name, array in arrays.items():
        half, _, rest = name.partition("/")
        if half not in _HALVES:
            continue
        block, inner = "", rest
        if rest.startswith("layer_") and not rest.startswith("layer_norm"):
            number, _, inner = rest.removeprefix("layer_").partition("/")
            block = f"blocks.{number}."
        elif rest.startswith("layer_norm"):
            inner = rest.replace("layer_norm", "ln_post" if half == "encoder" else "ln")
        for theirs, ours in _NAMES:
            inner = inner.replace(theirs, ours) if theirs in inner else inner
        *layer, place, kind = inner.split("/") if inner.count("/") == 2 else ("", *_two(inner))
        parts = _PARTS.get((layer[0], place)) if layer[0] else None
        if parts is None:
            yield f"{half}.{block}{inner.replace('/', '.')}", array.float()
            continue
        for part, rows in zip(parts, array.chunk(len(parts)), strict=True):
            if not (part == "key" and kind == "bias"):  # Whisper's keys have none: zeros stand in the file
                yield f"{half}.{block}{layer[0]}.{part}.{kind}", rows.float()


def _two(name: str) -> tuple[str, str]:
    first, _, last = name.rpartition("/")
    return first, last
