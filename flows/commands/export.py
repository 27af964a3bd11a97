"""`valle export`: the dataset as lhotse's manifests: recordings, supervisions, and cuts that carry their codes.

A cut lasts as long as its frames, T / 75 seconds, up to 13 ms longer than the utterance in it,
which its supervision bounds. EnCodec rounds up to a whole frame and lhotse rounds a cut to the nearest one, so a cut
of the utterance's own length would lose its last frame half of the time.

`cut.load_codes()` is `[T, Q]`, because lhotse slices the first dimension. Codes are NumPy files, one for each
utterance in a folder for each shard: lhotse's only store on disk that keeps integers exactly and needs no package
beside NumPy.

A recording of several channels, and one that lhotse would read otherwise than it was coded (files that were joined,
codecs that cannot seek), gets a copy of what was coded in `audio/`.
The split is `cut.custom["split"]`: `cut.split` is a method of lhotse.
Source: lhotse 1.33, `lhotse/array.py` and `lhotse/features/io.py`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from warehouse.catalogue import Catalogue
from warehouse.corpus_copy import corpus_at, file_here, objects_of
from warehouse.errors import Mistake
from warehouse.reader import Reader, scan
from warehouse.tables import CODEBOOKS, FRAME_RATE
from warehouse.working_copy import said as said_of

MANIFESTS = ("recordings", "supervisions", "cuts")

Row = dict[str, Any]

_COPIED = 600  # seconds copied at once
_TABLES = ("examples", "utterances", "transcripts", "phones", "codes", "recordings")
CODES_OF = ", ".join(f"c.{name}" for name in CODEBOOKS)
JOINED = f"""
    from {scan(1)} as e
    join {scan(2)} as u using (utterance_id)
    join {scan(3)} as t using (utterance_id)
    join {scan(4)} as p using (utterance_id)
    join {scan(5)} as c using (utterance_id)
    join {scan(6)} as r using (recording_id)
    where e.dropped is null
    order by r.recording_id, u.start_sample
"""
_EXAMPLES = f"""
    select e.utterance_id, e.split, u.speaker_id, u.start_sample, u.end_sample, t.text, t.language, p.phones,
        r.recording_id, r.audio_path, r.sample_rate, r.num_samples, {CODES_OF} {JOINED}
"""


def export_lhotse(root: Path, folder: Path, audio: str | None = None) -> str:
    """Write `recordings`, `supervisions` and `cuts.jsonl.gz` and the codes of every kept example; say how many.

    One shard is in memory at a time. Each manifest appears when all are whole, the cuts last. Their paths are absolute.

    Args:
        audio: where the corpus lies, if it is no longer where it lay.

    Raises:
        Mistake: no example is kept, the last run makes none, or the audio is not there.
    """
    from lhotse import CutSet, RecordingSet, SupervisionSet

    corpus = corpus_at(audio or Catalogue(root).last_run().options["audio"])
    folder = folder.absolute()
    counts = dict.fromkeys(MANIFESTS, 0)
    unfinished = {name: folder / f".{name}.jsonl.gz" for name in MANIFESTS}
    with Reader(root) as reader, ExitStack() as stack:
        shards = list(shards_of(reader))
        folder.mkdir(parents=True, exist_ok=True)
        writers = {
            name: stack.enter_context(kind.open_writer(unfinished[name]))
            for name, kind in zip(MANIFESTS, (RecordingSet, SupervisionSet, CutSet), strict=True)
        }
        for shard, files in shards:
            for name, item in _manifests(reader, files, corpus, folder, shard):
                writers[name].write(item)
                counts[name] += 1
    for name in MANIFESTS:
        unfinished[name].replace(folder / f"{name}.jsonl.gz")
    return f"{folder}: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def shards_of(reader: Reader) -> Iterator[tuple[str, list[str]]]:
    """Every shard with a kept example, and its files in the order of the query's."""
    made = reader.sql(
        "select shard, list(table_name) as tables, "
        "sum(num_rows - num_dropped) filter (table_name = 'examples') as kept "
        "from wanted join artifacts using (table_name, shard, fingerprint) "
        "where state = 'made' and table_name in (select unnest($1)) group by shard order by shard",
        [list(_TABLES)],
    ).to_pylist()
    kept = [row for row in made if row["kept"]]
    if not kept:
        raise Mistake(
            f"{said_of(reader.root)} has no kept example to export; `valle stats` says what was dropped, and why"
        )
    for row in kept:
        if missing := [table for table in _TABLES if table not in row["tables"]]:
            raise Mistake(f"{missing[0]}/{row['shard']} is not made, so its examples cannot be exported; run first")
        yield row["shard"], [reader.files(table, row["shard"])[0] for table in _TABLES]


def _manifests(reader: Reader, files: list[str], corpus: Path, folder: Path, shard: str) -> Iterator[tuple[str, Any]]:
    """What lhotse calls the examples of one shard, by the manifest that it belongs in."""
    import numpy as np
    from lhotse import NumpyFilesWriter

    store, recording = NumpyFilesWriter(folder / "codes" / shard), None
    examples = reader.sql(_EXAMPLES, [[file] for file in files])
    plain = [name for name in examples.column_names if name not in CODEBOOKS]
    for batch in examples.to_batches():
        for i, row in enumerate(batch.select(plain).to_pylist()):
            if recording is None or recording.id != row["recording_id"]:
                recording = _recording(row, corpus, folder / "audio" / shard)
                yield "recordings", recording
            yield "supervisions", _supervision(row, row["start_sample"] / row["sample_rate"])
            frames = np.stack([batch[name][i].values.to_numpy() for name in CODEBOOKS], axis=1)  # [T, Q]
            yield "cuts", _cut(row, recording, store, frames)


def _recording(row: Row, corpus: Path, copies: Path) -> Any:
    from lhotse import Recording
    from lhotse.audio import AudioSource

    path = corpus / row["audio_path"]
    with suppress(FileNotFoundError):
        path = file_here(path)
    if not path.is_file():
        raise Mistake(f"there is no audio {path}; say with --audio where the corpus lies now")
    if objects_of(corpus) or not _loads_as_coded(path, row["num_samples"]):  # what was fetched may be let go
        path = _copy(path, row, copies)
    return Recording(
        id=row["recording_id"],
        sources=[AudioSource("file", [0], str(path))],
        sampling_rate=row["sample_rate"],
        num_samples=row["num_samples"],
        duration=row["num_samples"] / row["sample_rate"],
        channel_ids=[0],
    )


def _loads_as_coded(path: Path, num_samples: int) -> bool:
    """Whether a cut of channel 0 of a file, as lhotse reads it, is what was coded."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            return (file.channels, file.frames) == (1, num_samples) and bool(file.seekable())
    except soundfile.SoundFileError:
        return False  # a suffix that says otherwise than its content


def _copy(path: Path, row: Row, copies: Path) -> Path:
    """The mean of a file's channels, whole, in a WAV file of its own."""
    import soundfile

    from tasks.audio.audio_files import Unreadable, read

    rate, length = row["sample_rate"], row["num_samples"]
    copy = copies / f"{_file_name(row['recording_id'])}.wav"
    unfinished = copy.with_name(f".{copy.name}")
    copies.mkdir(parents=True, exist_ok=True)
    try:
        with soundfile.SoundFile(unfinished, "w", rate, 1, "FLOAT", format="WAV") as file:
            for start in range(0, length, _COPIED * rate):
                file.write(read(path, rate, start, min(length, start + _COPIED * rate)))
    except Unreadable as error:
        raise Mistake(f"{path} is no longer what was coded: {error}; run again before the export") from error
    return unfinished.replace(copy)


def _file_name(name: str) -> str:
    """Of an id, which has / and # in it."""
    return sha256(name.encode()).hexdigest()[:24]


def _supervision(row: Row, start: float) -> Any:
    """The utterance's own bounds and words, `start` seconds after its recording's or its cut's start."""
    from lhotse import SupervisionSegment

    return SupervisionSegment(
        id=row["utterance_id"],
        recording_id=row["recording_id"],
        start=start,
        duration=(row["end_sample"] - row["start_sample"]) / row["sample_rate"],
        text=row["text"],
        language=row["language"],
        speaker=row["speaker_id"],
        custom={"split": row["split"], "phones": row["phones"]},
    )


def _cut(row: Row, recording: Any, store: Any, codes: Any) -> Any:
    """A cut as long as its codes, `[T, Q]`, which are stored beside it."""
    from lhotse import MonoCut

    start = row["start_sample"] / row["sample_rate"]
    array = store.store_array(
        _file_name(row["utterance_id"]), codes, frame_shift=1 / FRAME_RATE, temporal_dim=0, start=start
    )
    return MonoCut(
        id=row["utterance_id"],
        start=start,
        duration=len(codes) / FRAME_RATE,
        channel=0,
        supervisions=[_supervision(row, 0.0)],
        recording=recording,
        custom={"codes": array, "split": row["split"]},
    )
