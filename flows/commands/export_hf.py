"""`valle export hf`: the dataset as a folder that Hugging Face's `datasets` loads, or that goes to its hub as it is.

A Parquet file for each shard and split, `data/<split>/<shard>.parquet`, and a card that says which are which: words,
phones, speaker and the eight codebooks of every kept example, without audio. `dev` is `validation`, as it is there.
Source: huggingface.co/docs/hub/datasets-manual-configuration.
"""

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.commands.export import CODES_OF, JOINED, shards_of
from warehouse.errors import Mistake
from warehouse.reader import Reader

SPLITS = {"train": "train", "dev": "validation", "test": "test"}  # ours -> theirs

_EXAMPLES = f"""
    select e.utterance_id, e.split, r.recording_id, r.corpus, u.speaker_id, u.start_sample, u.end_sample, r.sample_rate,
        u.seconds, t.text, t.language, p.phones, c.num_frames, {CODES_OF} {JOINED}
"""


def export_hf(root: Path, folder: Path) -> str:
    """Write the kept examples, a shard in memory at a time; say how many of each split.

    The card comes last, so a folder that has one is whole.

    Raises:
        Mistake: no example is kept, the last run makes none, or there is something else in the folder.
    """
    folder = folder.absolute()
    if folder.exists() and any(path.name not in ("data", "README.md") for path in folder.iterdir()):
        raise Mistake(f"{folder} holds something else; name a folder that is empty, or has an older export")
    (folder / "README.md").unlink(missing_ok=True)
    shutil.rmtree(folder / "data", ignore_errors=True)
    counts = dict.fromkeys(SPLITS, 0)
    with Reader(root) as reader:
        stages = reader.sql("select fingerprint from stages where table_name = 'examples'")
        for shard, files in shards_of(reader):
            rows = reader.sql(_EXAMPLES, [[file] for file in files])
            for split, theirs in SPLITS.items():
                mine = rows.filter(pc.equal(rows["split"], split)).drop_columns(["split"])
                if mine.num_rows:
                    path = folder / "data" / theirs / f"{shard}.parquet"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pq.write_table(mine, path, compression="zstd")
                    counts[split] += mine.num_rows
    (folder / "README.md").write_text(_card(stages["fingerprint"][0].as_py(), counts), encoding="utf-8")
    return f"{folder}: " + ", ".join(f"{count} {SPLITS[split]}" for split, count in counts.items())


def _card(version: str, counts: dict[str, int]) -> str:
    """The card: which files are which split, and what a row is."""
    files = [{"split": SPLITS[name], "path": f"data/{SPLITS[name]}/*.parquet"} for name, n in counts.items() if n]
    front = json.dumps([{"config_name": "default", "data_files": files}])  # JSON is YAML
    told = "\n".join(f"- {SPLITS[split]}: {count:,}" for split, count in counts.items())
    return f"""---
configs: {front}
task_categories: [text-to-speech]
---

# Speech tokens

Utterances with their words, phones and EnCodec's codes: `codebook_1` to `codebook_8`, 75 frames a second, 0 to 1,023.
A row is cut out of its recording from `start_sample` to `end_sample`, at `sample_rate`; the audio itself is not here.
Made by valle from examples `{version}`.

{told}
"""
