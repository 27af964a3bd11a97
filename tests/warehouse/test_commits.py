"""The protocol of commits: whatever is lost on the way, and whoever dies, each record counts, and counts once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warehouse.fake_objects import Client, FakeStore
from warehouse import commits, ledger, working_copy
from warehouse.commits import FOLDER, Head
from warehouse.ledger import ConsentRecord
from warehouse.objects import Objects, Refused, Unanswered

WRITERS = 3


class Lost(AssertionError):
    """A record does not count, or one that counted counts no more, or HEAD names what is not there."""


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Working copies of as many machines as there are writers, and of one that looks at what they left."""
    monkeypatch.setattr(ledger, "_at_once", lambda look, paths: map(look, paths))  # no threads but the schedule's
    found = [tmp_path / str(number) for number in range(WRITERS + 1)]
    yield found
    for root in found:
        working_copy.COPIES.bound.pop(root, None)


def objects(store: FakeStore) -> Objects:
    return Objects("fake://store", Client(store), pause=lambda _: None)


def record(name: str) -> ConsentRecord:
    return ConsentRecord(record_id=name, voice=name, prompt="", said_by="", host="", written_at="2026-01-01T00:00:00")


def take_up(root: Path, *, early: bool = False) -> None:
    """As the catalogue does it, with a list of ids in the place of DuckDB; `early`, in the wrong order."""
    there = working_copy.objects_of(root)
    assert there
    taken: tuple[list[Path], list[ledger.Entry]] = [], []

    def fold(base: Head | None, name: str) -> dict[str, bytes]:
        nonlocal taken
        known = json.loads(there.get(f"{base.folder}/ids.json")) if base else []
        waiting = ledger.waiting(root)
        taken = waiting, list(ledger.read(waiting))
        ids = [one.record_id for one in taken[1]]
        if early:
            ledger.keep(root, taken[1], taken[0])
        return {"ids.json": json.dumps([*known, *(id_ for id_ in ids if id_ not in known)]).encode()}

    commits.commit(there, fold, pause=lambda _: None)
    if not early:
        ledger.keep(root, taken[1], taken[0])


def play(seed: int, roots: list[Path], *, conditional: bool = True, early: bool = False) -> FakeStore:
    """One schedule: writers that leave records and take them up, and die; then a look at what counts."""
    store = FakeStore(seed, faults=0.2, deaths=0.01, conditional=conditional)
    promised: list[str] = []

    def writer(number: int) -> Callable[[], None]:
        def write() -> None:
            for count in range(3):
                ledger.emit(roots[number], record(f"{number}-{count}"))
                promised.append(f"{number}-{count}")
                if store.draw.random() < 0.6:
                    take_up(roots[number], early=early)

        return write

    for root in roots:
        working_copy.bind_to(root, objects(store))
    store.schedule.play([writer(number) for number in range(WRITERS)])
    store.faults = store.deaths = 0.0
    take_up(roots[-1])
    history = [json.loads(head)["name"] for head in store.heads]
    newest = f"{FOLDER}/{history[-1]}/ids.json"
    if newest not in store.objects:
        raise Lost("HEAD names a copy that is not there")
    ids = json.loads(store.objects[newest][0])
    in_ledger = {said.record_id for said in ledger.read([*ledger.waiting(roots[-1]), *ledger.kept(roots[-1])])}
    if missing := set(promised) - set(ids):
        raise Lost(f"{missing} do not count")
    if len(ids) != len(set(ids)):
        raise Lost("some count twice")
    if not set(ids) <= in_ledger:
        raise Lost("the ledger could not make the catalogue anew")
    known: set[str] = set()
    for name in history:
        if copy := store.objects.get(f"{FOLDER}/{name}/ids.json"):
            if not known <= (now := set(json.loads(copy[0]))):
                raise Lost("what counted once counts no more")
            known = now
    return store


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(300, 2_000), marks=pytest.mark.slow)], ids=str)
def test_whatever_is_lost_on_the_way_each_record_counts_once(roots: list[Path], seeds: range) -> None:
    commits_made = 0
    for seed in seeds:
        commits_made += len(play(seed, roots).heads)
        for root in roots:
            for file in root.rglob("*.jsonl"):
                file.unlink()
    assert commits_made > 2 * len(seeds)


def broken_by(roots: list[Path], **how: bool) -> int:
    """The first schedule that a protocol with a part left out does not survive."""
    for seed in range(200):
        try:
            play(seed, roots, **how)
        except (Lost, FileNotFoundError, KeyError):
            return seed
        for root in roots:
            for file in root.rglob("*.jsonl"):
                file.unlink()
    raise AssertionError("200 schedules do without it")


def test_without_the_condition_records_are_lost(roots: list[Path]) -> None:
    assert broken_by(roots, conditional=False) < 200


def test_where_no_answer_is_taken_for_a_yes_records_are_lost(
    roots: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Client.put

    def put(self: Client, name: str, data: bytes | Path, condition: str) -> str:
        try:
            return real(self, name, data, condition)
        except Unanswered:
            return ""

    monkeypatch.setattr(Client, "put", put)
    assert broken_by(roots) < 200


def test_records_that_go_before_the_commit_are_lost(roots: list[Path]) -> None:
    assert broken_by(roots, early=True) < 200


def test_a_commit_that_others_are_always_faster_than_says_so(roots: list[Path]) -> None:
    store = FakeStore(0)
    mine = objects(store)

    def fold(base: Head | None, _name: str) -> dict[str, bytes]:
        store.write(
            commits.HEAD, json.dumps({"number": (base.number if base else 0) + 1, "name": "x"}).encode(), "overwrite"
        )
        return {}

    with pytest.raises(commits.WorkFailed, match="others committed 50 times meanwhile"):
        commits.commit(mine, fold, pause=lambda _: None)


def test_copies_older_than_readers_may_name_are_let_go(roots: list[Path]) -> None:
    store = FakeStore(0)
    mine = objects(store)
    for _ in range(commits.KEPT + 5):
        commits.commit(mine, lambda _base, name: {"a.txt": name.encode()})
    names = sorted(name.split("/")[1] for name in store.objects if name.endswith("a.txt"))
    assert [int(name[:8]) for name in names] == list(range(5, commits.KEPT + 6))
    with pytest.raises(Refused):
        mine.swap(commits.HEAD, b"{}", "an older etag")
