"""What Prefect's pages show of a run, and that a retry from there makes only what is missing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.engine.prefect_pages import Pages, first_cause, slug
from tests.toy import write_corpus
from warehouse.errors import WorkFailed
from warehouse.query import select

Run = Callable[..., dict[str, int]]


@pytest.fixture
def client(prefect_server: None) -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def flow_run(root: Path, client: Any) -> Any:
    """The latest flow run of a warehouse, as the server knows it."""
    [row] = select(root, "select arg_max(flow_run_id, ended_at) as id from runs").to_pylist()
    return client.read_flow_run(row["id"])


def artifacts(run: Any, client: Any) -> dict[str, Any]:
    """What the pages show beside a flow run, by key: asked for by the run, as a page of all runs' ends at 200."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {one.key: one for one in client.read_artifacts(artifact_filter=of_run)}


def retry(run: Any, client: Any) -> Any:
    """What the button does, and then the runner: the same flow run again, with the parameters that it had."""
    from prefect.flow_engine import run_flow
    from prefect.states import AwaitingRetry

    from flows.pipeline import pipeline

    client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    run = client.read_flow_run(run.id)
    return run_flow(pipeline, flow_run=run, parameters=run.parameters, return_type="state")


def made(root: Path) -> dict[str, int]:
    """How often each shard was made."""
    rows = select(root, "select table_name, shard, count(*) as n from runs where state = 'made' group by all")
    return {f"{row['table_name']}/{row['shard']}": row["n"] for row in rows.to_pylist()}


def test_a_run_has_a_name_tags_bars_and_a_funnel(pipeline: Run, tmp_path: Path, client: Any) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause two")
    pipeline(until="codes")
    run = flow_run(tmp_path / "root", client)
    assert run.name == "toy to codes"
    assert {"recipe:toy", f"root:{tmp_path}/root", "table:utterances", "table:codes"} <= set(run.tags)
    shown = artifacts(run, client)
    assert shown["root-codes"].data == 100.0
    assert shown["root-codes"].description == f"codes in {tmp_path}/root: 2 of 2 shards made"
    funnel = {row["table_name"]: row for row in json.loads(shown["root-funnel"].data)}
    assert (funnel["utterances"]["rows_kept"], funnel["utterances"]["rows_dropped"]) == (2, 2)


def test_a_run_of_some_shards_is_named_by_them(pipeline: Run, tmp_path: Path, client: Any) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause two")
    pipeline()
    pipeline(only=["codes/a", "codes/b"], again=["codes/a", "codes/b"])
    assert flow_run(tmp_path / "root", client).name == "toy: codes/a and 1 more"


def test_a_failure_is_shown_by_its_first_cause_and_a_retry_makes_only_what_is_missing(
    pipeline: Run, tmp_path: Path, client: Any
) -> None:
    root = tmp_path / "root"
    write_corpus(tmp_path / "audio", a="pause one", b="pause wrong", c="pause three")
    with pytest.raises(WorkFailed):
        pipeline()
    run = flow_run(root, client)
    shown = artifacts(run, client)
    cause = "1 shard failed, the first utterances/b: ValueError: these are no utterances"
    assert shown["first-cause"].data.startswith(f"**{cause}")
    assert "retry this run" in shown["first-cause"].data
    assert [row["shard"] for row in json.loads(shown["root-failures"].data)] == ["b"]
    assert shown["root-utterances"].description.endswith("2 of 3 shards made, 1 failed")
    before = made(root)

    write_corpus(tmp_path / "audio", b="pause right")
    assert retry(run, client).is_completed()
    again = client.read_flow_run(run.id)
    assert (again.run_count, again.state_name) == (2, "Completed")
    new = {name for name, times in made(root).items() if times > before.get(name, 0)}
    assert new == {"utterances/b", "codes/b", "examples/b", "totals/all"}
    assert all(times == 1 for times in made(root).values())


def test_a_retry_does_not_make_again_what_its_run_was_asked_to_make_again_and_has_made(
    pipeline: Run, tmp_path: Path, client: Any
) -> None:
    root = tmp_path / "root"
    write_corpus(tmp_path / "audio", a="pause one", b="pause two")
    pipeline()
    both = ["codes/a", "codes/b"]
    with pytest.raises(WorkFailed):
        pipeline(settings=["codes.fails=b"], only=both, again=both)
    run = flow_run(root, client)
    assert made(root) | {"totals/all": 0} == {
        **dict.fromkeys(("utterances/a", "utterances/b", "examples/a", "examples/b", "codes/b"), 1),
        "codes/a": 2,
        "totals/all": 0,
    }
    assert retry(run, client).is_failed(), "b still has no codes"
    assert made(root)["codes/a"] == 2


def test_a_server_that_takes_nothing_costs_the_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*words: Any, **_: Any) -> None:
        asked.append(words)
        raise ConnectionError("nobody is there")

    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", refuse)
    pages = Pages("toy", tmp_path)
    pages._flow_run_id = "a run"
    pages.bar("codes", 2).advance(1, 0)
    pages.bar("phones", 2).advance(2, 0)
    assert len(asked) == 1


def test_a_cause_is_said_without_what_stands_before_it() -> None:
    said = "Flow run encountered an exception: WorkFailed: 1 shard failed, the first codes/a: OSError: away"
    assert first_cause(said) == "1 shard failed, the first codes/a: OSError: away"
    assert first_cause("no heartbeat for ten minutes") == "no heartbeat for ten minutes"


def test_keys_are_such_as_prefect_takes() -> None:
    assert slug("Warehouse_Data 2") == "warehouse-data-2"
    assert slug("__") == "valle"


def test_every_parameter_of_every_flow_is_described() -> None:
    from flows import pipeline as flows

    for flow in (flows.pipeline, flows.prepare, flows.train, flows.evaluate, flows.download):
        for name, told in flow.parameters.properties.items():
            assert told.get("description"), f"{flow.name} does not say what {name} is"
