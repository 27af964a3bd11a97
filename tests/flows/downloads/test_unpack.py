"""The members of a tar: whole or not at all, inside their folder, each once."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.downloads.members import Journal
from flows.downloads.unpack import Damaged, Member, unpack
from tests.server import files, md5, member, noise, tar, tar_of

FILES = files(4, 3000)


def extract(data: bytes, folder: Path, **words: object) -> list[Member]:
    folder.mkdir(exist_ok=True)
    return list(unpack(io.BytesIO(data), folder, folder.parent / "unfinished", **words))  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_member_is_there_and_told_of(tmp_path: Path) -> None:
    found = extract(tar(FILES), tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert {member.name: member.size for member in found} == {name: len(data) for name, data in FILES.items()}
    assert (tmp_path / "out" / next(iter(FILES))).stat().st_mtime == 1_700_000_000, "extracted again, it is the same"


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (member("../x", size=3), "outside"),
        (member("a/../../x", size=3), "outside"),
        (member("/etc/x", size=3), "absolute_path"),
        (member(".downloads/x.members.jsonl", size=3), "reserved"),
        (member("./.downloads/x", size=3), "reserved"),
        (member("small/100/book/00.flac", size=3), "twice"),
        (member("./small//100/book/00.flac", size=3), "twice"),
        (member("small/100/book", size=3), "in_the_way"),
        (member("small/100/book/00.flac/x", size=3), "in_the_way"),
        (member("y" * 300, size=3), "bad_name"),
        (member(".", size=3), "no_name"),
        (member("x", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (member("x", tarfile.SYMTYPE, "small"), "link"),
        (member("x", tarfile.LNKTYPE, "small/100/book/00.flac"), "link"),
        (member("x", tarfile.CHRTYPE), "device"),
        (member("x", tarfile.BLKTYPE), "device"),
        (member("x", tarfile.FIFOTYPE), "device"),
        (member("x", b"Z", size=3), "device"),
        (member("../x", tarfile.DIRTYPE), "outside"),
        (member("small/100/book/00.flac", tarfile.DIRTYPE), "twice"),
    ],
)
def test_what_leads_elsewhere_is_refused_and_the_rest_is_made(
    tmp_path: Path, info: tarfile.TarInfo, reason: str
) -> None:
    names = list(FILES)
    parts = [(member(name, size=len(FILES[name])), FILES[name]) for name in names]
    out = tmp_path / "house" / "out"
    out.parent.mkdir()
    found = extract(tar_of([*parts[:2], (info, b"bad"[: info.size]), *parts[2:]]), out)
    assert [member.refused for member in found] == [None, None, reason, None, None]
    assert tree(out) == FILES
    assert tree(tmp_path) == {f"house/out/{name}": data for name, data in FILES.items()} | {
        path: data for path, data in tree(tmp_path).items() if path == "house/unfinished"
    }


def test_a_link_that_lies_in_the_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "small").symlink_to(tmp_path / "elsewhere")
    assert {member.refused for member in extract(tar(FILES), tmp_path / "out")} == {"outside"}
    assert tree(tmp_path / "elsewhere") == {}


def test_a_large_member_that_is_refused_costs_no_memory(tmp_path: Path) -> None:
    large = member("../x", size=20_000_000)
    parts = [(large, bytes(large.size)), (member("b", tarfile.REGTYPE, size=1), b"b")]
    assert [found.refused for found in extract(tar_of(parts), tmp_path / "out")] == ["outside", None]


def test_a_header_without_end_is_damage(tmp_path: Path) -> None:
    name = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=20_000_000)
    with pytest.raises(Damaged, match="header of more than"):
        extract(name.tobuf(tarfile.GNU_FORMAT) + bytes(20_000_000), tmp_path / "out")


def test_a_truncated_tar_is_damage_wherever_it_ends(tmp_path: Path) -> None:
    data = tar(FILES)
    whole = len(data.rstrip(b"\0"))
    for length in [0, 1, 511, 512, 513, 2000, whole - 512, whole, whole + (-whole % 512)]:
        out = tmp_path / str(length)
        with pytest.raises(Damaged):
            extract(data[:length], out)
        assert tree(out).items() <= FILES.items(), "each file whole or not at all"


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    data = bytearray(tar(FILES))
    second = 512 + 3072
    assert data[second : second + 5] == b"small"
    data[second + 20] ^= 1
    with pytest.raises(Damaged, match="is damaged, after 3584 bytes"):
        extract(bytes(data), tmp_path / "out")


NO_TARS = {"nothing": b"", "a page": b"<html>404</html>", "noise": noise(5000), "gzip": gzip.compress(tar(FILES))}


@pytest.mark.parametrize("data", NO_TARS.values(), ids=NO_TARS.keys())
def test_what_is_no_tar_is_damage(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Damaged):
        extract(data, tmp_path / "out")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_unpacking_goes_on_after_each_member(tmp_path: Path, format: int) -> None:
    """Broken off anywhere and gone on with, every member is made once, and the bytes are told again."""
    long = {"small/" + "n" * 90 + "/" + "m" * 60 + ".flac": noise(700), "small/e.json": b"", "small/f": noise(1024)}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, content in (FILES | long).items():
            archive.addfile(member("small", tarfile.DIRTYPE))
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        archive.addfile(member("x", tarfile.SYMTYPE, "y"))
    data, out = file.getvalue(), tmp_path / "out"
    out.mkdir()
    for _ in range(len(FILES | long) + 1):
        journal = Journal(tmp_path / "journal", out)
        assert b"".join(journal.bytes_so_far()) == data[: journal.end]
        source = io.BytesIO(data[journal.end :])
        journal.add(next(unpack(source, out, tmp_path / "u", begins=journal.end, names=journal.names)))
    assert tree(out) == FILES | long
    assert journal.refused == {"link": 1}
    rest = unpack(io.BytesIO(data[journal.end :]), out, tmp_path / "u", begins=journal.end, names=journal.names)
    assert list(rest) == []


def test_members_that_are_there_are_passed_over(tmp_path: Path) -> None:
    data, out = tar(FILES | {"z/last": b"z"}), tmp_path / "out"
    done = extract(data, out)[2].end
    for path in out.rglob("*.flac"):
        os.utime(path, (1, 1))
    found = extract(data, out, done=done, names=set(list(FILES)[:3]))
    assert [member.name for member in found] == [*list(FILES)[3:], "z/last"]
    assert [(out / name).stat().st_mtime == 1 for name in FILES] == [True, True, True, False]


def test_a_global_header_is_not_gone_on_after(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as archive:
        archive.addfile(member("a", size=1), io.BytesIO(b"a"))
    [found] = extract(file.getvalue(), tmp_path / "out")
    assert found.head is None


def test_a_journal_counts_as_far_as_its_files_are_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path / "out")
    for found in extract(tar(FILES), tmp_path / "out"):
        journal.add(found)
    names = list(FILES)
    assert Journal(journal.path, journal.folder).names == set(names)
    (tmp_path / "out" / names[2]).write_bytes(b"short")
    again = Journal(journal.path, journal.folder)
    assert (again.names, again.whole) == (set(names[:2]), False)
    again.cut()
    assert len(journal.path.read_bytes().splitlines()) == 2
    with journal.path.open("ab") as file:
        file.write(b'{"name": "torn')
    torn = Journal(journal.path, journal.folder)
    assert (torn.names, torn.whole) == (set(names[:2]), False)


PLAIN = tar(FILES | {"a/b": b"x", "a/c": noise(600)})
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40) | st.sampled_from(
    ["../x", "/x", "a/../b", "..", ".", "a/", "//", "a/./b", ".downloads/x", "a", "a/b"]
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"Q"])
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(data=st.data())
def test_a_tar_with_wrong_bytes_gives_whole_files_or_damage(tmp_path: Path, data: st.DataObject) -> None:
    box = tmp_path / os.urandom(4).hex()
    (box / "inner").mkdir(parents=True)
    broken = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, 6000) | st.integers(0, len(PLAIN) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    stop = data.draw(st.just(len(broken)) | st.integers(0, len(broken)))
    told: list[Member] = []
    try:
        for found in unpack(io.BytesIO(bytes(broken[:stop])), box / "inner" / "out", box / "inner" / "u"):
            told.append(found)
    except Damaged:
        pass
    made = tree(box / "inner" / "out")
    assert {(m.name, m.size) for m in told if not m.refused} == {(name, len(data)) for name, data in made.items()}
    assert {path.name for path in box.iterdir()} == {"inner"}
    assert {path.name for path in (box / "inner").iterdir()} <= {"out", "u"}


@FEW
@given(members=st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=1500)), max_size=8))
def test_any_tar_stays_in_its_folder_and_tells_of_every_member(
    tmp_path: Path, members: list[tuple[str, bytes, bytes]]
) -> None:
    box = tmp_path / os.urandom(4).hex()
    (box / "inner" / "out").mkdir(parents=True)
    has_bytes = {tarfile.REGTYPE, b"Q"}
    parts = [(member(name, kind, "x", len(b) if kind in has_bytes else 0), b) for name, kind, b in members]
    archive = tar_of(parts)
    told = extract(archive, box / "inner" / "out")
    files_told = [m for m in told if not m.refused]
    made = tree(box / "inner" / "out")
    assert sorted(made) == sorted(m.name for m in files_told), "each once"
    assert {path.name for path in box.iterdir()} == {"inner"}
    assert {path.name for path in (box / "inner").iterdir()} <= {"out", "unfinished"}
    regular = sum(kind == tarfile.REGTYPE and not name.endswith("/") for name, kind, _ in members)
    assert len([m for m in told if not m.refused or m.refused not in ("link", "device")]) >= regular
    if all(m.head is not None for m in told) and told:
        again = b"".join((m.head or b"") + (b"" if m.refused else made[m.name]) for m in told)
        assert md5(again) == md5(archive[: told[-1].end])
