"""Chaos: runs that are broken at seeded moments, each followed by one more run, whose tables must be an unbroken run's.

    python -m bench.chaos [--trials 100] [--seed 0] [--kinds power,disk] [--at-once 1] [--root DIR] [--short]

A run takes some twenty seconds. A line for each trial says what was done and when, how both runs ended, and what is not
as it should be; the end is a table of all, and exit code 1 where anything was. The folder of such a trial is kept.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.broken_runs import AGENTS, MARK, TOY, digest, kill_all, processes, start
from bench.chaos_kinds import KINDS, Case, TooLate, cannot
from bench.progress import options
from warehouse.catalogue import Catalogue
from warehouse.ledger import MADE
from warehouse.query import select
from warehouse.soundness import look

RECIPE, SHARDS, STEPS = f"{TOY}:shaken", 10, 10
LINES = ("pause", "one", "three", "eleven", "twelve")
TABLES = ("utterances", "codes", "examples", "totals", "weights")
ALL = 3 * SHARDS + 2  # shards of a whole run
LONGEST = 240.0  # seconds that a run may take, on a machine that is busy
LINGER = 150.0  # seconds after which even Ray's agents have ended
AGAIN = {"power", "flow", "terminate", "pause", "raylet", "node"}  # where two may have made one shard, each whole


@dataclass(frozen=True)
class Truth:
    """What an unbroken run has made."""

    rows: dict[str, str]  # table -> digest
    shards: frozenset[tuple[str, ...]]

    @classmethod
    def of(cls, root: Path) -> "Truth":
        """What such a run has made here."""
        return cls({table: digest(root, table) for table in TABLES}, _shards(root))


@dataclass
class Trial:
    """One trial, and what became of it."""

    seed: int
    kind: str
    done: str = ""  # what was done, in words, and when
    first: str = ""  # how the broken run ended
    second: str = ""
    made_twice: int = 0
    wrong: list[str] = field(default_factory=list)
    late: bool = False

    @property
    def line(self) -> str:
        """All of it."""
        verdict = f"WRONG: {'; '.join(self.wrong)}" if self.wrong else "tables equal, check clean, nothing left"
        return f"{self.seed:>4} {self.kind:<9} {self.done} | first {self.first} | second {self.second} | {verdict}"


class Chaos:
    """All trials, in a folder of their own."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.audio = folder / "audio"
        self.prefect = folder / "prefect"
        self.environment = {
            "PREFECT_HOME": str(self.prefect),
            "PREFECT_API_URL": server,
            "SPT_NOENV": "1",  # else a process that takes a name of its own loses its mark
            "OMP_NUM_THREADS": "1",
        }
        self.stopped = False  # whether nothing more is to be begun
        self.audio.mkdir(parents=True)
        for i in range(SHARDS):
            (self.audio / f"s{i}.txt").write_text("\n".join(LINES[: 2 + i % 4]))

    def truth(self) -> Truth:
        """What a run makes that nobody breaks."""
        case = self._case("unbroken", random.Random())
        code, _, said = self._end(self._start(case, "first"), case, "first")
        assert code == 0, said
        return Truth.of(case.root)

    def trial(self, truth: Truth, kind: str, seed: int) -> Trial:
        """Break a run in one way, and look at what the next one makes of it."""
        trial = Trial(seed, kind)
        case = self._case(f"{seed}-{kind}", random.Random(seed))
        try:
            self._break(trial, case)
            self._judge(trial, case, truth)
        except Exception as error:
            trial.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            if case.process and case.process.poll() is None:
                kill_all(case.mark)
        if not trial.wrong:
            shutil.rmtree(case.folder, ignore_errors=True)
        return trial

    def _case(self, name: str, draw: random.Random) -> Case:
        folder = self.folder / name
        (folder / "disk").mkdir(parents=True)
        keys = ['device = "cpu"', "retry_delay_seconds = 0.2"]
        mark = f"{self.folder}/{name}"
        return Case(folder, draw, mark, self.prefect, {**self.environment, MARK: mark}, keys)

    def _start(self, case: Case, name: str) -> "subprocess.Popen[bytes]":
        if self.stopped:
            raise KeyboardInterrupt
        site = case.folder / "site.toml"
        site.write_text("\n".join(case.keys))
        with (case.folder / f"{name}.txt").open("wb") as file:
            words = ["--site", str(site)]
            case.process = start(case.root, self.audio, RECIPE, words, case.environment, stderr=file)
        return case.process

    def _end(self, process: "subprocess.Popen[bytes]", case: Case, name: str) -> tuple[int, str, str]:
        """How a run ended: its code, how in words, and what it said."""
        begun = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(LONGEST)
        said = (case.folder / f"{name}.txt").read_text(errors="replace")
        if process.poll() is None:
            return 1000, f"not ended after {time.monotonic() - begun:.0f} s more", said
        return process.returncode, f"{process.returncode}", said

    def _break(self, trial: Trial, case: Case) -> None:
        """The broken run and the one after it."""
        doing = KINDS[trial.kind](case)
        with ExitStack() as stack:
            stack.callback(doing.close)
            next(doing)
            begun = time.monotonic()
            process = self._start(case, "first")
            try:
                moment = _moment(case, process)
                struck = time.monotonic() - begun
                trial.done = f"at {struck:.1f} s, {moment}: {next(doing)}"
            except TooLate:
                trial.done, trial.late, case.ends = "over before", True, (0,)
            code, trial.first, said = self._end(process, case, "first")
            trial.first += f" after {time.monotonic() - begun:.0f} s"
            if code not in case.ends:
                trial.wrong.append(f"the broken run ended with {code}: {said[-400:]}")
            if "Traceback" in said and code >= 0:
                trial.wrong.append("the broken run said a traceback")
            if not trial.late:
                next(doing)
            begun = time.monotonic()
            code, trial.second, said = self._end(self._start(case, "second"), case, "second")
            trial.second += f" after {time.monotonic() - begun:.0f} s"
            if code != 0 or "Traceback" in said:
                trial.wrong.append(f"the second run ended with {code}: {said[-400:]}")
            self._keep(case)

    def _keep(self, case: Case) -> None:
        """What lies on a disk that is about to go is looked at from elsewhere."""
        if os.path.ismount(case.root.parent):
            copy = case.folder / "copied"
            shutil.copytree(case.root, copy / "root")
            subprocess.run(["umount", "--lazy", case.root.parent], check=True)
            case.root.parent.rmdir()
            copy.rename(case.root.parent)
            Catalogue(case.root).take_up()  # its views name files by where they lie

    def _judge(self, trial: Trial, case: Case, truth: Truth) -> None:
        """Whether the warehouse is as one that nobody has broken, and nobody is left at work."""
        for table in TABLES:
            if digest(case.root, table) != truth.rows[table]:
                trial.wrong.append(f"{table} has other rows")
        if _shards(case.root) != truth.shards:
            trial.wrong.append("other artifacts")
        trial.wrong += [finding.line for finding in look(case.root)]
        made, books = _made(case.root), _books(case.root)
        trial.made_twice = sum(number > 1 for number in made.values())
        if trial.made_twice and trial.kind not in AGAIN:
            trial.wrong.append(f"{trial.made_twice} shards are recorded as made twice")
        unrecorded = ALL - len(made)
        if unrecorded and trial.kind not in AGAIN | {"worker", "disk", "clock"}:
            trial.wrong.append(f"{unrecorded} shards are not recorded as made")
        Catalogue(case.root).rebuild()
        if _books(case.root) != books:
            trial.wrong.append("the catalogue, rebuilt, is another")
        if select(case.root, "from failures").num_rows:
            trial.wrong.append("shards count as failed that are made")
        if left := set(processes(case.mark).values()) - AGENTS:
            trial.wrong.append(f"left behind: {', '.join(sorted(left))}")


def _moment(case: Case, process: "subprocess.Popen[bytes]") -> str:
    """Waits for a moment that the seed chooses: so many shards and steps are there, and a little later."""
    goal, later = case.draw.randrange(1, ALL + STEPS + 1), case.draw.uniform(0, 0.8)
    if case.draw.random() < 0.15:
        goal, later = 0, case.draw.uniform(0, 25)  # while it starts, or whenever that is
    while _progress(case.root) < goal:
        if process.poll() is not None:
            raise TooLate
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        process.wait(later)
        raise TooLate
    return f"{_progress(case.root)} of {ALL + STEPS} made"


def _progress(root: Path) -> int:
    """Shards that are there, and steps of the training."""
    shards = sum(not path.name.startswith(".") for path in root.glob("*/*/*.parquet"))
    with suppress(OSError, ValueError):
        for state in root.glob("weights/*/*/state.json"):
            return shards + int(json.loads(state.read_text())[0])
    return shards


def _shards(root: Path) -> frozenset[tuple[str, ...]]:
    rows = select(root, "select table_name, shard, fingerprint, digest from artifacts").to_pylist()
    assert len(rows) == len({(row["table_name"], row["shard"]) for row in rows}), "a shard twice"
    return frozenset(tuple(row.values()) for row in rows)


def _made(root: Path) -> Counter[tuple[str, str]]:
    """How often each shard is recorded as made."""
    rows = select(root, f"select table_name, shard from runs where state = '{MADE}'").to_pylist()
    return Counter((row["table_name"], row["shard"]) for row in rows)


def _books(root: Path) -> list[object]:
    """What the catalogue knows of shards and attempts."""
    return [
        select(root, "select * exclude (sha256) from artifacts order by path").to_pylist(),
        select(root, "from runs order by run_id").to_pylist(),
    ]


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def plan(kinds: list[str], trials: int, seed: int) -> list[tuple[str, int]]:
    """Which kind each trial is of: all as often, and no two neighbours alike."""
    return [(kinds[number % len(kinds)], seed + number) for number in range(trials)]


def summary(trials: list[Trial]) -> str:
    """A table of all trials by their kind."""
    lines = ["| done to a run | trials | over before | first run ended with | went wrong |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(trial.kind for trial in trials):
        ours = [trial for trial in trials if trial.kind == kind]
        ends = Counter(trial.first.split(" ")[0] for trial in ours)
        ended = ", ".join(f"{code} ({number})" for code, number in sorted(ends.items()))
        late, wrong = sum(trial.late for trial in ours), sum(bool(trial.wrong) for trial in ours)
        lines.append(f"| {kind} | {len(ours)} | {late} | {ended} | {wrong} |")
    return "\n".join(lines)


def run(folder: Path, kinds: list[str], trials: int, seed: int, at_once: int = 1) -> list[Trial]:
    """Some trials, each told of as it ends."""
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

    from flows.machine.prefect_server import lasting_server

    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    not_here = cannot(folder)
    for kind in [kind for kind in kinds if kind in not_here]:
        print(f"{kind} is left out: {not_here[kind]}", flush=True)
    kinds = [kind for kind in kinds if kind not in not_here]
    with (
        temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 300}),  # seconds, of a busy machine
        lasting_server(_free_port(), folder / "server.log") as url,
        ThreadPoolExecutor(at_once) as pool,
    ):
        chaos = Chaos(folder, f"{url}/api")
        truth = chaos.truth()
        done = []
        futures = [pool.submit(partial(chaos.trial, truth), *one) for one in plan(kinds, trials, seed)]
        try:
            for future in futures:
                done.append(future.result())
                print(done[-1].line, flush=True)
        finally:  # also when it is asked to end
            chaos.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            for kind, one in plan(kinds, trials, seed) if len(done) < trials else ():
                kill_all(f"{folder}/{one}-{kind}")
    deadline = time.monotonic() + LINGER
    while left := [mark for kind, one in plan(kinds, trials, seed) if processes(mark := f"{folder}/{one}-{kind}")]:
        if time.monotonic() > deadline:
            done[0].wrong.append(f"processes are left of {', '.join(left)}")
            print(f"WRONG: {done[0].wrong[-1]}")
            break
        time.sleep(1)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the next has the next")
    parser.add_argument("--kinds", default=",".join(KINDS), help="what is done to runs")
    parser.add_argument("--at-once", type=int, default=1, help="trials side by side")
    parser.add_argument("--root", type=Path, help="a folder; a temporary one unless said")
    asked = options(parser, trials=1)
    kinds = asked.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"there is no kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    os.nice(10)  # it takes all that it can get
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = (asked.root or Path(tempfile.mkdtemp(prefix="valle-chaos-"))).absolute()
    trials = run(folder, kinds, asked.trials, asked.seed, asked.at_once)
    print(f"\n{summary(trials)}")
    if any(trial.wrong for trial in trials):
        print(f"what went wrong lies in {folder}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
