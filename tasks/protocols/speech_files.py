"""Speech files of a shard of samples: FLAC, 24 kHz, 16 bits, mono; signed where a model has made it.

A prompt is written once, however many samples it has: as it was recorded and as its codes are decoded.
"""

import time
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.audio import audio_files
from tasks.audio.resynthesis import decode
from tasks.protocols.casting import Prompt, Row, Speech, Waveform
from tasks.provenance import credentials
from tasks.provenance.certificate import Certificate
from warehouse.faults import Faults
from warehouse.store import write_atomically
from warehouse.tables import SAMPLE_RATE

if TYPE_CHECKING:
    from model.codec.encodec import Codec


@dataclass(frozen=True)
class SpeechFiles:
    """Where a shard's speech goes, and what it is made with."""

    codec: "Codec"
    folder: Path
    faults: Faults
    signed_by: Certificate
    prompts: dict[str, Row] = field(default_factory=dict)  # the columns of those that lie there

    def save(self, row: Row, waveform: Waveform, started: float, origin: credentials.Origin | None = None) -> Row:
        """Writes a sample's speech, signed where a model made it (`origin`); the columns that tell of it."""
        path = self._write(f"{row['sample_id']}.flac", waveform, origin)
        seconds = len(waveform) / SAMPLE_RATE
        return {"audio_path": path, "seconds": seconds, "seconds_to_make": time.perf_counter() - started}

    def prompt(self, prompt: Prompt | None) -> Row:
        """Writes a prompt as recorded and as decoded, unless it lies there; the columns that tell of it."""
        if prompt is None:
            return {}
        name = sha256(f"{prompt.prompt_id} {prompt.codes.shape[1]} {prompt.cut}".encode()).hexdigest()[:16]
        if name not in self.prompts:
            self.prompts[name] = {
                "prompt_text": prompt.text,
                "prompt_seconds": prompt.seconds,
                "prompt_cut": prompt.cut,
                "prompt_path": self._unless_unreadable(f"prompts/{name}.flac", prompt.recorded),
                "prompt_decoded_path": self._write(f"prompts/{name}-decoded.flac", decode(self.codec, prompt.codes)),
            }
        return self.prompts[name]

    def _unless_unreadable(self, name: str, speech: Speech) -> str | None:
        try:
            return self._write(name, speech())
        except audio_files.Unreadable:
            return None

    def _write(self, name: str, waveform: Waveform, origin: credentials.Origin | None = None) -> str:
        """Speech as a file, whole or not at all; its path relative to the root."""
        import soundfile

        written = BytesIO()
        with soundfile.SoundFile(written, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
            if origin:
                credentials.tag(file)
            file.write(waveform.clip(-1.0, 1.0))
        content = written.getvalue()
        write_atomically(
            self.folder / name, credentials.sign(content, "FLAC", origin, self.signed_by) if origin else content
        )
        return Path(*self.folder.parts[-3:], name).as_posix()  # <table>/<fingerprint>/<shard>/...
