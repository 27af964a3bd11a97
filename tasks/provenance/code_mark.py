"""The mark in the codes of a file, whatever became of its credentials: a codec hears the speech again.

A file that was cut begins anywhere within a frame, so it is heard twice, half a frame apart, and all that
is heard counts.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.audio import audio_files
from tasks.audio.resynthesis import encode
from tasks.provenance.credentials import CODE_MARK, NO_MARK, SYNTHETIC, Found
from warehouse.errors import Mistake
from warehouse.tables import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from model.codec.encodec import Codec
    from model.valle.mark import Trace

STRENGTH = 3.0  # that `say --mark` marks with: see docs/provenance.md
LONGEST = 60 * SAMPLE_RATE  # samples of a file that are heard

_PLACES = 0, HOP // 2


class Listener:
    """A codec, and what is known of how its own speech sounds to it."""

    def __init__(self, name: str) -> None:
        """Raises Mistake where there is no codec of this name, or it lacks a codebook."""
        from model.codec.encodec import CodecError, load_codec

        try:
            self.codec: Codec = load_codec(name)
        except CodecError as error:
            raise Mistake(str(error)) from error
        self._ear = ear(name)

    def hear(self, path: Path) -> "Trace":
        """What is left of the mark in the first minute of a file.

        Raises:
            Mistake: it cannot be decoded.
        """
        try:
            return self.trace(audio_files.read(path, SAMPLE_RATE)[:LONGEST])
        except audio_files.Unreadable as error:
            raise Mistake(str(error)) from None

    def trace(self, waveform: NDArray[np.float32]) -> "Trace":
        """What is left of the mark in speech `[num_samples]` at 24 kHz."""
        from model.valle.mark import Trace, leads, trace

        num_frames = len(waveform) // HOP
        if num_frames < 2:
            return Trace(num_frames, 0.0)
        entries = self.codec.codebooks
        heard = [encode(self.codec, waveform[place:]) for place in _PLACES]
        total = np.sum([leads(codes, entries, self._ear) for codes in heard], axis=0)
        return trace(total, num_frames)


def hear(found: Found, listener: Listener) -> Found:
    """What a file says of itself, and what its codes say.

    Raises:
        Mistake: it cannot be decoded.
    """
    trace = listener.hear(Path(found.path))
    if trace.found is None:
        return replace(found, why=f"{found.why}; it is too short for its codes to tell")
    marked = f"its codes carry the mark, which chance alone would do once in {1 / max(trace.chance, 1e-12):,.0f}"
    if not trace.found:
        return replace(found, why=f"{found.why}; no mark is found in its codes", chance=trace.chance)
    why = marked if found.verdict == NO_MARK else f"{found.why}; {marked}"
    verdict = SYNTHETIC if found.verdict == NO_MARK else found.verdict
    return replace(found, verdict=verdict, why=why, marks=(*found.marks, CODE_MARK), chance=trace.chance)


def ear(name: str) -> NDArray[np.float64] | None:
    """How to hear what was meant in the codes of the embedded codec (`deploy.embedded.ear`); null for any other."""
    from safetensors.numpy import load_file

    from model.codec.weights import EMBEDDED

    path = EMBEDDED.with_name("ear.safetensors")
    return load_file(path)["ear"].astype(np.float64) if name == "embedded" and path.exists() else None
