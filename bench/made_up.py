"""Attempts that nobody made, for catalogues that are to be measured or tested."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from warehouse.ledger import MADE, Attempt
from warehouse.store import Artifact


def attempt(artifact: Artifact, **said: Any) -> Attempt:
    """The attempt that an artifact claims to come from; `said` changes what is said of it."""
    plain = Attempt(
        run_id=uuid4().hex,
        flow_run_id=None,
        table_name=artifact.table_name,
        shard=artifact.shard,
        fingerprint=artifact.fingerprint,
        attempt=1,
        started_at=artifact.made_at,
        ended_at=artifact.made_at,
        state=MADE,
        error=None,
        host="nowhere",
        device="cpu",
        seconds=1.0,
        audio_seconds=artifact.seconds,
        peak_memory_bytes=0,
    )
    return replace(plain, **said)
