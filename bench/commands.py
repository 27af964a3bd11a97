"""How soon the light commands answer, and how long a plan over many shards takes.

    python -m bench.commands [--shards 2000] [--short]

Each figure is the median of five runs of the whole process. The tables have three times as many shards.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from bench.made_up import attempt
from bench.progress import options, told
from flows.engine.recipe import source_shards
from flows.recipes import load_recipe
from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.ledger import Record
from warehouse.plan import StagePlan, inputs_of, plan_stage
from warehouse.store import Artifact, write_shard

NUM_SHARDS = 2_000
RECIPE = f"{Path(__file__).parents[1] / 'tests' / 'toy.py'}:toy"  # three tables follow the shards, one gathers them


def fabricate(root: Path, audio: Path, num_shards: int = NUM_SHARDS) -> None:
    """A warehouse in which all is made: one small file for each shard, and its record."""
    audio.mkdir(parents=True)
    for i in range(num_shards):
        (audio / f"{i:05d}.txt").write_text("pause\none")
    recipe = load_recipe(RECIPE)[0].place({"audio": audio})
    wanted = recipe.wanted()
    plans: dict[str, StagePlan] = {}
    artifacts: dict[tuple[str, str, str], Artifact] = {}
    for stage, want in zip(recipe.stages, wanted, strict=True):
        listings = {} if stage.takes else source_shards(stage)
        for shard in plan_stage(want, plans, artifacts).shards:
            inputs = listings.get(shard) or inputs_of(want, shard, plans)
            rows = pa.table(
                {
                    name: pa.nulls(1, type_)
                    for name, type_ in zip(stage.makes.schema.names, stage.makes.schema.types, strict=True)
                }
            ).cast(stage.makes.schema)
            artifact = write_shard(
                root, stage.makes, shard, want.fingerprint(shard), rows, stage=want.stage(shard), inputs=inputs
            )
            artifacts[artifact.table_name, shard, artifact.fingerprint] = artifact
        plans[want.table] = plan_stage(want, plans, artifacts)
    records = [Record(attempt(artifact), artifact) for artifact in artifacts.values()]
    ledger.keep(root, records, [])
    catalogue = Catalogue(root)
    catalogue.remember(recipe.name, wanted, {"recipe": RECIPE, "site": None, "settings": [], "audio": str(audio)})
    catalogue.rebuild()


def seconds(*words: str, times: int = 5) -> float:
    """The median wall clock of `valle WORDS`, start of the process to its end."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "valle", *words], check=True, capture_output=True)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=NUM_SHARDS, help="of each table that follows the source")
    shards = options(parser, shards=200).shards
    with tempfile.TemporaryDirectory() as folder:
        root, audio = Path(folder) / "root", Path(folder) / "audio"
        begun = time.perf_counter()
        fabricate(root, audio, shards)
        figures = told({"fabricating them": round(time.perf_counter() - begun, 2)})
        where = ["--root", str(root)]
        what = [*where, "--audio", str(audio), "--recipe", RECIPE]
        all_of_them = f"{3 * shards} shards"
        asked = {
            "valle --help (goal 0.5 s)": ["--help"],
            "valle sql 'select 1' (goal 1 s)": ["sql", "select 1", *where],
            f"valle status, {all_of_them}": ["status", *where],
            f"valle plan, {all_of_them}, nothing pending (goal 3 s)": ["plan", *what],
            f"valle plan, {all_of_them}, two tables stale": ["plan", *what, "--set", "codes.step=2"],
            f"valle run, {all_of_them}, nothing to make": ["run", *what],
        }
        for name, words in asked.items():
            figures |= told({name: round(seconds(*words), 2)})
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
