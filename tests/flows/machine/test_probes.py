"""Probes: what a machine lacks is named, with what to do."""

import resource
import socket
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from flows.machine import probes
from flows.machine.diagnosis import MISSING, OK, WARNING

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("gib", "state"), [(0.5, MISSING), (5, WARNING), (500, OK)])
def test_little_room_on_a_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: float, state: str) -> None:
    monkeypatch.setattr(probes.shutil, "disk_usage", lambda _: Usage(0, 0, gib * (1 << 30)))
    root, disk = probes.disk(tmp_path / "not" / "there" / "yet")
    assert (root.state, disk.state, bool(disk.todo)) == (OK, state, state != OK)


def test_a_root_that_cannot_be_written_is_missing() -> None:
    assert probes.disk(Path("/proc/nothing"))[0].state == MISSING


def test_a_small_shared_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes.shutil, "disk_usage", lambda _: Usage(0, 0, 64 << 20))
    [small] = probes.shared_memory(300_000_000, tmp_path)
    assert small.state == WARNING
    assert "67 MB free, and Ray asks for 300 MB" in small.says
    assert "--shm-size" in small.todo
    assert probes.shared_memory(1, tmp_path / "none")[0].state == OK


def test_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 1048576 kB\n")
    [little] = probes.memory(tmp_path / "meminfo")
    assert (little.state, little.says.startswith("1.0 GiB")) == (WARNING, True)


@pytest.mark.parametrize(("soft", "state"), [(64, MISSING), (1024, WARNING), (65_536, OK)])
def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch, soft: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 1_000_000))
    [files] = probes.open_files()
    assert (files.state, "ulimit -n" in files.todo) == (state, state != OK)


def test_a_proxy_that_is_none_is_told_from_the_first_environment() -> None:
    [wrong] = probes.proxies({"HTTP_PROXY": "http://[", "PATH": "/bin"})
    assert (wrong.state, "HTTP_PROXY is left aside" in wrong.says) == (WARNING, True)
    [right] = probes.proxies({"https_proxy": "http://proxy:3128"})
    assert (right.state, right.says.startswith("https_proxy")) == (OK, True)
    assert probes.proxies({})[0].says == "none"


@pytest.mark.parametrize(
    ("device", "driver", "answer", "state", "says"),
    [
        ("auto", False, '["2.13", null, []]', OK, "works on the CPU"),
        ("cuda", False, '["2.13", null, []]', MISSING, "none"),
        ("auto", True, '["2.13", null, []]', WARNING, "built without CUDA"),
        ("auto", True, '["2.13", "12.6", []]', WARNING, "finds none"),
        ("cuda", True, '["2.13", "12.6", ["H100"]]', OK, "1 × H100"),
    ],
)
def test_a_gpu_is_what_torch_finds(
    monkeypatch: pytest.MonkeyPatch, device: str, driver: bool, answer: str, state: str, says: str
) -> None:
    monkeypatch.setattr(probes.Path, "exists", lambda _: driver)
    done = subprocess.CompletedProcess([], 0, stdout=f"a warning\n{answer}\n", stderr="")
    monkeypatch.setattr(probes.subprocess, "run", lambda *_, **__: done)
    [gpu] = probes.gpu(device, 5)
    assert (gpu.state, bool(gpu.todo)) == (state, state != OK)
    assert says in gpu.says


def test_a_torch_that_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\nImportError: no libcudart")
    monkeypatch.setattr(probes.subprocess, "run", lambda *_, **__: done)
    [torch] = probes.gpu("auto", 5)
    assert (torch.what, torch.state, "no libcudart" in torch.says) == ("torch", MISSING, True)


def test_a_cluster_listens_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probes.ray("local")[0].state == OK
    assert probes.ray("somewhere")[0].state == MISSING
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert probes.ray("auto")[0].state == WARNING
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert probes.ray(f"127.0.0.1:{port}")[0].state == OK
    [gone] = probes.ray(f"127.0.0.1:{port}")
    assert (gone.state, "nobody listens" in gone.says) == (MISSING, True)


def test_a_server_of_prefects_answers_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert probes.prefect()[0].state == OK
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    [gone] = probes.prefect()
    assert (gone.state, "profile 'work'" in gone.says) == (MISSING, True)
    profiles.write_text('active = "work')
    assert probes.prefect()[0].state == MISSING
