"""The sample corpus: fourteen natural voices reading small books of ours, laid out exactly as LibriLight.

It ships as Ogg/Opus and is unpacked to FLAC; beyond LibriLight's keys each JSON file holds `sentences`: where each lies
and what it says. Nobody's own voice is in it: Kokoro-82M spoke it, some of its voices mixed
(`deploy/embedded/sample_corpus.py`, whose card is `corpora/sample/README.md`).
"""

import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from warehouse.errors import Mistake

SUBSET = "small"
SAMPLE_RATE = 24_000  # Hz; LibriLight's own is 16,000, and there is more to hear here

SHIPPED = Path(__file__).with_name("sample")
_GRID = 0.08  # seconds, the frame of LibriLight's voice activity detection
_MADE_AT = 1_672_876_800  # s, 2023-01-05: files as old as the paper, so that a corpus made again looks unchanged


@cache
def readers() -> dict[str, dict[str, Any]]:
    """Who reads, by speaker id: `voice`, `title`, and `chapters`, each a list of sentences with their places."""
    told: dict[str, dict[str, Any]] = json.loads((SHIPPED / "sample.json").read_text("utf-8"))
    return told


def is_made(audio: Path) -> bool:
    """Whether the corpus lies in a folder, whole."""
    return all(path.is_file() for path in _chapters(audio))


def make(audio: Path) -> None:
    """Unpacks the corpus into a folder, in seconds, unless it lies there: whole or not at all.

    Raises:
        Mistake: another corpus lies there.
    """
    if is_made(audio):
        return
    audio.mkdir(parents=True, exist_ok=True)
    if (audio / SUBSET).exists():
        raise Mistake(f"{audio / SUBSET} holds another corpus than the sample corpus; name another folder by --audio")
    with tempfile.TemporaryDirectory(prefix=".sample-corpus-", dir=audio) as draft:
        for path in _chapters(Path(draft)):
            _write(path)
        for path in Path(draft).rglob("*"):
            os.utime(path, (_MADE_AT, _MADE_AT))
        try:
            (Path(draft) / SUBSET).rename(audio / SUBSET)
        except OSError:
            if not is_made(audio):  # else another process was faster, and its corpus is this one
                raise


def truth(audio: Path) -> list[tuple[str, int, int, str]]:
    """What is said where: `(recording_id, start_sample, end_sample, text)` of each sentence, for checks."""
    return [
        (str(path.relative_to(audio).with_suffix("")), said["start_sample"], said["end_sample"], said["text"])
        for path in sorted((audio / SUBSET).rglob("*.json"))
        for said in json.loads(path.read_text())["sentences"]
    ]


def _chapters(audio: Path) -> list[Path]:
    """The audio files of the corpus."""
    return [
        audio / SUBSET / speaker / f"{reader['title'].lower().replace(' ', '_')}_sample_64kb_mp3" / _name(number)
        for speaker, reader in readers().items()
        for number in range(1, len(reader["chapters"]) + 1)
    ]


def _name(number: int) -> str:
    return f"{number:02d}_sample_64kb.flac"


def _write(path: Path) -> None:
    """A chapter's FLAC, and its JSON as LibriLight has it."""
    import soundfile

    speaker, number = path.parts[-3], int(path.name[:2])
    reader = readers()[speaker]
    said = reader["chapters"][number - 1]
    speech, rate = soundfile.read(SHIPPED / f"{speaker}-{number}.ogg", dtype="int16")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech, rate, subtype="PCM_16")
    book = {"id": str(1 + list(readers()).index(speaker)), "title": reader["title"], "language": "English"}
    about = {
        "speaker": speaker,
        "book_meta": book | {"genre": ["*Fiction"], "meta_genre": "Literature"},
        "snr": float("nan"),  # as in LibriLight where there is no noise to measure
        "voice_activity": [_on_grid(one["start_sample"], one["end_sample"]) for one in said],
        "file_length_sec": len(speech) / rate,
        "sentences": said,
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def _on_grid(start: int, end: int) -> list[float]:
    """A stretch in seconds, widened to the frames of voice activity detection."""
    frame = round(_GRID * SAMPLE_RATE)
    return [round(start // frame * _GRID, 2), round(-(-end // frame) * _GRID, 2)]
