"""Checkpoint pairs: an AR and a NAR that belong together, found by their weights' hashes.

Weights are found by what they are, not by what they are called. A pair names the codec whose
codes it speaks by a digest, so the codec is whichever of those at hand has that digest, under any name.
"""

from collections.abc import Iterable
from pathlib import Path

from tasks.audio import audio_files

EMBEDDED = "embedded"
HALVES = ("ar", "nar")


def folder(checkpoint: str) -> Path:
    """The folder that a pair lies in: the embedded one, or that of this path."""
    import model

    return Path(model.__file__).parent / "embedded" / "valle" if checkpoint == EMBEDDED else Path(checkpoint)


def identify(folder: Path) -> str:
    """The names of a pair's weights: for each half, the hash of the settings, which hold the hash of the weights.

    Raises:
        CheckpointError: the folder holds no pair.
    """
    from model.valle.checkpoint import SETTINGS, read_settings

    for half in HALVES:
        read_settings(folder / half)  # says in one sentence what is wrong with it
    return "+".join(f"{half}-{audio_files.sha256(folder / half / SETTINGS)[:12]}" for half in HALVES)


def is_embedded(checkpoint_id: str) -> bool:
    """Whether these names are those of the pair that ships."""
    shipped = folder(EMBEDDED)
    return shipped.is_dir() and identify(shipped) == checkpoint_id


def same_codec(one: str, other: str) -> bool:
    """Whether two identities of codecs name the same weights: one file may have two names."""
    return one.rpartition("@")[2] == other.rpartition("@")[2]


def codec_of(speaks: str, names: Iterable[str]) -> str | None:
    """The first of these codecs whose codes a pair speaks; null where none is the one."""
    from model.codec.encodec import CodecError, identity

    for name in names:
        try:
            if same_codec(identity(name), speaks):
                return name
        except CodecError:  # not here, so not the one
            continue
    return None
