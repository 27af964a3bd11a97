"""Which utterances may train, and why the others may not."""

from typing import Any

import pyarrow as pa
import pytest
from pyarrow.dataset import dataset

from tasks.examples import Examples
from warehouse.errors import BrokenPromise, Mistake
from warehouse.tables import CODES, EXAMPLES, PHONES, TRANSCRIPTS, UTTERANCES, Table


def examples_of(
    utterances: dict[str, dict[str, Any]],
    transcripts: dict[str, dict[str, Any]],
    phones: dict[str, dict[str, Any]],
    codes: dict[str, dict[str, Any]],
    where: tuple[tuple[str, str], ...] = (),
    hold_out: str = "librispeech",
) -> list[tuple[str, str | None, str | None]]:
    """Id, reason and detail of every row that the stage makes; tables are given as rows by id."""

    def rows(table: Table, by_id: dict[str, dict[str, Any]]) -> Any:
        listed = [{"utterance_id": utterance_id} | row for utterance_id, row in by_id.items()]
        return dataset(pa.Table.from_pylist(listed, schema=table.schema))

    made = Examples(where=where, hold_out=hold_out)(
        rows(UTTERANCES, utterances), rows(TRANSCRIPTS, transcripts), rows(PHONES, phones), rows(CODES, codes)
    )
    assert made.schema.equals(EXAMPLES.schema)
    return [(row["utterance_id"], row["dropped"], row["detail"]) for row in made.to_pylist()]


def test_an_utterance_that_is_whole_may_train() -> None:
    assert examples_of({"a": {}}, {"a": {}}, {"a": {}}, {"a": {}}) == [("a", None, None)]


def test_the_first_table_that_refused_an_utterance_is_named() -> None:
    made = examples_of(
        {"a": {}, "b": {}, "c": {}, "d": {}},
        {"a": {"dropped": "empty_text"}, "b": {}, "c": {}, "d": {}},
        {"b": {"dropped": "unknown_symbol"}, "c": {}, "d": {}},
        {"a": {"dropped": "unreadable"}, "b": {}, "c": {"dropped": "unreadable"}},
    )
    assert made == [
        ("a", "not_whole", "transcripts: empty_text"),
        ("b", "not_whole", "phones: unknown_symbol"),
        ("c", "not_whole", "codes: unreadable"),
        ("d", "not_whole", "codes: missing"),
    ]


def test_dropped_utterances_are_skipped_and_the_order_is_kept() -> None:
    ids = [f"u{i:03d}" for i in reversed(range(300))]
    others = {utterance_id: {} for utterance_id in sorted(ids)}
    utterances = {utterance_id: {"dropped": "silence" if i % 3 == 0 else None} for i, utterance_id in enumerate(ids)}
    made = examples_of(utterances, others, others, others)
    assert [row[0] for row in made] == [utterance_id for i, utterance_id in enumerate(ids) if i % 3]


def test_a_recipe_adds_conditions_over_all_tables() -> None:
    where = (("too_short", "utterances.seconds >= 3"), ("low_confidence", "transcripts.avg_logprob > -1"))
    utterances = {"a": {"seconds": 4.0}, "b": {"seconds": 2.0}, "c": {"seconds": 4.0}}
    transcripts = {"a": {"avg_logprob": -0.5}, "b": {"avg_logprob": -2.0}, "c": {"avg_logprob": -2.0}}
    others: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}
    assert examples_of(utterances, transcripts, others, others, where) == [
        ("a", None, None),
        ("b", "too_short", "utterances.seconds >= 3"),
        ("c", "low_confidence", "transcripts.avg_logprob > -1"),
    ]


def test_a_condition_over_nothing_does_not_hold() -> None:
    one: dict[str, dict[str, Any]] = {"a": {}}
    made = examples_of(one, one, one, one, (("low_confidence", "transcripts.avg_logprob > -1"),))
    assert [row[1] for row in made] == ["low_confidence"]


def test_lists_and_quotes_work_in_conditions() -> None:
    where = (("odd", "len(phones.phones) / codes.num_frames < 1 and transcripts.text <> 'it''s'"),)
    made = examples_of(
        {"a": {}}, {"a": {"text": "it's"}}, {"a": {"phones": ["a", "b"]}}, {"a": {"num_frames": 4}}, where
    )
    assert made == [("a", "odd", where[0][1])]


@pytest.mark.parametrize(
    "holds", ["utterances.colour = 1", "utterances.seconds >>> 1", "'x'::int > 1", "from 'a.parquet'"]
)
def test_a_condition_that_is_no_sql_is_a_mistake(holds: str) -> None:
    one: dict[str, dict[str, Any]] = {"a": {}}
    with pytest.raises(Mistake, match="condition"):
        examples_of(one, one, one, one, (("odd", holds),))


def test_two_rows_of_one_utterance_are_noticed() -> None:
    utterances = dataset(pa.Table.from_pylist([{"utterance_id": "a"}], schema=UTTERANCES.schema))
    phones = dataset(pa.Table.from_pylist([{"utterance_id": "a"}], schema=PHONES.schema))
    transcripts = dataset(pa.Table.from_pylist([{"utterance_id": "a"}] * 2, schema=TRANSCRIPTS.schema))
    codes = dataset(pa.Table.from_pylist([{"utterance_id": "a"}], schema=CODES.schema))
    with pytest.raises(BrokenPromise, match="two rows of one utterance_id"):
        Examples()(utterances, transcripts, phones, codes)


def test_every_condition_that_a_row_fails_is_kept_each_once() -> None:
    where = (("short", "utterances.seconds >= 3"), ("unsure", "transcripts.avg_logprob > -1"))
    one: dict[str, dict[str, Any]] = {"a": {"seconds": 2.0}}

    def failed(transcript: dict[str, Any]) -> list[str]:
        rows = [
            dataset(pa.Table.from_pylist([{"utterance_id": "a"} | row], schema=table.schema))
            for table, row in ((UTTERANCES, one["a"]), (TRANSCRIPTS, transcript), (PHONES, {}), (CODES, {}))
        ]
        return list(Examples(where=where)(*rows)["failed"][0].as_py())

    assert failed({"avg_logprob": -0.5}) == ["short"]
    assert failed({"avg_logprob": -1.5}) == ["short", "unsure"]
    assert failed({"dropped": "empty_text"}) == ["not_whole", "short", "unsure"]


def test_a_held_out_speaker_in_train_fails_the_run() -> None:
    others: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    leak = {"a": {"split": "train", "speaker_id": "1089"}, "b": {"split": "train", "speaker_id": "100"}}
    with pytest.raises(BrokenPromise, match=r"speaker 1089 is held out by utterances.hold_out=librispeech \(test\)"):
        examples_of(leak, others, others, others)
    assert len(examples_of(leak, others, others, others, hold_out="none")) == 2
    own = {"a": {"split": "train", "speaker_id": "1089", "corpus": "my-voices"}, "b": leak["b"]}
    assert len(examples_of(own, others, others, others)) == 2, "a folder of somebody's own may have any name"
    in_its_place = {"a": {"split": "test", "speaker_id": "1089"}, "b": {"split": "train", "speaker_id": "100"}}
    assert len(examples_of(in_its_place, others, others, others)) == 2


def test_a_held_out_speaker_whom_the_filter_refuses_fails_nothing() -> None:
    others: dict[str, dict[str, Any]] = {"a": {}}
    leak = {"a": {"split": "train", "speaker_id": "1089", "seconds": 1.0}}
    made = examples_of(leak, others, others, others, (("short", "utterances.seconds >= 3"),))
    assert [row[1] for row in made] == ["short"]
