"""A site says where: folders, cluster, devices. Strict TOML; nothing of it is hashed.

Each key can also be said by the environment, `VALLE_ROOT` for `root`, which
wins over the file; the command line wins over both. `pydantic-settings` would read
the environment in place of three lines here, and take 0.2 s of each command where
this takes 0.09; a sentence that names a key's neighbour would be ours all the same.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from flows.engine.recipe import closest
from warehouse.corpus_copy import corpus_at
from warehouse.corpus_copy import said as corpus_words
from warehouse.errors import Mistake
from warehouse.objects import is_url
from warehouse.stage import in_range
from warehouse.working_copy import root_at
from warehouse.working_copy import said as words_of

_LEAST_OBJECT_STORE = 75 << 20  # bytes, below which Ray does not start

PREFIX = "VALLE_"

PRICED = ("cpu_hour", "gpu_hour", "gib_month")  # what `valle estimate` counts money by


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a recipe is made."""

    root: Path = Path("warehouse-data")  # the warehouse
    audio: Path | None = None  # the corpus; <root>/audio unless said
    device: str = "auto"  # cpu, cuda, or auto: cuda where a node of the cluster has one
    ray_address: str = "local"  # local, auto, or host:port of a cluster
    workers: int | None = (
        None  # at most so many shards at a time; as many as there are CPUs (or GPU shares) unless said
    )
    grows_to: int | None = None  # workers that a cluster which starts machines by itself may come to have room for
    object_store_bytes: int = 300_000_000  # of a local Ray
    train_workers: int = 2  # of each half's training, at most: it begins with those there are room for, and may grow
    retries: int = 2  # of a shard that failed for a reason that may pass
    retry_delay_seconds: float = 2.0
    shard_timeout_seconds: float = 86_400.0  # after which a worker that is not done with a shard counts as stuck
    worker_wait_seconds: float = 3_600.0  # that a cluster may take to make room for the first worker of a stage
    max_failed_share: float = 0.0  # of each table's shards; with no more, what gathers goes on and the run ends well
    gpus: Mapping[str, float] = field(default_factory=dict)  # by table: share of a GPU that one worker holds
    certificate: Path | None = None  # PEM, what synthetic speech is signed with; one's own unless said
    certificate_key: Path | None = None  # its private key, PEM
    prices: Mapping[str, float] = field(default_factory=dict)  # by what `PRICED` names, in any one currency

    @property
    def corpus(self) -> Path:
        """Where the corpus lies."""
        return self.audio or self.root / "audio"

    @property
    def places(self) -> dict[str, Any]:
        """What stages are told of where they work; their device is known later."""
        signing = {"certificate": self.certificate, "certificate_key": self.certificate_key}
        return {"audio": self.corpus, "root": self.root, **signing}


def load_site(path: str | None = None, **overrides: Any) -> Site:
    """A site from its file, the environment and the command line, each winning over the one before.

    Folders that the file names are relative to the file; those that are said otherwise, to the current folder.

    Raises:
        Mistake: the file is missing or no TOML, or holds a key or value that a site does not have or a number that
            makes no sense.
    """
    said = _read(Path(path)) if path else {}
    for folder in ("root", "audio", "certificate", "certificate_key"):
        if path and isinstance(said.get(folder), str) and not is_url(said[folder]):
            said[folder] = str(Path(path).parent / Path(said[folder]).expanduser())
    environment = {
        f.name: os.environ[PREFIX + f.name.upper()] for f in fields(Site) if os.environ.get(PREFIX + f.name.upper())
    }
    said |= environment | {key: value for key, value in overrides.items() if value is not None}
    if is_url(said.get("root")):
        said["root"] = str(root_at(said["root"]))
    if is_url(said.get("audio")):
        said["audio"] = str(corpus_at(said["audio"]))
    site = _checked(said, path or "the environment")
    root, audio = site.root.expanduser().absolute(), site.corpus.expanduser().absolute()
    _check_numbers(site)
    if not 0 <= site.max_failed_share < 1:
        raise Mistake(f"site key max_failed_share is {site.max_failed_share:g}; it is a share, from 0 to below 1")
    if root.exists() and not root.is_dir():
        raise Mistake(f"{root} is a file; the root of a warehouse is a folder")
    return replace(site, root=root, audio=audio)


def device_here(site: Site) -> str:
    """The device that a site means for what this process itself computes, as torch names it."""
    if site.device != "auto":
        return site.device
    if not Path("/proc/driver/nvidia").exists():
        return "cpu"  # said without torch, which takes 250 MB and a second
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(site: Site) -> dict[str, str]:
    """The folders of a site as the environment says them, for a flow that is given plain names."""
    return {PREFIX + "ROOT": words_of(site.root), PREFIX + "AUDIO": corpus_words(site.corpus)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows begins with a mark
    except FileNotFoundError as error:
        raise Mistake(f"there is no site file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Mistake(f"site file {path} cannot be read: {error}") from error


def _checked(said: dict[str, Any], source: str) -> Site:
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(Site)
    values = {}
    for key, value in said.items():
        if key not in hints:
            raise Mistake(f"a site has no key {key!r} ({source}){closest(key, hints)}")
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            raise Mistake(f"site key {key} cannot be {value!r} ({source}): {error.errors()[0]['msg']}") from error
    return Site(**{**_defaults(), **values})


def _check_numbers(site: Site) -> None:
    in_range("site key object_store_bytes", site.object_store_bytes, _LEAST_OBJECT_STORE)
    in_range("site key train_workers", site.train_workers, 1)
    in_range("site key retries", site.retries, 0)
    in_range("site key retry_delay_seconds", site.retry_delay_seconds, 0)
    in_range("site key shard_timeout_seconds", site.shard_timeout_seconds, 0, above=True)
    in_range("site key worker_wait_seconds", site.worker_wait_seconds, 0, above=True)
    for key in ("workers", "grows_to"):
        if (number := getattr(site, key)) is not None:
            in_range(f"site key {key}", number, 1)
    for what, price in site.prices.items():
        if what not in PRICED:
            raise Mistake(f"site key prices has no {what!r}{closest(what, PRICED)}")
        in_range(f"site key prices.{what}", price, 0)
    for table, share in site.gpus.items():
        in_range(f"site key gpus.{table}", share, 0, above=True)
        if share > 1 and share != int(share):
            raise Mistake(f"site key gpus.{table} is {share:g}; above 1 it must be a whole number")


def _defaults() -> dict[str, Any]:
    return asdict(Site())
