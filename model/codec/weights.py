"""Which EnCodec: the weights behind a name or a path, their shape and their identity.

Torch is loaded where weights are read and not before: planning a pipeline asks for an identity alone.
Source: the `encodec` package, version 0.1.1, for the published weights.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = "encodec_24khz"
PUBLISHED_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"  # sha256 begins as the name says
CODEBOOKS = 8  # of which VALL-E's codes are
EMBEDDED = Path(__file__).parents[1] / "embedded" / "encodec.safetensors"


class CodecError(ValueError):
    """The weights that were named cannot be had, or are not an EnCodec of this shape."""


@dataclass(frozen=True)
class Shape:
    """The sizes of an EnCodec; those of the published 24 kHz one unless said otherwise."""

    n_filters: int = 32  # channels at 24 kHz, doubled at each of the four strides
    dimension: int = 128  # width of a latent
    lstm: int = 2  # layers
    norm: str = "weight_norm"  # or `none`
    num_codebooks: int = 32


def identity(name_or_path: str | Path) -> str:
    """What a fingerprint says of a codec: its name and a digest, never its path; the published one needs no weights.

    Raises:
        CodecError: there is no such file.
    """
    if str(name_or_path) == PUBLISHED:
        return f"{PUBLISHED}@{_digest()}"
    path = weights_path(name_or_path)
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".safetensors":
        digest.update(repr(_shape(path)).encode())
    return f"{'embedded' if path == EMBEDDED else 'encodec'}@{digest.hexdigest()[:12]}"


def weights_path(name_or_path: str | Path) -> Path:
    """The file of a codec's weights.

    Raises:
        CodecError: there is no such file, or none beside it that gives its shape.
    """
    path = EMBEDDED if str(name_or_path) == "embedded" else Path(name_or_path)
    for needed in [path, path.with_suffix(".json")] if path.suffix == ".safetensors" else [path]:
        if not needed.is_file():
            raise CodecError(
                f"there is no codec {name_or_path}: {needed} is no file ({PUBLISHED} and embedded are names)"
            )
    return path


def figures() -> dict[str, Any]:
    """What the embedded codec does to speech of voices it never heard, as measured when it was made.

    `stoi`, `pesq` (wide band), `visqol` (MOS-LQO) and `speaker_similarity` are means, `wer` and `wer_original` are
    what Whisper mishears of all words behind the codec and before it, and `entropy` is each codebook's, in nats.
    """
    measured: dict[str, Any] = json.loads(EMBEDDED.with_suffix(".json").read_text())["figures"]
    return measured


def _shape(path: Path) -> Shape:
    beside = path.with_suffix(".json")
    try:
        return Shape(**json.loads(beside.read_text())["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise CodecError(f"{beside} does not give the shape of an EnCodec: {error}") from None


def read(path: Path) -> tuple[dict[str, "Tensor"], Shape]:
    """The state dict in a file, and its shape.

    Raises:
        CodecError: the file cannot be read as an EnCodec.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path), _shape(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CodecError:
        raise
    except Exception as error:  # a broken file has many kinds of error, from pickle's to JSON's
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CodecError(f"{path} cannot be read as an EnCodec: {reason}") from None
    if not isinstance(state, dict):
        raise CodecError(f"{path} cannot be read as an EnCodec: it holds a {type(state).__name__}, not a state dict")
    return state, Shape()


def codebooks(name_or_path: str | Path) -> "Tensor":
    """The entries of a codec's codebooks `[Q, 1024, D]`.

    Raises:
        CodecError: the weights cannot be had.
    """
    import torch

    state, _ = (published(), None) if str(name_or_path) == PUBLISHED else read(weights_path(name_or_path))
    books = [state[f"quantizer.vq.layers.{q}._codebook.embed"] for q in range(CODEBOOKS)]
    return torch.stack(books).to(torch.float32)


def _digest() -> str:
    return PUBLISHED_URL.removesuffix(".th").rpartition("-")[2]


def published() -> dict[str, "Tensor"]:
    """The state dict of the published weights, fetched once.

    Raises:
        CodecError: they cannot be fetched, or are not what their publisher made.
    """
    import torch

    try:
        state = torch.hub.load_state_dict_from_url(
            PUBLISHED_URL, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise CodecError(f"{PUBLISHED} cannot be fetched from {PUBLISHED_URL}: {error}") from None
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(PUBLISHED_URL).name
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(_digest()):
        raise CodecError(f"{path} is not what its publisher made: its sha256 does not begin with {_digest()}")
    return state
