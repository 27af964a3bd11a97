"""`valle estimate`: what a corpus would take on a site, by what the stages have taken where they ran before.

A stage that follows the shards takes so many worker-seconds for a second of the corpus. A training takes so long for a
frame, and what is spoken and judged so long for a piece of speech. Where nothing has been measured nothing is guessed:
the row says what lacks. Time that workers wait for one another, or for a failed shard's next attempt, is not in it.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.commands.corpus_size import Corpus, corpus_size
from flows.commands.options import RunOptions
from flows.engine.placement import room
from flows.engine.recipe import Recipe
from flows.engine.site import Site, device_here
from warehouse.errors import Mistake
from warehouse.fingerprint import ANY, named_shards, settings
from warehouse.measurements import Measurement, corpus_hours, measurements
from warehouse.stage import Resources, Stage
from warehouse.tables import CHECKPOINTS, SAMPLES, SCORES
from warehouse.working_copy import objects_of, root_at

HEAVY = ("model", "judge", "size", "engine")  # settings by which a stage is another thing altogether
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What it is made on."""

    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one table takes; nothing where nobody has measured it."""

    table: str
    hours: float | None = None  # by the clock
    workers: int | None = None
    worker_hours: float | None = None
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    gib: float | None = None  # on disk
    money: float | None = None  # in the currency of the site's prices, for as long as workers hold what they hold
    says: str = ""  # what it rests on, or what lacks


def estimate(
    options: RunOptions,
    *,
    source: str | None = None,
    hours: float | None = None,
    shards: int | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
) -> list[Estimate]:
    """What each table takes, and all of them together.

    Args:
        source: the root whose measurements count; that of the site unless said.
        hours: of the corpus; counted from its files unless said.
        shards: of the corpus, where hours are said.
        cpus: of the cluster; those of this machine unless said, where Ray is started here.
        gpus: likewise.

    Raises:
        Mistake: the corpus, the measurements or the cluster are not there to be counted.
    """
    site = options.where()
    device = "cuda" if site.device == "auto" and gpus else device_here(site)  # a cluster is not asked, but told of
    recipe = options.what().place({"audio": site.corpus, "root": site.root, "device": device})
    tables = recipe.until(options.until)
    root = root_at(source) if source else site.root
    known = measurements(root)
    corpus = Corpus(hours=hours, shards=shards, num_bytes=None) if hours else corpus_size(recipe, site.corpus)
    cluster = _cluster(site, device, cpus, gpus)
    before = corpus_hours(root)
    rows = []
    for stage in (stage for stage in recipe.stages if stage.makes.name in tables):
        measured = [one for one in known if one.table_name == stage.makes.name]
        sizes = _Sizes(corpus=corpus, hours_before=before, recipe=recipe, known=known)
        rows.append(_priced(_estimate(stage, measured, sizes, cluster, site, root), site))
    return [*rows, _together(rows, corpus, site)]


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """How large what is to be made is, against what was measured."""

    corpus: Corpus
    hours_before: float
    recipe: Recipe
    known: list[Measurement]

    def of(self, stage: Stage, measured: Measurement, wanted: Mapping[str, Any], shard: str) -> float | None:
        """How many times as much work a shard that gathers is as the one that was measured; None where nobody knows."""
        table = stage.makes.name
        if table == CHECKPOINTS.name:
            return _frames(wanted, shard) / _frames(measured.settings, shard)
        if table in (SAMPLES.name, SCORES.name):
            return self._speech()
        return self.corpus.hours / self.hours_before if self.hours_before else 1.0

    @property
    def spoken(self) -> tuple[str, ...]:
        """The shards in which speech is judged: those in which it is made."""
        stages = {stage.makes.name: stage for stage in self.recipe.stages}
        return named_shards(stages[SAMPLES.name]) if SAMPLES.name in stages else ("all",)

    def _speech(self) -> float | None:
        """Pieces of speech against those that were measured: each utterance by two systems a seed, and by two once."""
        spoken = [one for one in self.known if one.table_name == SAMPLES.name]
        stages = {stage.makes.name: stage for stage in self.recipe.stages}
        if not spoken or SAMPLES.name not in stages:
            return 1.0
        stage = stages[SAMPLES.name]
        wanted, before = settings(stage), spoken[-1].settings
        each, each_before = (2 * len(of.get("seeds") or [0]) + 2 for of in (wanted, before))
        if number := getattr(stage, "num_pairs", None):
            return float(number * each / max(1, spoken[-1].num_rows))
        if before.get("num_utterances"):
            return None
        return each / each_before * (self.corpus.hours / self.hours_before if self.hours_before else 1.0)


def _estimate(
    stage: Stage, measured: list[Measurement], sizes: _Sizes, cluster: Cluster, site: Site, root: Path
) -> Estimate:
    """What one table takes, less its price."""
    table, device = stage.makes.name, str(getattr(stage, "device", "cpu"))
    gathers = named_shards(stage) or (sizes.spoken if stage.takes and table == SCORES.name else ())
    found = [(shard, *_best(stage, measured, device, shard)) for shard in gathers or (ANY,)]
    if lacks := [says for _, one, says in found if one is None]:
        return Estimate(table=table, says=lacks[0])
    needs = _needs(stage, site, device)
    at_a_time = room(
        [{"Alive": True, "Resources": {"CPU": cluster.cpus, "GPU": cluster.gpus}}], needs, site.train_workers
    )
    if at_a_time < 1:
        return Estimate(table=table, says=f"no room: a worker needs {needs.cpus:g} CPUs and {needs.gpus:g} GPUs")
    seconds, num_bytes, jobs = 0.0, 0.0, 0
    for shard, one, _ in found:
        assert one is not None
        if gathers:
            if (times := sizes.of(stage, one, settings(stage, shard), shard)) is None:
                return Estimate(table=table, says="how much will be spoken is not known; set samples.num_utterances")
            files = float(_bytes_of_files(root, one.paths[0]))
            if table in (SAMPLES.name, SCORES.name):  # what was measured, whole, so many times, in so many shards
                times, files = times * one.shards / len(gathers), files * times * one.shards / len(gathers)
            seconds += one.worker_seconds / one.shards * times
            num_bytes, jobs = num_bytes + one.num_bytes / one.shards + files, jobs + 1
        else:
            of_corpus = sizes.corpus.hours * 3600 / (one.corpus_seconds or one.seconds or math.inf)
            seconds, num_bytes = one.worker_seconds * of_corpus, one.num_bytes * of_corpus
            jobs = sizes.corpus.shards or max(1, round(one.shards * of_corpus))
    workers = min(at_a_time, site.workers or at_a_time, jobs)
    wall = seconds / jobs * math.ceil(jobs / workers)
    held = site.train_workers if not needs.cpus else 1  # by one job
    return Estimate(
        table=table,
        hours=wall / 3600,
        workers=workers * held,
        worker_hours=seconds * held / 3600,
        cpu_hours=seconds * held * (needs.cpus or 1.0) / 3600,
        gpu_hours=seconds * held * (needs.gpus if needs.cpus else float(device == "cuda")) / 3600,
        gib=num_bytes / _GIB,
        says="; ".join(dict.fromkeys([*(says for *_, says in found if says), *_WORDS.get(table, ())])),
    )


def _best(stage: Stage, measured: list[Measurement], device: str, shard: str) -> tuple[Measurement | None, str]:
    """The measurement that is nearest to a stage, the latest of those, and what is to be said of it."""
    table, wanted = stage.makes.name, settings(stage, shard)
    halves = table == CHECKPOINTS.name  # whose shards are of different kinds
    mine = [one for one in measured if not halves or shard in {Path(path).stem for path in one.paths}]
    if not mine:
        return None, f"nobody has measured {table} there; run a small corpus first, or name another root by --from"
    if not (there := [one for one in mine if one.device == device]):
        return None, f"measured on {mine[-1].device} alone, and the site's device is {device}"
    alike = [(one, _differences(one.settings, wanted)) for one in there]
    same = [pair for pair in alike if not any(name in HEAVY for name in pair[1])]
    if not same:
        name = next(name for name in alike[-1][1] if name in HEAVY)
        return None, f"measured with {table}.{name} {alike[-1][0].settings.get(name)} alone, not {wanted.get(name)}"
    best, differ = min(reversed(same), key=lambda pair: len(pair[1]))
    counted = _COUNTED.get(table, ())
    rest = [name for name in differ if not name.endswith(counted)] if counted else differ
    return best, f"measured with another {', '.join(rest)}" if rest else ""


_WORDS = {CHECKPOINTS.name: ("by as many workers as where it was measured",)}

_COUNTED: Mapping[str, tuple[str, ...]] = {
    CHECKPOINTS.name: ("_steps", "_batch_frames", "_learning_rate", "_start"),
    SAMPLES.name: ("num_utterances", "seeds", "shard_pairs", "pairs"),
}
"""Settings that the size of the work is reckoned from, or that are none of its business."""


def _differences(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The names of settings that differ, as JSON has them."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
    names = sorted(before.keys() | plain.keys())
    return [name for name in names if _plain(before.get(name)) != _plain(plain.get(name))]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _frames(of: Mapping[str, Any], half: str) -> float:
    return float(of.get(f"{half}_steps", 1)) * float(of.get(f"{half}_batch_frames", 1))


def _needs(stage: Stage, site: Site, device: str) -> Resources:
    """What a worker holds, as `flows.engine.materialization` has it."""
    if device != "cuda":
        return Resources(cpus=stage.needs.cpus)
    return Resources(cpus=stage.needs.cpus, gpus=site.gpus.get(stage.makes.name, stage.needs.gpus))


def _cluster(site: Site, device: str, cpus: float | None, gpus: float | None) -> Cluster:
    """What the site has, as far as it can be known from here.

    Raises:
        Mistake: it is elsewhere.
    """
    if site.ray_address != "local" and (cpus is None or (gpus is None and device == "cuda")):
        raise Mistake(f"the cluster at {site.ray_address} is elsewhere; say how much it has by --cpus and --gpus")
    if gpus is None and device == "cuda":
        import torch

        gpus = float(torch.cuda.device_count())
    return Cluster(cpus=cpus if cpus is not None else float(os.cpu_count() or 1), gpus=gpus or 0.0)


def _bytes_of_files(root: Path, path: str) -> int:
    """What lies in the folder beside a shard's rows, but for links to what lies elsewhere."""
    folder = (root / path).with_suffix("")
    if objects := objects_of(root):
        return sum(objects.list(path.removesuffix(".parquet")).values())
    files = (file for file in folder.rglob("*") if "data" not in file.relative_to(folder).parts[:1] and file.is_file())
    return sum(file.stat().st_size for file in files)


def _priced(row: Estimate, site: Site) -> Estimate:
    if not site.prices or row.hours is None:
        return row
    cpu, gpu = site.prices.get("cpu_hour", 0.0), site.prices.get("gpu_hour", 0.0)
    return replace(row, money=(row.cpu_hours or 0.0) * cpu + (row.gpu_hours or 0.0) * gpu)


def _together(rows: list[Estimate], corpus: Corpus, site: Site) -> Estimate:
    """All tables one after another, as a run makes them."""
    lacking = [row.table for row in rows if row.hours is None]
    says = f"{corpus.hours:,.2f} h of audio" + (f" in {corpus.shards} shards" if corpus.shards else "")
    if corpus.num_bytes:
        says += f", {corpus.num_bytes / _GIB:,.2f} GiB"
    gib = sum(row.gib or 0.0 for row in rows)
    if monthly := site.prices.get("gib_month"):
        says += f"; to keep the tables costs {gib * monthly:,.2f} a month"
    if lacking:
        says += f"; without {', '.join(lacking)}"
    return Estimate(
        table="all",
        hours=sum(row.hours or 0.0 for row in rows),
        worker_hours=sum(row.worker_hours or 0.0 for row in rows),
        cpu_hours=sum(row.cpu_hours or 0.0 for row in rows),
        gpu_hours=sum(row.gpu_hours or 0.0 for row in rows),
        gib=gib,
        money=sum(row.money or 0.0 for row in rows) if site.prices else None,
        says=says,
    )


def shown(rows: list[Estimate]) -> Iterator[dict[str, Any]]:
    """The rows for people, without a column of money where there are no prices."""
    for row in rows:
        said = vars(row)
        yield said if any(one.money is not None for one in rows) else {k: v for k, v in said.items() if k != "money"}
