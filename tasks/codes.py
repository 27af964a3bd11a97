"""Audio into EnCodec codes: eight codebooks, 75 frames a second.

Batching is only a matter of time. Utterances of like length are encoded together, and the
codes of each are those it would have alone, so neither the batch nor the memory of a device is a setting. A small
share of them, the same ones always, is decoded again, so that a broken codec shows in the table it has made; and of
two of each shard, a few seconds are encoded on a CPU in fp32, so that it shows how near another device comes to it.
Source: Defossez et al. 2022 (arXiv:2210.13438); the codec itself is `model/codec/encodec.py`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from tasks.audio.fidelity import is_checked, place_of, si_sdr_db
from warehouse.errors import Mistake
from warehouse.faults import Faults, together_or_alone
from warehouse.stage import Resources, in_range
from warehouse.tables import CODEBOOK_SIZE, CODEBOOKS, CODES, FRAME_RATE, HOP, RECORDINGS, SAMPLE_RATE, UTTERANCES

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

    from model.codec.encodec import Codec

Waveform = NDArray[np.float32]  # [num_samples], mono, at 24 kHz
Row = dict[str, Any]
A = TypeVar("A")
B = TypeVar("B")

PRECISIONS = ("fp32", "bf16")

_AHEAD = 2  # batches that are read while one is encoded
_CHECKED = 30 * FRAME_RATE  # frames of an utterance that are decoded again, at most
_COMPARED = 2  # utterances of a shard whose codes are compared with a CPU's
_COMPARED_FRAMES = 5 * FRAME_RATE  # of each of them, at most


@dataclass(frozen=True, kw_only=True)
class Codes:
    """The codes of every kept utterance, in the utterances' order."""

    makes, takes = CODES, (UTTERANCES, RECORDINGS)
    needs, version, gathers = Resources(gpus=0.25), 3, False

    model: str = "embedded"  # the EnCodec: a known name, `embedded` or a file
    precision: str = "fp32"  # of its convolutions and its LSTM; or bf16, which makes other codes
    check_share: float = 0.01  # of utterances, whose codes are decoded again; with 0, nothing is compared either
    audio: Path = field(default=Path("audio"), compare=False)  # where the corpus lies
    device: str = field(default="cpu", compare=False)  # as torch names it
    batch_seconds: float = field(default=240.0, compare=False)  # of audio, padding included, encoded together

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise Mistake(f"codes.precision is {self.precision!r}; it may be {' or '.join(PRECISIONS)}")
        in_range("codes.check_share", self.check_share, 0, 1)
        in_range("codes.batch_seconds", self.batch_seconds, 0, above=True)

    def identity(self) -> dict[str, object]:
        """The weights' digest in place of their name."""
        from model.codec.weights import identity

        return {"model": identity(self.model)}

    def __call__(self, utterances: "Dataset", recordings: "Dataset") -> pa.Table:
        """One row for each kept utterance; one whose audio cannot be read costs itself alone.

        Raises:
            CodecError: the weights cannot be had, or are no EnCodec.
            OSError: a file, or the whole corpus, could not be read this time; the shard fails, nothing is dropped.
        """
        kept = utterances.to_table(filter=pc.field("dropped").is_null()).to_pylist()
        paths = recordings.to_table(columns=["recording_id", "audio_path"]).to_pylist()
        path_of = {row["recording_id"]: row["audio_path"] for row in paths}
        rows: list[Row] = [{"utterance_id": utterance["utterance_id"]} for utterance in kept]
        encoder, faults = self._encoder(self.precision), Faults()
        compared = self._compared(row["utterance_id"] for row in rows)

        def read(batch: list[int]) -> dict[int, Waveform]:
            """The waveforms of a batch by their place; a row without one says why."""
            waveforms = {}
            for i in batch:
                try:
                    waveform = _read(self.audio, path_of[kept[i]["recording_id"]], kept[i])
                except Exception as error:
                    rows[i] |= faults.refusal(error)
                    continue
                if isinstance(waveform, str):
                    rows[i] |= {"dropped": "unreadable", "detail": waveform}
                else:
                    waveforms[i] = waveform
            return waveforms

        seconds = [utterance["seconds"] for utterance in kept]
        batches = list(in_batches(seconds, self.batch_seconds))
        sizes = [len(batch) * seconds[batch[-1]] for batch in batches]
        for waveforms in _ahead(read, batches, sizes, _AHEAD * self.batch_seconds):
            encoded = together_or_alone(encoder.encode, list(waveforms.values()))
            for i, codes in zip(waveforms, encoded, strict=True):
                name = rows[i]["utterance_id"]
                rows[i] |= self._row(name, waveforms[i], codes, faults, compared=name in compared)
            waveforms.clear()  # before the next ones are read
            faults.check(len(kept))
        return pa.Table.from_pylist(rows, schema=CODES.schema)

    def _row(
        self,
        utterance_id: str,
        waveform: Waveform,
        codes: NDArray[np.uint16] | Exception,
        faults: Faults,
        *,
        compared: bool,
    ) -> Row:
        """An utterance's codes, and how good they are where it is asked; or why there are none."""
        try:
            if isinstance(codes, Exception):
                raise codes
            row = _columns(codes, len(waveform))
            if is_checked(utterance_id, self.check_share):
                row["si_sdr_db"] = self._kept(waveform, codes)
            if compared:
                row["fp32_agreement"] = self._agreement(waveform, codes)
            return row
        except Exception as error:
            return faults.refusal(error)

    def _kept(self, waveform: Waveform, codes: NDArray[np.uint16]) -> float | None:
        """What the codes of an utterance's first 30 s have kept; what follows changes neither them nor the speech."""
        waveform, codes = waveform[: _CHECKED * HOP], codes[:, :_CHECKED]
        return si_sdr_db(self._encoder("fp32").decode(codes)[: len(waveform)], waveform)

    def _agreement(self, waveform: Waveform, codes: NDArray[np.uint16]) -> float:
        """The share of an utterance's first codes that a CPU gives in fp32, too."""
        truth = self._encoder("fp32", device="cpu").encode([waveform[: _COMPARED_FRAMES * HOP]])[0]
        return float(np.mean(codes[:, :_COMPARED_FRAMES] == truth))

    def _compared(self, utterance_ids: Iterable[str]) -> set[str]:
        """The utterances whose codes are compared with a CPU's: none where a CPU makes them in fp32."""
        if not self.check_share or (self.device == "cpu" and self.precision == "fp32"):
            return set()
        return set(sorted(utterance_ids, key=place_of)[:_COMPARED])

    def _encoder(self, precision: str, device: str | None = None) -> "Encoder":
        return _encoder(str(self.identity()["model"]), self.model, device or self.device, precision)


def in_batches(seconds: Sequence[float], at_most: float) -> Iterator[list[int]]:
    """Places of utterances that are encoded together, the shortest first.

    Args:
        seconds: of each utterance.
        at_most: seconds of a batch, with each utterance padded to its longest; one longer than that goes alone.
    """
    batch: list[int] = []
    for i in sorted(range(len(seconds)), key=seconds.__getitem__):
        if batch and (len(batch) + 1) * seconds[i] > at_most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


class Encoder:
    """A codec, and how many samples it takes at once, which is found out by running out of memory."""

    def __init__(self, codec: "Codec") -> None:
        self.codec = codec
        self.most_samples: float = float("inf")  # of a batch, padding included

    def encode(self, waveforms: list[Waveform]) -> list[NDArray[np.uint16]]:
        """Codes `[Q, T]` of each waveform: of all at once where memory allows, else of one half and the other.

        Raises:
            torch.OutOfMemoryError: there is no room for one waveform alone.
        """
        if not waveforms:
            return []
        samples = len(waveforms) * max(map(len, waveforms))
        if len(waveforms) == 1 or samples <= self.most_samples:
            codes = self._encode(waveforms)
            if codes is not None:
                return codes
            self.most_samples = samples / 2
        half = len(waveforms) // 2
        return self.encode(waveforms[:half]) + self.encode(waveforms[half:])

    def decode(self, codes: NDArray[np.uint16]) -> Waveform:
        """The waveform `[320 T]` of codes `[Q, T]`."""
        import torch

        return self.codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0, 0].cpu().numpy()

    def _encode(self, waveforms: list[Waveform]) -> list[NDArray[np.uint16]] | None:
        """Codes of all waveforms, or None where there is no room for several."""
        import torch

        try:
            codes = self.codec.encode([torch.from_numpy(waveform) for waveform in waveforms]).cpu().numpy()
        except torch.OutOfMemoryError:
            if len(waveforms) == 1:
                raise
            return None
        frames = [self.codec.num_frames(len(waveform)) for waveform in waveforms]
        return [row[:, :num_frames].astype(np.uint16) for row, num_frames in zip(codes, frames, strict=True)]


@cache
def _encoder(identity: str, model: str, device: str, precision: str) -> Encoder:
    """Kept warm for the next shard of this process; weights that have changed have another identity."""
    from model.codec.encodec import load_codec

    return Encoder(load_codec(model, device=device, precision=precision))


def _read(corpus: Path, path: str, utterance: Row) -> Waveform | str:
    """The utterance's samples as the codec hears them, or why there are none."""
    from tasks.audio.audio_files import Unreadable, must_be_there, read

    try:
        waveform = read(corpus / path, SAMPLE_RATE, utterance["start_sample"], utterance["end_sample"])
    except Unreadable as error:
        must_be_there(corpus)
        return str(error)
    return waveform if len(waveform) else "there are no samples"


def _columns(codes: NDArray[np.uint16], num_samples: int) -> Row:
    """Codes `[Q, T]` as a row has them, and as many of them as there have to be."""
    num_frames = -(-num_samples // HOP)
    assert codes.shape == (len(CODEBOOKS), num_frames), f"{codes.shape} codes for {num_samples} samples"
    assert codes.max(initial=0) < CODEBOOK_SIZE
    return {"num_frames": num_frames} | dict(zip(CODEBOOKS, codes, strict=True))


def _ahead(work: Callable[[A], B], items: Iterable[A], sizes: Iterable[float], room: float) -> Iterator[B]:
    """Each result in order, the next ones being worked on in a thread while it is used, as far as there is room.

    Args:
        work: what is done to an item.
        items: in their order.
        sizes: of the items' results.
        room: the size of all results that wait to be used; one that is larger is worked on when none waits.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[Future[B], float]] = deque()
        for item, size in zip(items, sizes, strict=True):
            while waiting and sum(taken for _, taken in waiting) + size > room:
                yield waiting.popleft()[0].result()
            waiting.append((pool.submit(work, item), size))
        while waiting:
            yield waiting.popleft()[0].result()
