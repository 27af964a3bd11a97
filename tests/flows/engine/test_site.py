"""Sites: strict, and each source of words winning over the one before."""

from pathlib import Path

import pytest

from flows.engine.site import load_site
from warehouse.errors import Mistake


def write(folder: Path, text: str) -> str:
    path = folder / "site.toml"
    path.write_text(text)
    return str(path)


def test_without_a_word_all_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    site = load_site()
    assert site.root == tmp_path / "warehouse-data"
    assert site.corpus == tmp_path / "warehouse-data" / "audio"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "root = '/file'\naudio = '/corpus'\nworkers = 3\n[gpus]\ncodes = 0.25\n")
    assert load_site(file).root == Path("/file")
    assert load_site(file).gpus == {"codes": 0.25}
    monkeypatch.setenv("VALLE_ROOT", "/environment")
    monkeypatch.setenv("VALLE_WORKERS", "5")
    assert (load_site(file).root, load_site(file).workers) == (Path("/environment"), 5)
    assert load_site(file, root="/line").root == Path("/line")
    assert load_site(file, root=None).corpus == Path("/corpus")


def test_a_mark_of_windows_at_the_beginning_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbfroot = '/house'\r\n")
    assert load_site(str(file)).root == Path("/house")


def test_folders_of_the_file_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "root = 'house'\naudio = '../corpus'\n")
    monkeypatch.chdir("/")
    assert load_site(file).root == tmp_path / "house"
    assert load_site(file).corpus.resolve() == tmp_path.parent / "corpus"
    assert load_site(file, root="tmp/line").root == Path("/tmp/line")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rooot = '/x'", "a site has no key 'rooot'.*did you mean 'root'"),
        ("workers = 'many'", "site key workers cannot be 'many'"),
        ("gpus = 1", "site key gpus cannot be 1"),
        ("root = ", "cannot be read"),
        ("max_failed_share = 1.0", "max_failed_share is 1; it is a share, from 0 to below 1"),
        ("workers = 0", "site key workers is 0; it must be 1 or more"),
        ("grows_to = 0", "site key grows_to is 0; it must be 1 or more"),
        ("train_workers = -1", "site key train_workers is -1; it must be 1 or more"),
        ("retries = -1", "site key retries is -1; it must be 0 or more"),
        ("retry_delay_seconds = nan", "site key retry_delay_seconds is nan; it must be 0 or more"),
        ("object_store_bytes = 1", r"site key object_store_bytes is 1; it must be 78,643,200 or more"),
        ("[gpus]\ncodes = 0.0", r"site key gpus\.codes is 0\.0; it must be above 0"),
        ("[gpus]\ncodes = 1.5", r"site key gpus\.codes is 1\.5; above 1 it must be a whole number"),
        ("shard_timeout_seconds = 0", "site key shard_timeout_seconds is 0.*; it must be above 0"),
        ("worker_wait_seconds = -1.0", "site key worker_wait_seconds is -1.0; it must be above 0"),
        ("[gpus]\nmine = nan", r"site key gpus\.mine is nan"),
    ],
)
def test_a_wrong_word_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Mistake, match=says) as error:
        load_site(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_wrong_number_of_the_command_line_or_the_environment_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Mistake, match="site key workers is 0"):
        load_site(workers=0)
    monkeypatch.setenv("VALLE_RETRIES", "-1")
    with pytest.raises(Mistake, match="site key retries is -1"):
        load_site()


def test_a_wrong_word_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLE_WORKERS", "many")
    with pytest.raises(Mistake, match=r"site key workers cannot be 'many' \(the environment\)"):
        load_site()
