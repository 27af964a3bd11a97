"""Probes: what of a machine a run needs: disk, memory, limits, proxies, a GPU, Ray's and Prefect's places."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from flows.machine.diagnosis import MISSING, OK, WARNING, Diagnosis
from flows.machine.folders import can_be_written, folder_for_ray, is_of_another_version
from flows.machine.proxies import complaints
from warehouse.errors import Mistake

_GIB = 1 << 30
_LEAST_DISK, _ENOUGH_DISK = 1.0, 10.0  # GiB: a demo's, and a small corpus's
_LEAST_FILES, _ENOUGH_FILES = 256, 4_096  # a Ray of a few workers, and of many
_LEAST_MEMORY = 4.0  # GiB, for Whisper, a training and Ray on two cores


def disk(root: Path) -> list[Diagnosis]:
    """Room where the warehouse lies or will lie, and whether it can be written."""
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free / _GIB
    says = f"{free:,.1f} GiB free at {place}"
    if free < _LEAST_DISK:
        room = Diagnosis("disk", MISSING, says, "free some, `valle gc` may help, or name another --root")
    elif free < _ENOUGH_DISK:
        room = Diagnosis("disk", WARNING, says, "`valle estimate` says what a corpus takes")
    else:
        room = Diagnosis("disk", OK, says)
    few = os.statvfs(place)
    if few.f_files and few.f_favail < 10_000:
        room = Diagnosis("disk", MISSING, f"only {few.f_favail:,} more files fit at {place}", "remove small files")
    if can_be_written(root):
        return [Diagnosis("root", OK, f"{root} can be written"), room]
    todo = "give the right to write there, or name another folder with --root"
    return [Diagnosis("root", MISSING, f"{root} cannot be written", todo), room]


def shared_memory(object_store_bytes: int, place: Path = Path("/dev/shm")) -> list[Diagnosis]:
    """What a local Ray keeps its objects in."""
    if not place.is_dir():
        return [Diagnosis("/dev/shm", OK, "there is none; Ray keeps its objects in its temporary folder")]
    free = shutil.disk_usage(place).free
    says = f"{free / 1e6:,.0f} MB free, and Ray asks for {object_store_bytes / 1e6:,.0f} MB"
    if free < object_store_bytes:
        todo = "Ray uses its slower temporary folder: mount more (docker: --shm-size), or lower object_store_bytes"
        return [Diagnosis("/dev/shm", WARNING, says, todo)]
    return [Diagnosis("/dev/shm", OK, says)]


def memory(place: Path = Path("/proc/meminfo")) -> list[Diagnosis]:
    """What is available of it."""
    lines = dict(line.split(":", 1) for line in place.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024 / _GIB
    says = f"{free:,.1f} GiB available, {os.cpu_count()} CPUs"
    if free < _LEAST_MEMORY:
        return [
            Diagnosis("memory", WARNING, says, "a worker may be killed for want of it: set `workers = 1` in the site")
        ]
    return [Diagnosis("memory", OK, says)]


def open_files() -> list[Diagnosis]:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _ENOUGH_FILES:
        return [Diagnosis("open files", OK, f"{soft if soft >= 0 else 'any number'} at a time")]
    state = MISSING if soft < _LEAST_FILES else WARNING
    todo = f"ulimit -n {min(65_536, hard) if hard > soft else 65_536}, and start again from the same shell"
    return [Diagnosis("open files", state, f"{soft} at a time, and Ray opens some thousands with many workers", todo)]


def proxies(environment: Mapping[str, str]) -> list[Diagnosis]:
    """Those that the environment names, each with what is wrong with it."""
    wrong = complaints(environment)
    if wrong:
        return [Diagnosis("proxies", WARNING, words, "put it right, or unset it") for words in wrong]
    there = sorted(name for name in environment if name.lower().endswith("_proxy") and environment[name])
    says = f"{', '.join(there)}; nobody is asked for this machine through one" if there else "none"
    return [Diagnosis("proxies", OK, says)]


def first_environment() -> dict[str, str]:
    """The environment as this process was given it, before anything in it was put right."""
    with suppress(OSError):
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
        return dict(os.fsdecode(line).split("=", 1) for line in lines if b"=" in line)
    return dict(os.environ)


_ASK_TORCH = """
import json, torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps([torch.__version__, torch.version.cuda, names]))
"""


def gpu(device: str, patience: float) -> list[Diagnosis]:
    """What torch has to work on; asked in a process of its own, which a driver may hold for ever."""
    said = subprocess.run(
        [sys.executable, "-P", "-c", _ASK_TORCH], capture_output=True, text=True, timeout=patience, check=False
    )
    if said.returncode:
        words = (said.stderr.strip().splitlines() or ["no word"])[-1]
        todo = "install torch again: pip install --force-reinstall --constraint requirements.lock torch"
        return [Diagnosis("torch", MISSING, f"it cannot be imported ({words})", todo)]
    version, cuda, names = json.loads(said.stdout.splitlines()[-1])
    if names:
        return [Diagnosis("gpu", OK, f"{len(names)} × {names[0]}, torch {version}")]
    has_driver = Path("/proc/driver/nvidia").exists()
    state = MISSING if device == "cuda" else WARNING if has_driver else OK
    if has_driver and not cuda:
        todo = "pip install torch from https://download.pytorch.org/whl/, in the build for this driver's CUDA"
        return [Diagnosis("gpu", state, f"a driver is there, and torch {version} is built without CUDA", todo)]
    if has_driver:
        return [Diagnosis("gpu", state, f"torch {version} for CUDA {cuda} finds none", "see what nvidia-smi says")]
    todo = "set `device` of the site to auto or cpu, or run where a GPU is" if state != OK else ""
    return [Diagnosis("gpu", state, f"none; torch {version} works on the CPU", todo)]


def ray(address: str) -> list[Diagnosis]:
    """Whether a local Ray has a folder for its sockets, or a cluster listens at its address."""
    if address == "local":
        try:
            return [Diagnosis("ray", OK, f"it is started here, in {folder_for_ray()}")]
        except Mistake as error:
            return [Diagnosis("ray", MISSING, str(error), "set RAY_TMPDIR to a short path that can be written")]
    asked = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = asked.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        what = "finds the cluster of this machine, if one is started" if address == "auto" else "is not host:port"
        state = WARNING if address == "auto" else MISSING
        return [Diagnosis("ray", state, f"ray_address {address!r} {what}", "name the cluster's head as host:port")]
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        todo = "start the cluster (`ray start --head`), or set `ray_address` of the site to local"
        return [Diagnosis("ray", MISSING, f"nobody listens at {asked} ({error})", todo)]
    return [Diagnosis("ray", OK, f"{asked} listens")]


def prefect() -> list[Diagnosis]:
    """Whether the server that the environment or a profile names answers, or where its own keeps its books."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    url, source = os.environ.get("PREFECT_API_URL"), "PREFECT_API_URL"
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if not url and profiles.is_file():
        try:
            said = tomllib.loads(profiles.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            return [Diagnosis("prefect", MISSING, f"{profiles} cannot be read ({error})", "mend it, or move it away")]
        active = os.environ.get("PREFECT_PROFILE") or said.get("active", "")
        url, source = said.get("profiles", {}).get(active, {}).get("PREFECT_API_URL"), f"profile {active!r}"
    if not url:
        if is_of_another_version(home / "prefect.db"):
            says = f"{home / 'prefect.db'} is of another version; a database under the root's logs is used"
            return [Diagnosis("prefect", OK, says)]
        return [Diagnosis("prefect", OK, "a server of its own, which lives no longer than a run")]
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=5) as answer:
            return [Diagnosis("prefect", OK, f"{url} answers ({source}, {answer.status})")]
    except (OSError, ValueError) as error:
        todo = "start it (`prefect server start`), or do without: unset PREFECT_API_URL, PREFECT_PROFILE=ephemeral"
        return [Diagnosis("prefect", MISSING, f"{url} does not answer ({source}: {error})", todo)]
