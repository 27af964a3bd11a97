"""Renditions: the files that speech is written to, and how well each of them went.

An empty file may be the right one. A model that says nothing has said so; the file is there, it
plays, it lasts no time, and its row is flagged `empty`.
"""

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.provenance import credentials
from tasks.provenance.certificate import Certificate
from tasks.voices.narration import SpeechChunk
from warehouse.errors import Mistake, WorkFailed
from warehouse.tables import SAMPLE_RATE

STANDARD = "-"  # standard input, or output
EMPTY, ENDLESS = "empty", "endless"
DEFAULT = "speech.wav"


@dataclass
class Rendition:
    """One file, as far as it has come."""

    path: str
    origin: credentials.Origin
    seconds: float = 0.0
    seconds_to_make: float = 0.0  # wall clock; its share where several are made together
    flags: set[str] = field(default_factory=set)  # of its segments
    warnings: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """That its first segment is drawn with."""
        return self.origin.seed

    def add(self, said: SpeechChunk, num_segments: int) -> None:
        """Count a segment in."""
        self.seconds += said.seconds
        self.seconds_to_make += said.seconds_to_make
        file = "the speech" if self.path == STANDARD else self.path
        which = f"segment {said.place + 1} of {num_segments} of {file}" if num_segments > 1 else file
        if said.is_empty:
            self.flags.add(EMPTY)
            self.warnings.append(f"{which} is empty: the model ended before it said anything; try another --seed")
        if said.is_endless:
            self.flags.add(ENDLESS)
            self.warnings.append(f"{which} is endless: the model was stopped before it ended; try another --seed")


def place(output: str | None, num: int, prompt: str) -> list[str]:
    """Where so many renditions go. A file that is named is written over; where none is named, no file is.

    Raises:
        Mistake: nothing can be written there, or it is the prompt.
    """
    if output == STANDARD:
        if num > 1:
            raise Mistake("standard output takes one rendition: leave out --num, or name a file with --output")
        return [STANDARD]
    paths = _numbered(Path(output).expanduser(), num) if output else _free(Path(DEFAULT), num)
    for path in paths:
        if path.suffix.lower() != ".wav":
            raise Mistake(f"--output {path} has to end in .wav, which is what is written")
        if not path.parent.is_dir():
            raise Mistake(f"there is no folder {path.parent} to write {path.name} to")
        if not os.access(path.parent, os.W_OK):
            raise Mistake(f"{path.parent.absolute()} is a folder that you may not write {path.name} to")
        if path.is_dir():
            raise Mistake(f"--output {path} is a folder, and a file is to be written")
        if path.exists() and Path(prompt).exists() and path.samefile(prompt):
            raise Mistake(f"--output {path} is the prompt itself, which would be lost")
    return [str(path) for path in paths]


class Pipe:
    """Standard output as a WAV of 24 kHz, mono, 16 bits, whose length nobody knows yet."""

    def __init__(self) -> None:
        size, rate = b"\xff\xff\xff\xff", SAMPLE_RATE  # the size says: until it ends
        form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        told = credentials.TAG.encode() + b"\0" * (2 - len(credentials.TAG) % 2)  # to an even number of bytes
        info = b"INFOICMT" + struct.pack("<I", len(told)) + told
        told = b"LIST" + struct.pack("<I", len(info)) + info
        self._put(b"RIFF" + size + b"WAVEfmt " + form + told + b"data" + size)

    def write(self, waveform: NDArray[np.float32]) -> None:
        """Hand on a waveform `[num_samples]` at once."""
        self._put((waveform * 32_767).round().astype("<i2").tobytes())

    def _put(self, content: bytes) -> None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextmanager
def wav(path: str, origin: credentials.Origin, certificate: Certificate) -> Iterator[soundfile.SoundFile]:
    """A file of 24 kHz, mono, 16 bits, that appears whole and signed, or not at all; or standard output.

    Raises:
        WorkFailed: there is no room for it.
    """
    whole, unfinished = BytesIO(), Path(path).with_name(f".{Path(path).name}.{uuid4().hex}.tmp")
    try:
        with soundfile.SoundFile(whole, "w", SAMPLE_RATE, 1, "PCM_16", format="WAV") as file:
            credentials.tag(file)
            yield file
        content = credentials.sign(whole.getvalue(), "WAV", origin, certificate)
        if path == STANDARD:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        with unfinished.open("wb") as raw:
            raw.write(content)
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(path)
    except (OSError, soundfile.SoundFileError) as error:
        raise WorkFailed(f"{path} cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _numbered(path: Path, num: int) -> list[Path]:
    """One file under its own name, several with numbers after it."""
    return [path] if num == 1 else [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, num + 1)]


def _free(path: Path, num: int) -> list[Path]:
    """As `_numbered`, under the first name that nobody has taken."""
    taken, number = _numbered(path, num), 2
    while any(path.exists() for path in taken):
        taken = _numbered(path.with_stem(f"{path.stem}-{number}"), num)
        number += 1
    return taken
