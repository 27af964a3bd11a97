"""Folders that others take for granted: a home, a temporary folder with a short path, and a home of Prefect's.

A container may run as a user without a name, or without a home that can be written; on a shared machine `/tmp/ray` is a
colleague's; another project may have left a Prefect of another version.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from warehouse.errors import Mistake

LONGEST = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")  # a socket's path


def settle_home(own: Path) -> None:
    """Where nobody's home can be written, `own` is one: Prefect, numba and torch keep things there.

    Torch asks for the user's name besides, which a user without an entry in passwd has not.
    """
    if not can_be_written(_home()):
        if not can_be_written(own):
            own = Path(tempfile.gettempdir(), f"valle-{os.getuid()}")
        own.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(own)
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        os.environ["USER"] = _name()


def settle_prefect(own: Path) -> None:
    """Give Prefect a database of ours where its own cannot be written, or is of a version that it does not know.

    Whatever the environment or a profile says of a server or a database counts all the same.
    """
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "true")  # also under a profile that does not say so
    home = Path(os.environ.get("PREFECT_HOME") or _home() / ".prefect").expanduser()
    if not can_be_written(home):
        profiles = home / "profiles.toml"
        if profiles.exists():
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles))
        os.environ["PREFECT_HOME"] = str(own)
        home = own
    if not _says_database(home / "profiles.toml") and is_of_another_version(home / "prefect.db"):
        own.mkdir(parents=True, exist_ok=True)
        database = f"sqlite+aiosqlite:///{own / 'prefect.db'}"
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database


def folder_for_ray() -> str:
    """A folder for Ray's sessions: where it would have put them, or else the first that can be written and is short.

    Raises:
        Mistake: there is none.
    """
    asked = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    mine = f"ray-{os.getuid()}"
    for folder in (Path(asked, "ray"), Path(asked, mine), *(Path(place, mine) for place in ("/tmp", "/var/tmp"))):
        if len(os.fsencode(folder)) <= LONGEST and _is_ours_to_write(folder):
            return str(folder)
    raise Mistake(
        f"Ray needs a temporary folder that can be written, with a path of {LONGEST} bytes at most, and none of "
        f"{asked}, /tmp and /var/tmp is one; set RAY_TMPDIR"
    )


def _is_ours_to_write(folder: Path) -> bool:
    if not folder.is_absolute() or (folder.exists() and folder.stat().st_uid != os.getuid()):
        return False  # also where it can be written: what Ray replaces in it would be somebody else's
    return can_be_written(folder)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd
        return Path(os.devnull)


def _name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user{os.getuid()}"


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, or, where it is not there, in one that is made for them."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _says_database(profiles: Path) -> bool:
    """Whether somebody has named a database."""
    said = profiles.read_text(errors="replace") if profiles.is_file() else ""
    return "DATABASE" in said or any(name.startswith("PREFECT") and "DATABASE" in name for name in os.environ)


def is_of_another_version(database: Path) -> bool:
    """Whether a database of Prefect's was last used by a version whose migrations this one does not know."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=2)) as connection:
            found = [version for (version,) in connection.execute("select version_num from alembic_version")]
    except sqlite3.Error:
        return False  # new, or busy: Prefect will say
    spec = find_spec("prefect")
    known = Path(spec.origin).parent / "server/database/_migrations/versions/sqlite" if spec and spec.origin else None
    if known is None or not known.is_dir():
        return False
    names = [path.name for path in known.glob("*.py")]
    return any(not any(f"_{version}_" in name for name in names) for version in found)
