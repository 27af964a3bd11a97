"""The table `recordings`: every audio file of a corpus, decoded once, with what the corpus says of it.

A file is judged by what decodes and not by its name. Every file counts as audio but
those with a suffix of text (`tasks.corpora.listing.COMPANIONS`) and hidden ones, so a picture, a Git LFS
pointer or a text called `.wav` is a row with its reason; only FLAC, WAV, MP3, Ogg, AIFF and what else
libsndfile decodes is kept.

    unreadable   no audio, broken, or cut off         empty        not one sample
    no_audio     the corpus speaks of a missing file  too_short    under `min_seconds`
    not_finite   NaN or infinite samples              silent       no sample above -80 dB of full scale
    damaged      other samples than those encoded     duplicate    the same samples as an earlier kept file
    wrong_scale  floating point far above full scale  out_of_phase channels whose mean is silent
    error        what nobody expected of a file       poison       a worker died of it, again and again

A file is compared with those of its own shard alone, for a shard knows of no other. `audio_digest` is what finds
equal audio across shards: group the table by it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from tasks.audio import flac
from tasks.audio.audio_files import Examination, Unreadable, examine, must_be_there, sha256, will_stay
from tasks.corpora import sample_corpus
from tasks.corpora.corpus_name import corpus_name, settle
from tasks.corpora.folder import Folder
from tasks.corpora.librilight import SUBSETS, LibriLight
from tasks.corpora.librispeech import LibriSpeech
from tasks.corpora.listing import CorpusError, Entry, Layout, first_hours, is_audio, portions, printable
from tasks.corpora.trees import tree_of
from warehouse import corpus_copy
from warehouse.faults import POISON, Faults
from warehouse.stage import Resources, SourceFiles, in_range
from warehouse.tables import RECORDINGS

LAYOUTS = ("sample", "folder", "librispeech", "librilight")

_SILENT = 1e-4  # peak of a recording that holds nothing: -80 dB of full scale
_LEAST_HOURS = 1e-4  # of a shard: a third of a second, which one file fills
_LENGTHS_AGREE = 1.0  # seconds between what a corpus says of its end and where the file ends

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Describes a corpus. A shard is a speaker, or a folder where nothing is known of speakers."""

    makes, takes = RECORDINGS, ()
    needs, version, gathers = Resources(), 6, False

    layout: str  # one of LAYOUTS
    subset: str | None = None  # librilight: small, medium or large; librispeech: one folder; None takes all
    max_shard_hours: float = 10.0  # a longer shard is split by book, and a longer book by the hash of file names
    min_seconds: float = 0.5  # a shorter file is dropped
    check_md5: bool = False  # of a FLAC file's samples, against the one that its header states
    # No setting of a shard: it says which are wanted, so those made of 10 hours are current when all are asked for.
    max_hours: float | None = field(default=None, compare=False)  # of audio, to try a large corpus; None takes all
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies
    root: Path | None = field(default=None, compare=False)  # of the warehouse, which keeps the name of a folder

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise CorpusError(f"recordings.layout is {self.layout!r}; it may be {', '.join(LAYOUTS)}")
        if self.layout == "librilight" and self.subset not in (None, *SUBSETS):
            raise CorpusError(f"recordings.subset is {self.subset!r}; for LibriLight it may be {', '.join(SUBSETS)}")
        if self.layout in ("sample", "folder") and self.subset is not None:
            raise CorpusError(f"recordings.subset is {self.subset!r}, but the layout {self.layout} has no subsets")
        in_range("recordings.max_shard_hours", self.max_shard_hours, _LEAST_HOURS)
        in_range("recordings.min_seconds", self.min_seconds, 0)
        if self.max_hours is not None and not self.max_hours > 0:
            raise CorpusError(f"recordings.max_hours is {self.max_hours:g}; it must be above 0, or none")

    def provide(self) -> None:
        """Makes the sample corpus where it is asked for and not there yet; other corpora are left as they are."""
        if self.layout == "sample":
            if corpus_copy.objects_of(self.audio):
                raise CorpusError(f"the sample corpus is unpacked into a folder, and not into {self._where}")
            sample_corpus.make(self.audio)
        if self.layout == "folder" and self.root is not None and tree_of(self.audio, whole=False).has_folder(""):
            settle(self.root, self.audio)

    def shards(self) -> dict[str, SourceFiles]:
        """The shards, and the files that each is made from: found by names, sizes and times, none is opened.

        With `max_hours`, whole shards are taken in the order of a hash of their names until the hours guessed from
        bytes reach it: at least one, and the shard that reaches it is the last. Those left out are not wanted.

        Raises:
            CorpusError: the folder is not there, is laid out otherwise, or holds no audio.
        """
        if self.layout == "sample" and not sample_corpus.is_made(self.audio):
            return {f"{sample_corpus.SUBSET}-{speaker}": {} for speaker in sample_corpus.readers()}
        found = portions(self._layout(), tree_of(self.audio, whole=True), self.max_shard_hours)
        names = (path for portion in found.values() for path in portion.files())
        if not any(is_audio(path) or path.endswith(".json") for path in names):  # a LibriLight chapter's, in its place
            raise CorpusError(f"{self._where} holds no audio in the layout {self.layout}")
        shards = {shard: found.pop(shard).files() for shard in sorted(found)}  # popped, so that it is not held twice
        return shards if self.max_hours is None else first_hours(shards, self.max_hours)

    def items(self, shard: str) -> list[str]:
        """The files of one shard that would be opened."""
        return [
            entry.path for entry in self._entries(shard) if not entry.missing and printable(entry.path) == entry.path
        ]

    def __call__(self, shard: str, without: Mapping[str, str] | None = None) -> pa.Table:
        """The rows of one shard, one for each of its audio files, sorted by `recording_id`.

        Only the folders of the shard are listed, and the names of those beside them. The files in `without` are not
        opened, but dropped as poison, each with its detail.

        Raises:
            CorpusError: the corpus has no such shard (any more).
            OSError: a file could not be read this time; the shard fails, and no recording is dropped for it.
        """
        entries, faults = self._entries(shard), Faults()
        ids = _ids([entry.path for entry in entries])
        corpus = corpus_name(self.root, self.audio) if self.layout == "folder" else self.layout
        rows = [self._row(entry, corpus, ids[entry.path], (without or {}).get(entry.path), faults) for entry in entries]
        faults.check(len(rows))
        rows.sort(key=lambda row: str(row["recording_id"]))
        _drop_duplicates(rows)
        return pa.Table.from_pylist(rows, schema=RECORDINGS.schema)

    def _entries(self, shard: str) -> list[Entry]:
        layout, tree = self._layout(), tree_of(self.audio, whole=False)
        portion = portions(layout, tree, self.max_shard_hours, only=shard).get(shard)
        if portion is None:
            raise CorpusError(f"{self._where} holds no files for the shard {shard}")
        corpus_copy.files_here({self.audio / path: stat for path, stat in portion.files().items()})
        return [entry for entry in layout.entries(tree, portion) if portion.holds(entry.path)]

    @property
    def _where(self) -> str:
        """The corpus as a person says it."""
        return corpus_copy.said(self.audio)

    def _layout(self) -> Layout:
        match self.layout:
            case "librilight" | "sample":
                return LibriLight(self.subset)
            case "librispeech":
                return LibriSpeech(self.subset)
            case _:
                return Folder()

    def _row(self, entry: Entry, corpus: str, recording_id: str, poison: str | None, faults: Faults) -> Row:
        known = {name: value for name, value in asdict(entry).items() if name in RECORDINGS.schema.names}
        row = known | {
            "recording_id": recording_id,
            "corpus": corpus,
            "audio_path": entry.path,
            "detail": entry.note,
        }
        if entry.missing:
            row |= {"dropped": "no_audio"}
        elif poison is not None:
            row |= {"dropped": POISON, "detail": poison}
        else:
            try:
                row |= self._heard(entry)
            except Exception as error:
                row |= faults.refusal(error)
        if row.get("dropped") == "unreadable":
            must_be_there(self.audio)
        return {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}

    def _heard(self, entry: Entry) -> Row:
        """What decoding shows: the columns that it fills, and whether the recording is kept."""
        path = self.audio / entry.path
        if printable(entry.path) != entry.path:
            return {"dropped": "unreadable", "detail": "its name is no UTF-8, so no table can hold it; rename the file"}
        try:
            path = corpus_copy.file_here(path)
            if path.stat().st_size == 0:
                return {"dropped": "empty", "detail": "there is not one byte in it"}
            digest = sha256(path)
        except OSError as error:
            if not will_stay(error):
                raise
            return {"dropped": "unreadable", "detail": f"{path.name} cannot be opened: {error.strerror}"}
        try:
            found = examine(path, md5=self.check_md5)
            stated = flac.stated_md5(path) if found.md5 else None
        except Unreadable as error:
            return {"sha256": digest, "dropped": "unreadable", "detail": str(error)}
        refusal, why = self._refusal(found, stated)
        unchecked = "its header states no md5 to check its samples by" if found.md5 and not stated else None
        return {
            "sha256": digest,
            "audio_digest": found.digest,
            "sample_rate": found.sample_rate,
            "num_channels": found.num_channels,
            "num_samples": found.num_samples,
            "seconds": found.seconds,
            "peak_db": _decibels(found.peak),
            "loudness_db": _decibels(found.loudness),
            "num_clipped": found.num_clipped,
            "channel_correlation": found.channel_correlation,
            "speech": _samples(entry.voice_activity, found),
            "dropped": refusal,
            "detail": why
            or "; ".join(filter(None, (entry.note, _end_beyond(entry, found), unchecked, found.doubt)))
            or None,
        }

    def _refusal(self, found: Examination, stated_md5: str | None) -> tuple[str | None, str | None]:
        """The reason to drop a decoded file, and its detail; None twice keeps it."""
        if found.num_samples == 0:
            return "empty", "there is not one sample in it"
        if stated_md5 and stated_md5 != found.md5:
            return "damaged", f"its header states the md5 {stated_md5}, but its samples have {found.md5}"
        if found.num_not_finite:
            return "not_finite", f"{found.num_not_finite:,} samples are NaN or infinite"
        if found.seconds < self.min_seconds:
            return "too_short", f"{found.seconds:.3f} s, under {self.min_seconds:g} s"
        if found.peak < _SILENT:
            return (
                "silent",
                f"its loudest sample is {found.peak:.1e} of full scale" if found.peak else "all samples are zero",
            )
        return found.fault or (None, None)


def _ids(paths: list[str]) -> dict[str, str]:
    """The id of each file: its path without suffix, or its whole path where that would not be its alone."""
    ids = {path: str(PurePosixPath(path).with_suffix("")) for path in paths}
    while shared := {name for name, times in Counter(ids.values()).items() if times > 1}:
        ids |= {path: path for path, name in ids.items() if name in shared}
    return ids


def _drop_duplicates(rows: list[Row]) -> None:
    """Drops each kept row that sounds exactly like an earlier kept one."""
    first: dict[str, str] = {}
    for row in rows:
        if row["dropped"] is None:
            same = first.setdefault(row["audio_digest"], row["recording_id"])
            if same != row["recording_id"]:
                row |= {"dropped": "duplicate", "detail": f"the same audio as {same}, which is kept"}


def _decibels(magnitude: float) -> float | None:
    return 20 * math.log10(magnitude) if 0 < magnitude < math.inf else None


def _samples(seconds: tuple[tuple[float, float], ...] | None, found: Examination) -> list[dict[str, int]] | None:
    """Voiced stretches in samples: within the recording, in order, those that touch joined."""
    if seconds is None:
        return None
    stretches: list[dict[str, int]] = []
    for start, end in sorted(seconds):
        first, last = (round(min(max(0.0, time), found.seconds) * found.sample_rate) for time in (start, end))
        if last <= first:
            continue
        if stretches and first <= stretches[-1]["end_sample"]:
            stretches[-1]["end_sample"] = max(last, stretches[-1]["end_sample"])
        else:
            stretches.append({"start_sample": first, "end_sample": last})
    return stretches


def _end_beyond(entry: Entry, found: Examination) -> str | None:
    """A word on a voice that the corpus hears after the file has ended."""
    end = max((end for _, end in entry.voice_activity or ()), default=0.0)
    if end <= found.seconds + _LENGTHS_AGREE:
        return None
    return f"the corpus hears speech to {end:.2f} s, but the file ends at {found.seconds:.2f} s"
