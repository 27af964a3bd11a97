"""`valle export`: the dataset as lhotse's manifests: recordings, supervisions, and cuts that carry their codes.

A cut lasts as long as its frames, T / 75 seconds, up to 13 ms longer than the utterance in it,
which its supervision bounds. EnCodec rounds up to a whole frame and lhotse rounds a cut to the nearest one, so a cut
of the utterance's own length would lose its last frame half of the time.

`cut.load_codes()` is `[T, Q]`, because lhotse slices the first dimension. Codes are NumPy files, one for each
utterance in a folder for each shard: lhotse's only store on disk that keeps integers exactly and needs no package
beside NumPy. The split is `cut.custom["split"]`: `cut.split` is a method of lhotse.
Source: lhotse 1.33, `lhotse/array.py` and `lhotse/features/io.py`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.reader import Reader, scan
from warehouse.tables import CODEBOOKS, FRAME_RATE

MANIFESTS = ("recordings", "supervisions", "cuts")

Row = dict[str, Any]

_TABLES = ("examples", "utterances", "transcripts", "phones", "codes", "recordings")
_EXAMPLES = f"""
    select e.utterance_id, e.split, u.speaker_id, u.start_sample, u.end_sample, t.text, t.language, p.phones,
        r.recording_id, r.audio_path, r.sample_rate, r.num_samples, {", ".join(f"c.{name}" for name in CODEBOOKS)}
    from {scan(1)} as e
    join {scan(2)} as u using (utterance_id)
    join {scan(3)} as t using (utterance_id)
    join {scan(4)} as p using (utterance_id)
    join {scan(5)} as c using (utterance_id)
    join {scan(6)} as r using (recording_id)
    where e.dropped is null
    order by r.recording_id, u.start_sample
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

    corpus = Path(audio or Catalogue(root).last_run().options["audio"]).absolute()
    folder = folder.absolute()
    counts = dict.fromkeys(MANIFESTS, 0)
    unfinished = {name: folder / f".{name}.jsonl.gz" for name in MANIFESTS}
    with Reader(root) as reader, ExitStack() as stack:
        shards = list(_shards(reader))
        folder.mkdir(parents=True, exist_ok=True)
        writers = {
            name: stack.enter_context(kind.open_writer(unfinished[name]))
            for name, kind in zip(MANIFESTS, (RecordingSet, SupervisionSet, CutSet), strict=True)
        }
        for shard, files in shards:
            for name, item in _manifests(reader, files, corpus, folder / "codes" / shard):
                writers[name].write(item)
                counts[name] += 1
    for name in MANIFESTS:
        unfinished[name].replace(folder / f"{name}.jsonl.gz")
    return f"{folder}: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _shards(reader: Reader) -> Iterator[tuple[str, list[str]]]:
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
        raise Mistake(f"{reader.root} has no kept example to export; `valle stats` says what was dropped, and why")
    for row in kept:
        if missing := [table for table in _TABLES if table not in row["tables"]]:
            raise Mistake(f"{missing[0]}/{row['shard']} is not made, so its examples cannot be exported; run first")
        yield row["shard"], [reader.files(table, row["shard"])[0] for table in _TABLES]


def _manifests(reader: Reader, files: list[str], corpus: Path, codes: Path) -> Iterator[tuple[str, Any]]:
    """What lhotse calls the examples of one shard, by the manifest that it belongs in."""
    import numpy as np
    from lhotse import NumpyFilesWriter

    store, recording = NumpyFilesWriter(codes), None
    examples = reader.sql(_EXAMPLES, [[file] for file in files])
    plain = [name for name in examples.column_names if name not in CODEBOOKS]
    for batch in examples.to_batches():
        for i, row in enumerate(batch.select(plain).to_pylist()):
            if recording is None or recording.id != row["recording_id"]:
                recording = _recording(row, corpus)
                yield "recordings", recording
            yield "supervisions", _supervision(row, row["start_sample"] / row["sample_rate"])
            frames = np.stack([batch[name][i].values.to_numpy() for name in CODEBOOKS], axis=1)  # [T, Q]
            yield "cuts", _cut(row, recording, store, frames)


def _recording(row: Row, corpus: Path) -> Any:
    import soundfile
    from lhotse import Recording
    from lhotse.audio import AudioSource

    path = corpus / row["audio_path"]
    if not path.is_file():
        raise Mistake(f"there is no audio {path}; say with --audio where the corpus lies now")
    channels = list(range(soundfile.info(path).channels))
    return Recording(
        id=row["recording_id"],
        sources=[AudioSource("file", channels, str(path))],
        sampling_rate=row["sample_rate"],
        num_samples=row["num_samples"],
        duration=row["num_samples"] / row["sample_rate"],
        channel_ids=channels,
    )


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
    name = sha256(row["utterance_id"].encode()).hexdigest()[:24]  # an id is no file name: it has / and # in it
    array = store.store_array(name, codes, frame_shift=1 / FRAME_RATE, temporal_dim=0, start=start)
    return MonoCut(
        id=row["utterance_id"],
        start=start,
        duration=len(codes) / FRAME_RATE,
        channel=0,
        supervisions=[_supervision(row, 0.0)],
        recording=recording,
        custom={"codes": array, "split": row["split"]},
    )
