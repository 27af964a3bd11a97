"""`valle ratings`: the answers of a blind listening test, from the page's file into the ledger."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warehouse import ledger
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake
from warehouse.reader import Reader, scan
from warehouse.working_copy import address

PREFERRED = {"first": "a", "second": "b", "neither": None}


class _Answer(BaseModel):
    """One pair that was heard."""

    model_config = ConfigDict(extra="forbid", strict=True)
    first: str
    second: str
    preferred: str = Field(pattern="^(first|second|neither)$")


class _Answers(BaseModel):
    """A file of answers, as the page writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: str = Field(pattern="^valle-listening-test$")
    test: str = Field(pattern="^[0-9a-f]{32}$")
    version: str = Field(pattern="^[0-9a-f]{12}$")
    seed: int = Field(ge=0, lt=2**32)
    listener: str = Field(max_length=200)
    answers: list[_Answer] = Field(min_length=1, max_length=10_000)


def take(root: Path, file: Path) -> str:
    """Take the answers in a file into the ledger; say how many, and of whom.

    Raises:
        Mistake: the file is damaged, tells of samples that are not there, or answers twice; nothing is taken.
    """
    said = _read(file)
    if ledger.ratings(root, said.test):
        raise Mistake(f"{file}: these answers have been taken before; a second hearing is a second test")
    known = _samples(root, said.version, file)
    heard: set[frozenset[str]] = set()
    for answer in said.answers:
        for sample in (answer.first, answer.second):
            if sample not in known:
                raise Mistake(f"{file}: there is no sample {sample!r} of version {said.version} in {root}")
        pair = frozenset((answer.first, answer.second))
        if len(pair) == 1:
            raise Mistake(f"{file}: {answer.first} is compared with itself")
        if pair in heard:
            raise Mistake(f"{file}: the pair of {answer.first} and {answer.second} is answered twice")
        heard.add(pair)
    record = ledger.RatingsRecord(
        record_id=said.test,
        version=said.version,
        listener=said.listener.strip(),
        seed=said.seed,
        pairs=tuple((answer.first, answer.second, PREFERRED[answer.preferred]) for answer in said.answers),
        host=socket.gethostname(),
        written_at=datetime.now(UTC).isoformat(),
    )
    ledger.emit(root, record)
    with suppress(Mistake):  # somebody holds it for long: whoever takes up the ledger next tells of it
        Catalogue(root).take_up()
    return f"{len(record.pairs)} answers of {record.listener or 'a listener'} are kept in {ledger.folder(root)}"


def _read(file: Path) -> _Answers:
    try:
        return _Answers.model_validate(json.loads(file.read_bytes()))
    except FileNotFoundError:
        raise Mistake(f"there is no file {file}") from None
    except IsADirectoryError:
        raise Mistake(f"{file} is a folder, and no file of answers") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise Mistake(f"{file} is no file of answers: {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Mistake(f"{file} is damaged, or no file of answers: it is not JSON") from None


def _samples(root: Path, version: str, file: Path) -> set[str]:
    """The ids of the samples of a version that can be heard."""
    with Reader(root) as reader:
        return set(_ids(reader, version, file))


def _ids(reader: Reader, version: str, file: Path) -> Iterator[Any]:
    samples = "select path, sha256 from artifacts where table_name = 'samples' and fingerprint = $1"
    found = reader.sql(samples, [version])
    if not found.num_rows:
        raise Mistake(f"{file}: its samples are of version {version}, which {reader.root} does not have")
    paths = [address(reader.root, row["path"], row["sha256"]) for row in found.to_pylist()]
    yield from reader.sql(f"select sample_id from {scan()} where dropped is null", [paths])["sample_id"].to_pylist()
