"""Audio files: a stretch of one as samples, and what a whole one holds.

A header is a claim. Real files say 2^63 - 1 samples or 1,092,676 Hz, so nothing here
is allocated from a header and a file's length is what decodes; files that were joined to one are read whole, and one
that is cut off is refused. libsndfile is the only decoder, on purpose: the same file gives the same samples on every
machine, whatever else is installed there.
Source: libsndfile 1.2 (WAV, FLAC, MP3, Ogg, AIFF, SPHERE and more) and soxr.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tasks.audio import flac
from tasks.audio.containers import Part, Window, missing_bytes, parts
from warehouse.corpus_copy import file_here, lies_in_a_copy, objects_of

_BLOCK = 1 << 18  # values decoded at once, all channels together: 1 MiB of float32
_OFF_SCALE = 16.0  # of full scale: a peak that no loud recording has
_CANCELLED = 0.01  # of the power that the sum of unrelated channels has
_HEARD = 1e-3  # of the power of the loudest channel: one with less is silent beside it
_ALIKE = 0.5  # correlation: channels below it may be several people, each with a microphone
_RATES = range(4_000, 400_000)  # Hz, of anything that was ever recorded as speech
_HEADER = 128  # bytes that a file may lack: some programs count their own header as samples
_UNKNOWN = 2**63 - 1  # SF_COUNT_MAX, libsndfile's word for a length that the header leaves open
_MP3_LEAD = 32 * 1152  # samples decoded before a stretch: a frame borrows bits from up to 21 silent ones before it
_MP3_SLACK = 2 * 1152  # samples that a file may lack of those its header counts: programs differ by a frame
_FULL_SCALE = 1 - 2.0**-15  # the largest positive sample of 16 bits
_OF_THE_FILE = frozenset((ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG))
_EXACT = ("FLAC", "WAV", "WAVEX", "AIFF")  # formats whose header counts every sample, where it counts at all


class Unreadable(ValueError):
    """A file that is no audio, or not whole; the message is one sentence about it."""


@dataclass(frozen=True)
class Examination:
    """What decoding a whole file has shown."""

    sample_rate: int  # Hz
    num_channels: int
    num_samples: int  # per channel, counted by decoding
    num_not_finite: int  # samples that are NaN or infinite
    num_clipped: int  # finite samples at full scale or above
    peak: float  # largest magnitude of a finite sample, in any channel; 1 is full scale
    loudness: float  # root mean square of all finite samples
    channel_correlation: float | None  # the least of two channels that are heard, -1 to 1; None where there are no two
    mixing: float  # power of the sum of the channels over the sum of their powers: 1 if unrelated, 0 if they cancel
    doubt: str | None  # what a person should know of it, though it can be read
    digest: str  # of rate, channels and samples, 32 hex digits: equal for a WAV and the FLAC made of it
    md5: str | None  # of the samples as FLAC counts it, in hexadecimal; None unless asked for, or where it is no FLAC

    @property
    def seconds(self) -> float:
        """How long the file lasts."""
        return self.num_samples / self.sample_rate

    @property
    def fault(self) -> tuple[str, str] | None:
        """Why its samples are not the sound that was recorded, as a reason and a sentence; None where they are."""
        if self.peak >= _OFF_SCALE:
            scale = f"its loudest sample is {self.peak:,.0f} times full scale"
            return "wrong_scale", f"{scale}: whole numbers were written as floating point, undivided"
        if self.mixing < _CANCELLED:
            return (
                "out_of_phase",
                f"its channels are of opposite phase, so their mean is silent: {self.mixing:.0e} is left",
            )
        return None


def read(path: Path, rate: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
    """A stretch of a file, mono, float32 `[num_samples]` at `rate` Hz.

    Channels are averaged. Only this stretch is decoded and resampled (soxr, its high quality), so the
    same stretch always gives the same samples, and a chapter of an hour costs its stretch alone.

    Args:
        path: the audio file.
        rate: in Hz, what comes back.
        start: first sample, counted in the file's own rate.
        stop: one past the last sample, in the file's own rate; None reads to the end.

    Raises:
        Unreadable: the file is missing, no audio, cut off within the stretch, or not finite there.
        OSError: it could not be read this time.
    """
    with _opened(path) as audio:
        mono = [block.mean(axis=1, dtype=np.float32) for block in audio.blocks(start, stop)]
        own_rate = audio.sample_rate
    speech = np.concatenate([np.zeros(0, np.float32), *mono])
    if stop is not None and len(speech) < stop - start:
        raise Unreadable(f"{path.name} ends at sample {start + len(speech):,}, before sample {stop:,}")
    if not np.isfinite(speech).all():
        raise Unreadable(f"{path.name} holds samples that are not finite numbers")
    if own_rate == rate or len(speech) == 0:
        return speech
    return np.asarray(soxr.resample(speech, own_rate, rate), np.float32)


def examine(path: Path, md5: bool = False) -> Examination:
    """What a file holds, found by decoding all of it once, in bounded memory.

    Args:
        path: the audio file.
        md5: whether to count a FLAC file's samples into the md5 that its header should state.

    Raises:
        Unreadable: the file is missing, no audio, or ends before its header says it does.
        OSError: it could not be read this time.
    """
    num_samples = num_not_finite = num_clipped = 0
    peak = power = 0.0
    with _opened(path) as audio:
        bits = flac.BITS.get(audio.subtype) if md5 and audio.format == "FLAC" else None
        heard = hashlib.sha256(f"{audio.sample_rate} {audio.num_channels}".encode())
        coded = hashlib.md5(usedforsecurity=False)
        sums, products = np.zeros(audio.num_channels), np.zeros((audio.num_channels, audio.num_channels))
        for block in audio.blocks():
            heard.update(block.astype("<f4", copy=False).data)
            if bits is not None:
                coded.update(flac.coded(block, bits))
            num_samples += len(block)
            num_not_finite += _silence_not_finite(block)
            if audio.num_channels > 1:
                exact = block.astype(np.float64)
                sums += exact.sum(axis=0)
                products += exact.T @ exact
            np.abs(block, out=block)
            num_clipped += int(np.count_nonzero(block >= _FULL_SCALE))
            peak = max(peak, float(block.max(initial=0.0)))
            with np.errstate(over="ignore"):
                power += float(np.square(block, out=block).sum(dtype=np.float64))
        alike = _correlation(products - np.outer(sums, sums) / max(1, num_samples))
        trace = float(np.trace(products))
        num_finite = num_samples * audio.num_channels - num_not_finite
        return Examination(
            sample_rate=audio.sample_rate,
            num_channels=audio.num_channels,
            num_samples=num_samples,
            num_not_finite=num_not_finite,
            num_clipped=num_clipped,
            peak=peak,
            loudness=math.sqrt(power / max(1, num_finite)),
            channel_correlation=alike,
            mixing=float(products.sum()) / trace if trace else 1.0,
            doubt="; ".join(filter(None, (audio.doubt, _several(alike)))) or None,
            digest=heard.hexdigest()[:32],
            md5=None if bits is None else coded.hexdigest(),
        )


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def will_stay(error: OSError) -> bool:
    """Whether a file that cannot be opened says something of itself: it is missing, a folder, or not ours to read.

    Any other error is the disk's, the network's or this process's (a stale handle, too many open files): another
    attempt may go well, so nothing is known of the file, and no row may be dropped for it. Nor is it of a file that was
    fetched and has gone from here.
    """
    return error.errno in _OF_THE_FILE and not lies_in_a_copy(error.filename)


def must_be_there(corpus: Path) -> None:
    """Nothing, where a corpus is there: asked before a row is dropped for a file that cannot be read.

    A corpus that is gone as a whole, such as a disk, says nothing of a file. What a disk that is not mounted leaves
    behind is an empty folder, so that is gone too.

    Raises:
        FileNotFoundError: it is gone.
        OSError: its folder cannot be listed this time.
    """
    if objects := objects_of(corpus):
        if any(objects.children("")):
            return
        raise FileNotFoundError(f"there is nothing in {objects.url} any more")
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(corpus) as found:
        if next(found, None) is not None:
            return
    raise FileNotFoundError(f"there is no folder {corpus} any more, or nothing in it")


class _Decoder:
    """One part of an open file, as libsndfile sees it."""

    def __init__(self, name: str, part: Part, file: soundfile.SoundFile, is_last: bool) -> None:
        self.name, self._part, self._file = name, part, file
        self._is_exact = part.counted or not is_last or file.format in _EXACT
        self._slack = _MP3_SLACK if part.counted and is_last else 0
        self._can_seek = bool(file.seekable())
        # soundfile seeks to where it already is after each block of a seekable file, and libsndfile's MP3
        # decoder then forgets the bits it had saved up: blocks come out wrong by up to 0.09.
        file.seekable = lambda: False
        self.kind = (int(file.samplerate), int(file.channels))
        self.format, self.subtype = str(file.format), str(file.subtype)
        self.num_samples = int(file.frames)  # as the header says

    def blocks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Blocks `[num_samples, num_channels]` of the stretch from `start` to `stop` or to the end.

        Raises:
            Unreadable: it breaks off, or ends before its header says it does.
        """
        at = self._go_before(start)
        while stop is None or at < stop:
            block = self._read(at, stop)
            if len(block) == 0:
                break
            wanted = block[max(0, start - at) :]
            at += len(block)
            if len(wanted):
                yield wanted
        if stop is None:
            self._must_be_whole(at)

    def _go_before(self, start: int) -> int:
        """Goes to a sample, or as far before it as decoding has to begin, and says where that is."""
        lead = _MP3_LEAD if self.subtype.startswith("MPEG_LAYER") else 0
        if start <= lead or not self._can_seek:
            return 0
        try:
            self._file.seek(start - lead)
        except soundfile.SoundFileError as error:
            if start > self.num_samples:
                raise Unreadable(f"{self.name} has no sample {start:,}: {_reason(error)}") from error
            return 0  # a codec that only goes forwards
        return start - lead

    def _read(self, start: int, stop: int | None) -> NDArray[np.float32]:
        size = max(1, _BLOCK // self.kind[1])
        end = start + size if stop is None else min(start + size, stop)
        try:
            return np.asarray(self._file.read(end - start, dtype="float32", always_2d=True))
        except soundfile.SoundFileError as error:
            last = self.num_samples if start < self.num_samples < end else end
            raise Unreadable(
                f"{self.name} breaks off between samples {start:,} and {last:,}: {_reason(error)}"
            ) from error

    def _must_be_whole(self, num_samples: int) -> None:
        """Nothing, where its end is the one that its header promises."""
        says = self._part.num_samples or (self.num_samples if self._is_exact and self.num_samples < _UNKNOWN else 0)
        if num_samples < says - self._slack:
            raise Unreadable(f"{self.name} is cut off: {num_samples:,} of the {says:,} samples it says it has")
        if (missing := missing_bytes(self._file.extra_info)) > _HEADER:
            raise Unreadable(f"{self.name} is cut off: after {num_samples:,} samples it lacks {missing:,} bytes")


class _Audio:
    """An open file: one part as a rule, several where files were joined byte by byte."""

    def __init__(self, path: Path, raw: BinaryIO, found: tuple[Part, ...], first: _Decoder) -> None:
        self._path, self._raw, self._parts, self._first = path, raw, found, first
        self.sample_rate, self.num_channels = first.kind
        self.format, self.subtype = first.format, first.subtype
        unended = any(part.unended for part in found)
        self.doubt = "its Ogg stream has no last page, so its end may be missing" if unended else None

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Blocks `[num_samples, num_channels]` of the stretch from `start` to `stop` or to the end, over all parts."""
        at = 0  # where a part begins
        for number, decoder in self._decoders():
            end = at + decoder.num_samples
            is_last = number + 1 == len(self._parts)
            if is_last or start < end:
                within = stop is not None and (is_last or stop <= end)
                yield from decoder.blocks(max(0, start - at), stop - at if within and stop is not None else None)
                if within:
                    return
            at = end

    def _decoders(self) -> Iterator[tuple[int, _Decoder]]:
        yield 0, self._first
        for number in range(1, len(self._parts)):
            with _decoder(self._path, self._raw, self._parts, number) as decoder:
                if decoder.kind != self._first.kind:
                    kinds = " and ".join(f"{rate:,} Hz in {num}" for rate, num in (self._first.kind, decoder.kind))
                    raise Unreadable(f"{self._path.name} was joined of files of different kinds: {kinds} channels")
                yield number, decoder


@contextmanager
def _opened(path: Path) -> Iterator[_Audio]:
    """A file as libsndfile sees it, judged by its content: handed over without its name and suffix."""
    try:
        path = file_here(path)
        raw = path.open("rb")
    except OSError as error:
        if not will_stay(error):
            raise
        raise Unreadable(f"{path.name} cannot be opened: {error.strerror}") from error
    with raw:
        found = parts(path)
        with _decoder(path, raw, found, 0) as first:
            yield _Audio(path, raw, found, first)


@contextmanager
def _decoder(path: Path, raw: BinaryIO, found: tuple[Part, ...], number: int) -> Iterator[_Decoder]:
    """One part of an open file."""
    part = found[number]
    name = path.name if len(found) == 1 else f"part {number + 1} of {len(found)} of {path.name}"
    plain = len(found) == 1 and not part.head
    try:
        file = soundfile.SoundFile(raw.fileno() if plain else Window(raw, part), closefd=False)
    except soundfile.SoundFileError as error:
        raise Unreadable(f"{name} is {_looks_like(path)}: {_reason(error)}") from error
    with file:
        if file.samplerate not in _RATES:
            raise Unreadable(f"{name} says it has {file.samplerate:,} Hz, which no recording of speech has")
        yield _Decoder(name, part, file, number + 1 == len(found))


def _correlation(covariance: NDArray[np.float64]) -> float | None:
    """The least correlation of two channels that are heard, by the covariance `[C, C]` of all; None without two."""
    power = np.diag(covariance)
    heard = np.flatnonzero(power > _HEARD * power.max(initial=0))
    if len(heard) < 2:
        return None
    deviation = np.sqrt(power[heard])
    return float((covariance[np.ix_(heard, heard)] / np.outer(deviation, deviation)).min())


def _several(correlation: float | None) -> str | None:
    """A word on channels that are read as one though each holds something else."""
    if correlation is None or correlation >= _ALIKE:
        return None
    return f"its channels differ (correlation {correlation:.2f}), so their mean may be of several people at once"


def _silence_not_finite(block: NDArray[np.float32]) -> int:
    """Puts zero where a sample is NaN or infinite, and says how many were."""
    finite = np.isfinite(block)
    if finite.all():
        return 0
    block[~finite] = 0
    return int(finite.size - np.count_nonzero(finite))


def _reason(error: soundfile.SoundFileError) -> str:
    """libsndfile's own words, without the file that soundfile puts before them."""
    words = str(getattr(error, "error_string", error)).strip()
    return words.removeprefix("Error : ").rstrip(".")


_LOOKS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the audio itself"),
    (b"RIFF", "a damaged WAV file"),
    (b"fLaC", "a damaged FLAC file"),
    (b"OggS", "an Ogg file that libsndfile cannot decode"),
    (b"ID3", "a damaged file that starts with an ID3 tag"),
    (b"\x1a\x45\xdf\xa3", "a WebM or Matroska file, which libsndfile does not decode"),
    (b"#!AMR", "an AMR file, which libsndfile does not decode"),
    (b"\x30\x26\xb2\x75", "a WMA file, which libsndfile does not decode"),
    (b"\xff\xf1", "an AAC file, which libsndfile does not decode"),
    (b"\xff\xf9", "an AAC file, which libsndfile does not decode"),
    (b"\xd0\xcf\x11\xe0", "a file of Windows or of its Office, not audio"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"%PDF", "a PDF document"),
    (b"PK", "a ZIP archive"),
)


def _looks_like(path: Path) -> str:
    """What a file that libsndfile refuses seems to be, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        return "an MPEG-4 file, which libsndfile does not decode"
    for magic, what in _LOOKS:
        if head.startswith(magic):
            return what
    try:
        text = head.decode().isprintable() or b"\n" in head
    except UnicodeDecodeError:
        text = False
    return "text, not audio" if text else "no audio that libsndfile knows"
