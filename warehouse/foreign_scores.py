"""Scores of systems that this warehouse has not made: what `valle score` says of their files, kept in the ledger.

A system's scores of an evaluation set are its latest; whoever is scored again replaces what was said before.
"""

import duckdb
import pyarrow as pa

from warehouse.ledger import ScoredRecord
from warehouse.tables import SCORES

LAYOUT = """
    create table foreign_scores (
        sample_id varchar, system varchar,
        metric varchar, value double, errors integer, words integer,
        judge varchar, failures varchar[],
        speaker_id varchar, protocol varchar, evaluation_set varchar,
        dropped varchar, detail varchar,
        record_id varchar,
        scored_at timestamp       -- UTC
    )
    """


def take_up(db: duckdb.DuckDBPyConnection, said: ScoredRecord) -> None:
    """The rows of a record, in place of older ones of its system and set; a newer one stays."""
    of = [said.system, said.evaluation_set]
    newer = "from foreign_scores where system = ? and evaluation_set = ? and (scored_at > ? or record_id = ?)"
    if not said.rows or db.execute(newer, [*of, said.written_at, said.record_id]).fetchall():
        return
    db.execute("begin").fetchall()
    db.execute("delete from foreign_scores where system = ? and evaluation_set = ?", of).fetchall()
    db.register("incoming", pa.Table.from_pylist(list(said.rows), schema=SCORES.schema))
    db.execute(
        "insert into foreign_scores by name select *, ? as record_id, ?::timestamp as scored_at from incoming",
        [said.record_id, said.written_at],
    ).fetchall()
    db.unregister("incoming")
    db.execute("commit").fetchall()
