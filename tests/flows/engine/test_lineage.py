"""What a run tells of its lineage: to Prefect as assets, to OpenLineage as runs of jobs; and nothing it says counts."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.engine.lineage import _NO_MORE, _OpenLineage
from tests.toy import write_corpus
from warehouse.errors import WorkFailed

Run = Callable[..., dict[str, int]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The events that Prefect's server is sent."""
    import prefect.events

    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(prefect.events, "emit_event", lambda event, **told: found.append((event, told)))
    return found


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """The events that OpenLineage writes, by its own transport into a file."""
    path = tmp_path / "events.jsonl"
    for name, value in {"TYPE": "file", "LOG_FILE_PATH": str(path), "APPEND": "true"}.items():
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__{name}", value)
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_table_that_is_made_is_an_asset_and_a_run_of_a_job(
    pipeline: Run, tmp_path: Path, heard: list[tuple[str, Any]], collected: Callable[[], list[dict[str, Any]]]
) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause two")
    pipeline(until="codes")
    made = {told["resource"]["prefect.resource.name"]: told for event, told in heard if event.endswith("succeeded")}
    assert made.keys() == {"utterances", "codes"}
    root = (tmp_path / "root").as_uri()
    assert made["codes"]["resource"]["prefect.resource.id"] == f"{root}/codes"
    assert [one["prefect.resource.id"] for one in made["codes"]["related"]] == [f"{root}/utterances", "valle"]
    assert (made["codes"]["payload"]["shards_made"], made["codes"]["payload"]["rows"]) == (2, 2)

    told = [(event["job"]["name"], event["eventType"]) for event in collected()]
    assert sorted(told) == [(f"toy.{name}", kind) for name in ("codes", "utterances") for kind in ("COMPLETE", "START")]
    [end] = [one for one in collected() if (one["job"]["name"], one["eventType"]) == ("toy.codes", "COMPLETE")]
    [start] = [one for one in collected() if (one["job"]["name"], one["eventType"]) == ("toy.codes", "START")]
    assert start["run"]["runId"] == end["run"]["runId"]
    assert end["run"]["facets"]["parent"]["job"]["name"] == "pipeline"
    [written], [read] = end["outputs"], end["inputs"]
    assert (written["namespace"], written["name"]) == ("file", f"{tmp_path}/root/codes")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert "codebook_1" in {field["name"] for field in written["facets"]["schema"]["fields"]}
    assert read["name"] == f"{tmp_path}/root/utterances"
    assert read["facets"]["version"]["datasetVersion"]

    heard.clear()
    before = len(collected())
    pipeline(until="codes")
    assert (heard, len(collected())) == ([], before), "nothing was made, and something was told"


def test_what_cannot_be_made_is_told_with_its_cause(
    pipeline: Run, tmp_path: Path, heard: list[tuple[str, Any]], collected: Callable[[], list[dict[str, Any]]]
) -> None:
    write_corpus(tmp_path / "audio", a="pause one", b="pause wrong")
    with pytest.raises(WorkFailed):
        pipeline(until="utterances")
    [failed] = [told for event, told in heard if event == "prefect.asset.materialization.failed"]
    [cause] = failed["payload"]["failures"]
    assert cause.startswith("utterances/b: ValueError: these are no utterances")
    end = collected()[-1]
    assert (end["eventType"], end["run"]["facets"]["errorMessage"]["message"]) == ("FAIL", cause)


def test_a_collector_that_is_not_there_costs_nothing(
    pipeline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = threading.Event()
    monkeypatch.setattr("openlineage.client.OpenLineageClient.emit", lambda *_: given_up.wait())
    monkeypatch.setattr("flows.engine.lineage._PATIENCE", 0.0)
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    write_corpus(tmp_path / "audio", a="pause one")
    assert pipeline(until="codes") == {"utterances": 1, "codes": 1}
    given_up.set()


def test_who_cannot_be_told_is_told_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("openlineage.client.OpenLineageClient.emit", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    monkeypatch.setattr("flows.engine.lineage._QUIETLY", SimpleNamespace(warning=lambda words, **_: said.append(words)))
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    told = _OpenLineage("toy", tmp_path)
    for table in ("utterances", "codes"):
        told.begin(SimpleNamespace(wanted=SimpleNamespace(table=table)))  # type: ignore[arg-type]
    told.close()
    assert said == [_NO_MORE]


def test_what_a_collector_has_not_taken_in_time_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    given_up = threading.Event()
    monkeypatch.setattr("openlineage.client.OpenLineageClient.emit", lambda *_: given_up.wait())
    monkeypatch.setattr("flows.engine.lineage._QUIETLY", SimpleNamespace(warning=said.append))
    monkeypatch.setattr("flows.engine.lineage._PATIENCE", 0.2)
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    told = _OpenLineage("toy", tmp_path)
    told.begin(SimpleNamespace(wanted=SimpleNamespace(table="codes")))  # type: ignore[arg-type]
    told.close()
    given_up.set()
    assert [sentence.startswith(_NO_MORE) for sentence in said] == [True]
