"""Archives come whole, whatever their server does and whenever the download is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, namedtuple
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from flows.downloads.fetch import Patience
from flows.downloads.request import DownloadRequest
from flows.downloads.resumable import download_archive
from tests.server import HASTY, Manners, files, md5, member, serve, tar, tar_of
from warehouse.catalogue import Catalogue
from warehouse.errors import Mistake, WorkFailed
from warehouse.query import select

HOUSE = Path(__file__).parents[3]
FILES = files()
TAR, TGZ = tar(FILES), tar(FILES, "gz")
BOTH = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
def server() -> Iterator[Manners]:
    with serve(small__tar=TAR, small__tgz=TGZ) as manners:
        yield manners


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def bring(server: Manners, root: Path, file: str = "small.tar", patience: Patience = HASTY, **words: Any) -> None:
    words = {"md5": md5(server.files[f"/{file}"]), "leave_free": 0} | words
    download_archive(DownloadRequest(name=f"{server.url}/{file}", dest=root / "audio", **words), root, patience)


def tree(root: Path) -> dict[str, bytes]:
    dest = root / "audio"
    found = {path.relative_to(dest).as_posix(): path for path in dest.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".downloads/")}


def row(root: Path) -> dict[str, Any]:
    [found] = select(root, "from archives").to_pylist()
    return dict(found)


def leftovers(root: Path) -> list[str]:
    return sorted(path.name.split(".tar")[-1] for path in (root / "audio" / ".downloads").iterdir())


@BOTH
def test_an_archive_is_verified_extracted_and_recorded(server: Manners, root: Path, stream: bool) -> None:
    bring(server, root, stream=stream)
    assert tree(root) == FILES
    assert leftovers(root) == [".lock", ".members.jsonl"], "the archive is deleted"
    expected = {
        "name": f"{server.url}/small.tar",
        "url": f"{server.url}/small.tar",
        "dest": str(root / "audio"),
        "expected_md5": md5(TAR),
        "md5": md5(TAR),
        "verified": "given-md5",
        "content_length": len(TAR),
        "bytes_done": len(TAR),
        "etag": '"one"',
        "state": "extracted",
        "error": None,
        "num_members": len(FILES),
        "num_refused": 0,
        "streamed": stream,
    }
    found = row(root)
    assert {key: found[key] for key in expected} == expected
    assert found["started_at"] < found["finished_at"]


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_compressed_archive(server: Manners, root: Path, compression: str) -> None:
    server.files[f"/x.tar.{compression}"] = tar(FILES, compression)
    server.cut = (20_000, 60_000)
    bring(server, root, f"x.tar.{compression}", keep_archive=True)
    assert tree(root).items() >= FILES.items()
    [kept] = (root / "audio").glob("*.tar.*")
    assert md5(kept.read_bytes()) == md5(server.files[f"/x.tar.{compression}"])


@BOTH
def test_a_second_call_does_nothing_and_says_so(
    server: Manners, root: Path, stream: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(server, root, stream=stream)
    before, asked = row(root), len(server.asked)
    capsys.readouterr()
    bring(server, root, stream=stream)
    assert capsys.readouterr().err.startswith("nothing to download: ")
    assert (row(root), len(server.asked)) == (before, asked)


def test_a_member_that_is_deleted_comes_again_and_the_others_stay(server: Manners, root: Path) -> None:
    bring(server, root)
    names = list(FILES)
    os.utime(root / "audio" / names[0], (1, 1))
    (root / "audio" / names[3]).unlink()
    bring(server, root)
    assert tree(root) == FILES
    assert (root / "audio" / names[0]).stat().st_mtime == 1
    assert row(root)["num_members"] == len(FILES)


def test_what_nobody_has_summed_is_said_to_be_self_hashed(
    server: Manners, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(server, root, md5=None)
    assert "nobody has published its sum" in capsys.readouterr().err
    assert (row(root)["verified"], row(root)["md5"], row(root)["expected_md5"]) == ("self-hashed", md5(TAR), None)


def test_a_stream_says_that_its_members_are_used_before_the_sum(
    server: Manners, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(server, root, stream=True)
    assert "members are used as they come, before the sum of the whole can be checked" in capsys.readouterr().err


def test_a_mirror_takes_the_place_of_the_publisher(
    server: Manners, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.downloads import archives

    known = archives.Archive("librilight-small", "https://nowhere.example/data/small.tar", md5(TAR), "published-md5")
    monkeypatch.setattr(archives, "KNOWN", {"librilight-small": known})
    server.files["/m/data/small.tar"] = TAR
    request = DownloadRequest(name="librilight-small", dest=root / "audio", mirror=f"{server.url}/m", leave_free=0)
    assert download_archive(request, root, HASTY).verified == "published-md5"
    assert row(root)["url"] == f"{server.url}/m/data/small.tar"


@BOTH
def test_wrong_bytes_are_told_and_the_next_call_begins_anew(server: Manners, root: Path, stream: bool) -> None:
    place = TAR.index(FILES["small/100/book/02.flac"]) + 9
    wrong = TAR[:place] + bytes([TAR[place] ^ 1]) + TAR[place + 1 :]
    server.files["/small.tar"] = wrong
    with pytest.raises(WorkFailed, match=f"its md5 is {md5(wrong)}, and {md5(TAR)} was promised"):
        bring(server, root, md5=md5(TAR), stream=stream)
    assert (row(root)["state"], row(root)["verified"], row(root)["md5"]) == ("wrong_sum", None, md5(wrong))
    assert stream or tree(root) == {}, "nothing is extracted before the sum holds"
    server.files["/small.tar"] = TAR
    bring(server, root, stream=stream)
    assert tree(root) == FILES
    assert row(root)["state"] == "extracted"


@BOTH
def test_a_download_that_broke_off_goes_on(server: Manners, root: Path, stream: bool) -> None:
    server.cut = (70_000, 70_000)
    with pytest.raises(WorkFailed, match="cannot be had"):
        bring(server, root, stream=stream, patience=Patience(attempts=1, pause=0.0))
    assert row(root)["state"] == "failed"
    assert row(root)["bytes_done"] == 70_000
    server.cut, server.asked = None, []
    bring(server, root, stream=stream)
    assert server.asked == [f"bytes={_resumed(stream)}-"]
    assert tree(root) == FILES
    assert row(root)["md5"] == md5(TAR)


def _resumed(stream: bool) -> int:
    """A file goes on at its byte; a stream at the end of its last whole member."""
    return TAR.index(FILES["small/100/book/01.flac"]) + len(FILES["small/100/book/01.flac"]) if stream else 70_000


@BOTH
def test_a_file_that_changed_at_the_server_is_not_gone_on_with(server: Manners, root: Path, stream: bool) -> None:
    server.cut = (70_000, 70_000)
    with pytest.raises(WorkFailed):
        bring(server, root, stream=stream, patience=Patience(attempts=1, pause=0.0))
    server.cut, server.etag = None, '"two"'
    for _ in range(2):
        with pytest.raises(WorkFailed, match="has changed at its server .* to begin anew"):
            bring(server, root, stream=stream)
        assert (row(root)["state"], row(root)["etag"]) == ("failed", '"one"')
    for path in (root / "audio" / ".downloads").iterdir():
        path.unlink()
    bring(server, root, stream=stream)
    assert tree(root) == FILES
    assert row(root)["etag"] == '"two"'


@BOTH
@pytest.mark.parametrize(
    ("manners", "error", "says"),
    [
        ({"statuses": [404]}, Mistake, "the server says 404 Not Found"),
        ({"statuses": [503] * 9}, WorkFailed, "after 3 attempts: the server says 503"),
        ({"redirect": True}, Mistake, "cannot be followed"),
        ({"length": 5000}, WorkFailed, "it is no whole tar|its md5 is"),
        ({"length": len(TAR) + 9}, WorkFailed, "its length is not what it said"),
        ({"files": {"/small.tar": TAR[:50_000]}}, WorkFailed, "it is no whole tar|its md5 is"),
        ({"files": {"/small.tar": b"<html>Welcome!</html>"}}, WorkFailed, "it is no whole tar|its md5 is"),
    ],
)
def test_each_misbehaviour_is_one_sentence_and_a_state(
    server: Manners, root: Path, stream: bool, manners: dict[str, Any], error: type[Exception], says: str
) -> None:
    vars(server).update(deepcopy(manners))
    with pytest.raises(error, match=says) as caught:
        bring(server, root, md5=md5(TAR), stream=stream)
    assert row(root)["error"] == str(caught.value)
    assert "\n" not in str(caught.value)
    assert row(root)["state"] in ("failed", "damaged", "wrong_sum")


def test_a_truncated_archive_that_nobody_summed_is_damaged(server: Manners, root: Path) -> None:
    server.files["/small.tar"] = TAR[:100_000]
    with pytest.raises(WorkFailed, match="no whole tar|breaks off"):
        bring(server, root, md5=None)
    assert row(root)["state"] == "damaged"
    server.files["/small.tar"] = TAR
    bring(server, root, md5=None)
    assert tree(root) == FILES


def test_refused_members_are_counted_with_their_reason(
    server: Manners, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [(member(name, size=len(data)), data) for name, data in FILES.items()]
    server.files["/small.tar"] = tar_of([(member("../../x", size=1), b"x"), (member("/y", b"2", "/etc"), b""), *parts])
    bring(server, root)
    assert tree(root) == FILES
    assert json.loads(row(root)["refused"]) == {
        "outside": {"members": 1, "first": "../../x"},
        "link": {"members": 1, "first": "y"},
    }
    assert "1 member refused: outside, the first '../../x'" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_told_before(server: Manners, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = len(TAR) + 1000
    monkeypatch.setattr("flows.downloads.resumable.shutil.disk_usage", lambda _: usage(0, 0, free))
    with pytest.raises(WorkFailed, match="needs 0.0 GiB more and 0.0 GiB is to stay free, and --stream needs half"):
        bring(server, root)
    assert tree(root) == {}
    bring(server, root, stream=True)
    assert tree(root) == FILES


def test_a_disk_that_fills_up_is_told_and_what_has_come_is_kept(
    server: Manners, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(
            "flows.downloads.unpack.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(WorkFailed, match="No space left on device; what has come is kept"):
            bring(server, root, stream=True)
        assert tree(root) == {}
    bring(server, root, stream=True)
    assert tree(root) == FILES


def test_one_process_at_a_time(server: Manners, root: Path) -> None:
    import fcntl

    bring(server, root)
    (root / "audio" / next(iter(FILES))).unlink()
    [lock] = (root / "audio" / ".downloads").glob("*.lock")
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Mistake, match="is being downloaded to this folder by another process"):
            bring(server, root)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"file": "small.tgz", "stream": True}, "--stream is for plain tars"),
        ({"stream": True, "keep_archive": True}, "--keep-archive cannot be said with it"),
    ],
)
def test_words_that_do_not_go_together(server: Manners, root: Path, words: dict[str, Any], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        bring(server, root, **words)


def test_archives_are_rebuilt_with_the_catalogue(server: Manners, root: Path) -> None:
    bring(server, root)
    before = row(root)
    for path in root.glob("*.duckdb*"):
        path.unlink()
    bring(server, root)
    Catalogue(root).rebuild()
    assert row(root) == before


@pytest.mark.slow
@BOTH
def test_a_download_killed_ten_times_ends_as_one_that_was_not(server: Manners, root: Path, stream: bool) -> None:
    many = files(40, 20_000)
    server.files["/small.tar"] = tar(many)
    server.cut, server.bytes_per_second = (50_000, 400_000), 400_000
    request = {"md5": md5(server.files["/small.tar"]), "stream": stream, "leave_free": 0}
    code = (
        "from pathlib import Path; from flows.downloads.resumable import *\n"
        f"request = DownloadRequest(name='{server.url}/small.tar', dest=Path('{root}/audio'), **{request!r})\n"
        f"download_archive(request, Path('{root}'), Patience(pause=0.01, slowest=1.0))"
    )
    pick, kills = random.Random(3), 0
    while kills < 10:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=HOUSE, stderr=subprocess.DEVNULL)
        asked = len(server.asked)
        while len(server.asked) == asked and process.poll() is None:
            time.sleep(0.005)
        time.sleep(pick.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was done before it was killed often enough"
        kills += 1
    server.bytes_per_second = None
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True, stderr=subprocess.DEVNULL)
    assert tree(root) == many
    assert (row(root)["md5"], row(root)["state"], row(root)["num_members"]) == (request["md5"], "extracted", 40)
    [journal] = (root / "audio" / ".downloads").glob("*.jsonl")
    names = Counter(json.loads(line)["name"] for line in journal.read_text().splitlines())
    assert names == Counter(list(many)), "each member once"


def test_the_command_runs_the_flow_and_then_has_nothing_to_do(
    prefect_server: None,
    server: Manners,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from flows.cli import main

    monkeypatch.setattr("flows.cli.atexit.register", lambda _: None)
    words = ["--root", str(root), "--leave-free", "0"]
    for name, says in (("small.tar", "is in"), ("small.tar", "nothing to download")):
        monkeypatch.setattr("sys.argv", ["valle", "download", f"{server.url}/{name}", *words])
        main()
        assert says in capsys.readouterr().err
    assert tree(root) == FILES
    for name, code, says in (
        (f"{server.url}/none.tar", 2, "404 Not Found"),
        ("librilight-huge", 2, "there is no archive 'librilight-huge'"),
    ):
        monkeypatch.setattr("sys.argv", ["valle", "download", name, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert says in capsys.readouterr().err
