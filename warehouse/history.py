"""Where a row came from: every stage that an utterance, a recording, a shard or a table went through.

A history opens one file of each table. A shard has the same key in every table, so once it is
known which shard holds an id, nothing else is read, however many shards there are.
"""

import json
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from warehouse.errors import Mistake
from warehouse.reader import Reader, scan
from warehouse.working_copy import said, shard_name

Row = dict[str, Any]

_ATTEMPTS = 20  # of one table, the latest; a table of 30,000 shards has more than a page
_MADE = "made"
_NO_EXAMPLES = "not in dataset: the last run makes no example of it"
_OF_RECORDING = "utterance_id >= $1 || '#' and utterance_id < $1 || '$'"  # the sign after # in ASCII is $


@dataclass(frozen=True, kw_only=True)
class Step:
    """One table on the way, and what is there of an id."""

    table: str
    shard: str | None  # null for a whole table
    fingerprint: str
    state: str  # made, pending or failed
    reason: str | None  # why it is not made
    stage: Row  # the stage's name, version and settings; empty where nothing is made
    inputs: Row  # what it was made from: files with bytes and mtime, or shards' paths with digests
    made_at: str | None
    digest: str | None  # of the shard's rows
    num_rows: int  # of the recording, the shard or the table; 0 or 1 for an utterance
    dropped: dict[str, int]  # reason -> rows of these
    attempts: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # what came out for this id


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened to an id, from the archive to the dataset."""

    id: str
    kind: str  # utterance, recording, shard or table
    verdict: str  # in one sentence: why it is, or is not, in `dataset`
    steps: list[Step]


def history(root: Path, id_: str) -> History:
    """The history of an utterance, a recording, a shard such as `codes/small-100`, or a table.

    Raises:
        Mistake: there is no such id, or no warehouse.
    """
    with Reader(root) as reader:
        tables = _column(reader, "select table_name from stages order by position")
        if id_ in tables:
            return _of_table(reader, id_)
        table, _, shard = id_.partition("/")
        if table in tables and (steps := _steps(reader, shard, table)):
            return History(id=id_, kind="shard", verdict=_shard_verdict(steps[0]), steps=steps)
        if found := _shard_of(reader, tables, "utterance_id", id_):
            return _of_utterance(reader, id_, found)
        if found := _shard_of(reader, tables, "recording_id", id_):
            return _of_recording(reader, id_, found)
        raise Mistake(f"{said(root)} knows nothing called {id_!r}{_closest(reader, id_, tables)}")


def _of_utterance(reader: Reader, id_: str, file: str) -> History:
    """Its row in each table of its shard, and its recording's."""
    [recording] = _column(reader, f"select recording_id from {scan()} where utterance_id = $2", [file, id_])
    steps = []
    for step in _steps(reader, shard_name(file)):
        for column, value in (("utterance_id", id_), ("recording_id", recording)):
            if column in _columns(reader, step):
                rows = _rows(reader, step, f"{column} = $1", value)
                dropped = {row["dropped"]: 1 for row in rows if row["dropped"]}
                step = replace(step, rows=rows, num_rows=len(rows), dropped=dropped)
                break
        steps.append(step)
    return History(id=id_, kind="utterance", verdict=_utterance_verdict(steps), steps=steps)


def _of_recording(reader: Reader, id_: str, file: str) -> History:
    """Its row, and how many of its utterances each table kept and dropped."""
    steps = []
    for step in _steps(reader, shard_name(file)):
        columns = _columns(reader, step)
        if {"recording_id", "utterance_id"} & columns:
            mine = "recording_id = $1" if "recording_id" in columns else _OF_RECORDING
            counts = _counts(reader, step, mine, id_)
            rows = [] if "utterance_id" in columns else _rows(reader, step, mine, id_)
            dropped = {reason: n for reason, n in counts.items() if reason}
            step = replace(step, rows=rows, num_rows=sum(counts.values()), dropped=dropped)
        steps.append(step)
    return History(id=id_, kind="recording", verdict=_recording_verdict(steps), steps=steps)


def _of_table(reader: Reader, table: str) -> History:
    """One step: all its shards together, with the settings of one of them."""
    [status] = reader.sql('select * from status where "table" = ?', [table]).to_pylist()
    made = "from artifacts semi join wanted using (table_name, shard, fingerprint) where table_name = ?"
    [one] = reader.sql(f"select any_value(stage) as stage, max(made_at) as made_at {made}", [table]).to_pylist()
    above = reader.sql(
        f"with paths as (select unnest(json_keys(inputs)) as path {made}) "
        "select path[:-len(split_part(path, '/', -1)) - 2] as version, count(distinct path) as shards from paths "
        "where ends_with(path, '.parquet') group by all order by all",
        [table],
    ).to_pylist()
    reasons = reader.sql(
        "select reason, sum(num_rows)::bigint as n from refusals semi join wanted "
        "using (table_name, shard, fingerprint) where table_name = ? group by all order by all",
        [table],
    ).to_pylist()
    undone = _column(
        reader,
        "select shard from wanted where table_name = ? and state <> 'made' order by state = 'pending', shard",
        [table],
    )
    step = Step(
        table=table,
        shard=None,
        fingerprint=status["fingerprint"],
        state="failed" if status["failed"] else "pending" if status["pending"] else _MADE,
        reason=_reason(reader, table, undone) if undone else None,
        stage=json.loads(one["stage"] or "{}"),
        inputs={row["version"]: row["shards"] for row in above},
        made_at=_time(one["made_at"]),
        digest=None,
        num_rows=status["rows"],
        dropped={row["reason"]: row["n"] for row in reasons},
        attempts=_attempts(reader, table, None),
    )
    verdict = (
        f"{status['made']} shards made, {status['pending']} pending, {status['failed']} failed; "
        f"{status['rows'] - status['dropped']} of {status['rows']} rows kept"
    )
    return History(id=table, kind="table", verdict=verdict, steps=[step])


def _reason(reader: Reader, table: str, undone: list[str]) -> str:
    """Why the first of a table's shards that are not made is not, and how many others there are."""
    [step] = _steps(reader, undone[0], table)
    more = f"; and {len(undone) - 1} more" if len(undone) > 1 else ""
    return _shard_verdict(step) + more


def _steps(reader: Reader, shard: str, table: str | None = None) -> list[Step]:
    """The tables that have this shard, in recipe order, or this one."""
    found = reader.sql(
        "select table_name, shard, fingerprint, state, reason, made_at, digest, coalesce(num_rows, 0) as num_rows, "
        "coalesce(stage, '{}') as stage, coalesce(inputs, '{}') as inputs, coalesce(dropped, '{}') as dropped "
        "from wanted left join artifacts using (table_name, shard, fingerprint) "
        "where shard = $1 and table_name = coalesce($2, table_name) order by position",
        [shard, table],
    ).to_pylist()
    return [
        Step(
            table=row["table_name"],
            shard=row["shard"],
            fingerprint=row["fingerprint"],
            state=row["state"],
            reason=row["reason"],
            stage=json.loads(row["stage"]),
            inputs=json.loads(row["inputs"]),
            made_at=_time(row["made_at"]),
            digest=row["digest"],
            num_rows=row["num_rows"],
            dropped={reason: said["rows"] for reason, said in json.loads(row["dropped"]).items()},
            attempts=_attempts(reader, row["table_name"], shard),
        )
        for row in found
    ]


def _attempts(reader: Reader, table: str, shard: str | None) -> list[Row]:
    """The latest attempts at what is wanted now, in the order they ended."""
    found = reader.sql(
        "select shard, state, attempt, started_at, ended_at, host, device, seconds, error, run_id, flow_run_id "
        "from runs semi join wanted using (table_name, shard, fingerprint) "
        f"where table_name = $1 and shard = coalesce($2, shard) order by ended_at desc limit {_ATTEMPTS}",
        [table, shard],
    ).to_pylist()
    return [{name: _time(value) for name, value in row.items()} for row in reversed(found)]


def _shard_of(reader: Reader, tables: list[str], column: str, id_: str) -> str | None:
    """The file of the first table that has this column, where it holds the id."""
    files = _files_with(reader, tables, column)
    query = f"select filename from {scan()} where {column} = $2 limit 1"
    found = _column(reader, query, [files, id_]) if files else []
    return found[0] if found else None


def _files_with(reader: Reader, tables: list[str], column: str) -> list[str]:
    for table in tables:
        if (files := reader.files(table)) and column in _names(reader, files[0]):
            return files
    return []


def _columns(reader: Reader, step: Step) -> set[str]:
    files = reader.files(step.table, step.shard)
    return _names(reader, files[0]) if files else set()


def _names(reader: Reader, file: str) -> set[str]:
    """The columns of a shard.

    Raises:
        Mistake: it is gone or damaged.
    """
    try:
        return set(reader.sql(f"select * from {scan()} limit 0", [[file]]).column_names)
    except Mistake as error:
        raise Mistake(f"{file} is gone or damaged; `valle run` makes it again: {error}") from error


def _rows(reader: Reader, step: Step, mine: str, id_: str) -> list[Row]:
    files = reader.files(step.table, step.shard)
    rows: list[Row] = reader.sql(f"select * from {scan(2)} where {mine}", [id_, files]).to_pylist()
    return rows


def _counts(reader: Reader, step: Step, mine: str, id_: str) -> dict[str | None, int]:
    """Rows by the reason that dropped them, null for those that are kept."""
    files = reader.files(step.table, step.shard)
    query = f"select dropped, count(*) as n from {scan(2)} where {mine} group by all order by all"
    return {row["dropped"]: row["n"] for row in reader.sql(query, [id_, files]).to_pylist()}


def _utterance_verdict(steps: list[Step]) -> str:
    for step in steps:
        for row in step.rows:
            if row["dropped"]:
                detail = f" ({row['detail']})" if row["detail"] else ""
                return f"not in dataset: {step.table} dropped it for {row['dropped']}{detail}"
        if step.state != _MADE:
            return f"not in dataset: {_shard_verdict(step)}"
        if step.table == "examples" and step.rows:
            return f"in dataset, split {step.rows[0]['split']}"
    return _NO_EXAMPLES


def _recording_verdict(steps: list[Step]) -> str:
    examples = [step for step in steps if step.table == "examples"]
    if first := next((step for step in steps if step.rows and step.rows[0]["dropped"]), None):
        return _utterance_verdict([first])
    if unmade := next((step for step in steps if step.state != _MADE), None):
        return f"not in dataset: {_shard_verdict(unmade)}"
    if not examples:
        return _NO_EXAMPLES
    kept = examples[0].num_rows - sum(examples[0].dropped.values())
    dropped = [f"{step.table} {reason} {n}" for step in steps for reason, n in step.dropped.items()]
    return f"{kept} of its utterances in dataset" + (f"; dropped: {', '.join(dropped)}" if dropped else "")


def _shard_verdict(step: Step) -> str:
    name = f"{step.table}/{step.shard}"
    if step.state == _MADE:
        return f"{name} is made: {step.num_rows - sum(step.dropped.values())} of {step.num_rows} rows kept"
    error = next((attempt["error"] for attempt in reversed(step.attempts) if attempt["error"]), None)
    return f"{name} {'has failed' if step.state == 'failed' else 'is pending'}: {error or step.reason}"


def _closest(reader: Reader, id_: str, tables: list[str]) -> str:
    """What may have been meant, as the end of a sentence. Ids are compared where they lie.

    Of a shard's name alone, the table is meant where it is not made, or else the last.
    """
    shards = "select table_name || '/' || shard from wanted where shard = ?"
    if meant := _column(reader, f"{shards} order by state = 'made', if(state = 'made', -position, position)", [id_]):
        return f"; did you mean {meant[0]!r}?"
    nearest = "order by jaro_winkler_similarity({0}, $2) desc, {0} limit 1"
    known = tables + _column(
        reader, "select table_name || '/' || shard from wanted where table_name = ?", [id_.partition("/")[0]]
    )
    if files := _files_with(reader, tables, "recording_id"):
        query = f"select recording_id from {scan()} {nearest.format('recording_id')}"
        recordings = _column(reader, query, [files, id_.rpartition("#")[0] or id_])
        known += recordings
        files = _files_with(reader, tables, "utterance_id")
        if files and recordings and "#" in id_:
            query = f"select utterance_id from {scan()} where recording_id = $3 {nearest.format('utterance_id')}"
            known += _column(reader, query, [files, id_, recordings[0]])
    match = get_close_matches(id_, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else "; say an utterance, a recording, TABLE/SHARD or a TABLE"


def _column(reader: Reader, query: str, parameters: list[Any] | None = None) -> list[Any]:
    values: list[Any] = reader.sql(query, parameters or []).column(0).to_pylist()
    return values


def _time(value: Any) -> Any:
    """A time as text, to the second."""
    return value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "isoformat") else value
