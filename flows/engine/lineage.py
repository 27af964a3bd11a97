"""Lineage: what a run has made of what, told to those who collect such things from many systems.

Two mirrors of the ledger, which stays what counts. Prefect's server hears of each table as an asset that was
materialized. And where the extra `lineage` is installed and OpenLineage's own settings name somewhere to send events
to (`OPENLINEAGE_URL`, or a file `openlineage.yml`), a run of the job `<recipe>.<table>` begins and ends there, with
versions, columns and numbers of rows. Whoever does not listen is told no more, and the run goes on meanwhile.
Source: OpenLineage (https://openlineage.io/spec), Prefect's assets.
"""

import logging
import os
import threading
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa
from prefect import runtime

from warehouse.plan import StagePlan
from warehouse.working_copy import objects_of

_QUIETLY = logging.getLogger("prefect")
_SETTINGS = "openlineage.yml"
_NAME = "valle"  # of what makes all of it
_NO_MORE = "no more is told of this run's lineage"
_PATIENCE = 10.0  # seconds at the end of a run for a collector that is slow


class Lineage:
    """What is told of one run of the engine."""

    def __init__(self, recipe: str, root: Path) -> None:
        self._recipe, self._root = recipe, root.absolute()
        self._mirrors: list[_Prefect | _OpenLineage] = []
        for mirror in (_Prefect, _OpenLineage):
            self._quietly(partial(self._add, mirror))

    def begin(self, plan: StagePlan) -> None:
        """A table has something to make, and it begins."""
        for mirror in list(self._mirrors):
            self._quietly(partial(mirror.begin, plan), mirror)

    def end(self, plan: StagePlan, above: Sequence[StagePlan], made: int, failures: Sequence[str]) -> None:
        """All is done of a table that could be.

        Args:
            plan: the table as it is now.
            above: the tables that it reads.
            made: the shards that this run has made.
            failures: what became of those that it could not make.
        """
        for mirror in list(self._mirrors):
            self._quietly(partial(mirror.end, plan, above, made, failures), mirror)

    def close(self) -> None:
        """Nothing more is told; what was begun and has not ended was broken off."""
        for mirror in self._mirrors:
            self._quietly(mirror.close)

    def _add(self, mirror: "type[_Prefect | _OpenLineage]") -> None:
        if mirror.listens():
            self._mirrors.append(mirror(self._recipe, self._root))

    def _quietly(self, tell: Callable[[], None], mirror: Any = None) -> None:
        try:
            tell()
        except Exception:
            if mirror in self._mirrors:
                self._mirrors.remove(mirror)
            _QUIETLY.warning(_NO_MORE, exc_info=True)


class _Prefect:
    """Prefect's events of assets, as its own `@materialize` has them."""

    def __init__(self, _recipe: str, root: Path) -> None:
        self._root = root

    @staticmethod
    def listens() -> bool:
        return bool(runtime.flow_run.id)

    def begin(self, _plan: StagePlan) -> None: ...

    def end(self, plan: StagePlan, above: Sequence[StagePlan], made: int, failures: Sequence[str]) -> None:
        from prefect.events import emit_event

        inputs = [{"prefect.resource.role": "asset", **self._asset(one)} for one in above]
        by = {"prefect.resource.role": "asset-materialized-by", "prefect.resource.id": _NAME}
        for one in above:
            emit_event("prefect.asset.referenced", resource=self._asset(one))
        emit_event(
            f"prefect.asset.materialization.{'failed' if failures else 'succeeded'}",
            resource=self._asset(plan),
            related=[*inputs, by],
            payload=_numbers(plan)
            | {"version": plan.wanted.version, "shards_made": made, "failures": list(failures[:10])},
        )

    def close(self) -> None: ...

    def _asset(self, plan: StagePlan) -> dict[str, str]:
        return {"prefect.resource.id": _uri(self._root, plan.wanted.table), "prefect.resource.name": plan.wanted.table}


class _OpenLineage:
    """OpenLineage's events: a run of a job for each table that has something to make."""

    def __init__(self, recipe: str, root: Path) -> None:
        from openlineage.client import OpenLineageClient

        self._recipe, self._root = recipe, root
        self._client = OpenLineageClient()
        self._runs: dict[str, Any] = {}  # by table
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._teller = threading.Thread(target=self._send, name="lineage", daemon=True)  # its client tries for long
        self._teller.start()

    @staticmethod
    def listens() -> bool:
        """Whether it is installed and told where to; it would print its events where it is told nothing."""
        named = any(name.startswith("OPENLINEAGE") for name in os.environ)
        files = (Path.cwd() / _SETTINGS, Path.home() / ".openlineage" / _SETTINGS)
        return find_spec("openlineage") is not None and (named or any(path.is_file() for path in files))

    def begin(self, plan: StagePlan) -> None:
        from openlineage.client.event_v2 import Job, Run, RunState
        from openlineage.client.facet_v2 import job_type_job, parent_run
        from openlineage.client.uuid import generate_new_uuid

        facets: dict[str, Any] = {}
        if runtime.flow_run.id:
            parent = parent_run.Job(_NAME, str(runtime.flow_run.flow_name))
            facets["parent"] = parent_run.ParentRunFacet(parent_run.Run(str(runtime.flow_run.id)), parent)
        kind = job_type_job.JobTypeJobFacet("BATCH", "VALLE", "TASK")
        job = Job(_NAME, f"{self._recipe}.{plan.wanted.table}", {"jobType": kind})
        self._runs[plan.wanted.table] = Run(str(generate_new_uuid()), facets), job
        self._tell(RunState.START, plan.wanted.table, [], [])

    def end(self, plan: StagePlan, above: Sequence[StagePlan], _made: int, failures: Sequence[str]) -> None:
        from openlineage.client.event_v2 import InputDataset, OutputDataset, Run, RunState
        from openlineage.client.facet_v2 import error_message_run, output_statistics_output_dataset, schema_dataset

        numbers = _numbers(plan)
        written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=numbers["rows"], size=numbers["bytes"], fileCount=numbers["shards"]
        )
        columns = schema_dataset.SchemaDatasetFacet(
            fields=[schema_dataset.SchemaDatasetFacetFields(column.name, str(column.type)) for column in _columns(plan)]
        )
        name, facets = _uri(self._root, plan.wanted.table).removeprefix("file://"), self._version(plan)
        output = OutputDataset(
            namespace="file",
            name=name,
            facets=facets | {"schema": columns},
            outputFacets={"outputStatistics": written},
        )
        inputs = [
            InputDataset(
                namespace="file",
                name=_uri(self._root, one.wanted.table).removeprefix("file://"),
                facets=self._version(one),
            )
            for one in above
        ]
        if failures:
            words = error_message_run.ErrorMessageRunFacet("\n".join(failures[:10]), "Python")
            run, job = self._runs[plan.wanted.table]
            self._runs[plan.wanted.table] = Run(run.runId, run.facets | {"errorMessage": words}), job
        self._tell(RunState.FAIL if failures else RunState.COMPLETE, plan.wanted.table, inputs, [output])
        del self._runs[plan.wanted.table]

    def close(self) -> None:
        from openlineage.client.event_v2 import RunState

        for table in self._runs:
            self._tell(RunState.ABORT, table, [], [])
        self._events.put(None)
        self._teller.join(_PATIENCE)
        if self._teller.is_alive():
            _QUIETLY.warning(f"{_NO_MORE}: its collector has not taken the last {self._events.qsize()} events")

    @staticmethod
    def _version(plan: StagePlan) -> dict[str, Any]:
        from openlineage.client.facet_v2 import dataset_version_dataset

        return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(plan.wanted.version)}

    def _tell(self, state: Any, table: str, inputs: list[Any], outputs: list[Any]) -> None:
        from openlineage.client.event_v2 import RunEvent

        run, job = self._runs[table]
        now = datetime.now(UTC).isoformat()
        event = RunEvent(
            eventTime=now,
            producer=f"urn:{_NAME}",
            run=run,
            job=job,
            eventType=state,
            inputs=inputs,
            outputs=outputs,
        )
        self._events.put(event)

    def _send(self) -> None:
        try:
            while (event := self._events.get()) is not None:
                self._client.emit(event)
            self._client.close(timeout=_PATIENCE)
        except Exception:
            _QUIETLY.warning(_NO_MORE, exc_info=True)


def _uri(root: Path, table: str) -> str:
    return f"{objects.url if (objects := objects_of(root)) else root.as_uri()}/{table}"


def _numbers(plan: StagePlan) -> dict[str, int]:
    """Of all of the table's shards, as the ledger has them."""
    shards = plan.current.values()
    return {
        "shards": len(shards),
        "rows": sum(shard.num_rows for shard in shards),
        "rows_dropped": sum(shard.num_dropped for shard in shards),
        "bytes": sum(shard.bytes for shard in shards),
    }


def _columns(plan: StagePlan) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(b64decode(plan.wanted.schema))) if plan.wanted.schema else pa.schema([])
