"""The requests to an object store, by obstore: the object_store crate of Apache Arrow, with its retries."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from warehouse.errors import Mistake
from warehouse.objects import Condition, Refused, Stat, Unanswered

if TYPE_CHECKING:
    from obstore import ObjectMeta

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_RETRIES = 3  # of the crate's own, within one request
_LARGE = 1 << 20  # bytes of what may take long on its way
_LONG, _SHORT, _PATIENCE = (
    timedelta(minutes=30),
    timedelta(seconds=20),
    timedelta(seconds=10),
)  # the last for connecting


class ByObstore:
    """The objects below one URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def store(self) -> ObjectStore:
        """The crate's client, made by the first request: credentials come from the environment, or the machine's."""
        with self._told():
            return from_url(self.url, **_options(_LONG))

    @cached_property
    def quick(self) -> ObjectStore:
        """The same for requests that take no time, which are given up and made again sooner."""
        with self._told():
            return from_url(self.url, **_options(_SHORT))

    def put(self, name: str, data: bytes | Path, condition: Condition) -> str:
        """As `Backend` says."""
        mode = condition if condition in ("overwrite", "create") else {"e_tag": condition}
        with self._told(name):
            whole = isinstance(data, bytes)  # conditions hold of requests that are one alone
            store = self.quick if isinstance(data, bytes) and len(data) < _LARGE else self.store
            return obstore.put(store, name, data, mode=mode, use_multipart=not whole)["e_tag"] or ""  # type: ignore[arg-type]

    def get(self, name: str) -> tuple[bytes, str]:
        """As `Backend` says."""
        with self._told(name):
            found = obstore.get(self.store, name)
            return bytes(found.bytes()), found.meta["e_tag"] or ""

    def fetch(self, name: str, path: Path) -> Stat:
        """As `Backend` says."""
        with self._told(name):
            found = obstore.get(self.store, name)
            with path.open("wb") as file:
                for some in found:
                    file.write(some)
            return _stat(found.meta)

    def list(self, folder: str) -> dict[str, Stat]:
        """As `Backend` says."""
        with self._told(folder):
            found = [one for some in obstore.list(self.quick, prefix=folder or None) for one in some]
        return {one["path"]: _stat(one) for one in found if _is_below(one["path"], folder)}

    def children(self, folder: str) -> tuple[tuple[str, ...], dict[str, Stat]]:
        """As `Backend` says."""
        with self._told(folder):
            found = obstore.list_with_delimiter(self.quick, prefix=folder or None)
        return (
            tuple(path.rpartition("/")[2] for path in found["common_prefixes"]),
            {one["path"].rpartition("/")[2]: _stat(one) for one in found["objects"] if _is_below(one["path"], folder)},
        )

    def stat(self, name: str) -> Stat:
        """As `Backend` says."""
        with self._told(name):
            return _stat(obstore.head(self.quick, name))

    def delete(self, name: str) -> None:
        """As `Backend` says."""
        with self._told(name), suppress(FileNotFoundError):
            obstore.delete(self.quick, name)

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """The crate's errors as ours. Its words may hold headers, so that they reach nobody but by their kind."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise Refused(where) from error
        except (PermissionDeniedError, UnauthenticatedError):
            raise Mistake(
                f"{where}: access is denied; look after the credentials in the environment ({_credentials(where)}, or "
                "a role), whether they have expired, and what they may do there"
            ) from None
        except FileNotFoundError as error:
            if _has_no_bucket(str(error)):
                raise Mistake(f"{self.url}: there is no such bucket") from None
            raise FileNotFoundError(f"there is no {where}") from None
        except BaseError as error:
            said = str(error)
            if "invalid path" in said:
                raise Mistake(f"{where} holds an object whose name is no path: {_cause(said)}") from None
            if _has_no_bucket(said):
                raise Mistake(f"{self.url}: there is no such bucket") from None
            raise Unanswered(f"{where} could not be reached: {_cause(said)}") from None


def filesystem(url: str) -> Any:
    """The same store as DuckDB reads files by: a filesystem of fsspec's for the URL's scheme."""
    from obstore.fsspec import FsspecStore  # with fsspec, half a second

    files = FsspecStore(url.partition("://")[0], **_options(_LONG))  # type: ignore[call-overload]
    glob = files.glob

    def found(pattern: str, **how: Any) -> Any:
        """What matches. DuckDB asks for each of 7,000 files by name: that is answered without a request for each.

        And obstore's own finds nothing where a pattern says its scheme, as DuckDB's do.
        """
        name = pattern.partition("://")[2] or pattern
        return glob(name, **how) if has_magic(name) else [name]

    files.glob = found
    return files


def _is_below(path: str, folder: str) -> bool:
    """Whether it lies in a folder, and is not the object of no bytes by which some tools mark the folder itself."""
    return path.startswith(f"{folder}/") if folder else bool(path)


def _stat(said: "ObjectMeta") -> Stat:
    """Bytes and time of an object. A server says the time of one to the second, and of a list's sometimes to less."""
    return said["size"], int(said["last_modified"].timestamp()) * 1_000_000_000


def _options(longest: timedelta) -> dict[str, Any]:
    """How long requests may take, and whether they may go unencrypted: to an endpoint that is said to be http."""
    endpoints = [os.environ.get(name, "") for name in _ENDPOINTS]
    is_http = any(endpoint.startswith("http://") for endpoint in endpoints)
    return {
        "client_options": {"timeout": longest, "connect_timeout": _PATIENCE, "allow_http": is_http},
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": longest},
    }


def _has_no_bucket(said: str) -> bool:
    return "NoSuchBucket" in said or "ContainerNotFound" in said


def _credentials(url: str) -> str:
    """The variables that a person would say them by."""
    if url.startswith("az:"):
        return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
    return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def _cause(said: str) -> str:
    """The first line of what the crate says of a failure, without its notes on where that came from."""
    return said.split("Debug source:")[0].strip().splitlines()[0][:300]
