"""The commands: what they print, and how they end."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.conftest import TOY, Said
from tests.toy import write_corpus
from warehouse.catalogue import Catalogue
from warehouse.query import select


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "audio", a="pause one three", b="pause i seven")


@pytest.fixture(scope="module")
def toy(prefect_server: None, ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's corpus, and the warehouse that a command has made of it."""
    from flows.cli import main

    folder = tmp_path_factory.mktemp("toy")
    audio = write_corpus(folder / "audio", a="pause one three", b="pause i seven")
    words = ["valle", "run", "--recipe", TOY, "--audio", str(audio), "--root", str(folder / "root")]
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("flows.cli.atexit.register", lambda _: None)
        patch.setattr("sys.argv", words)
        main()
    assert select(folder / "root", "select count(*) as n from runs").to_pylist() == [{"n": 7}]
    return folder


@pytest.fixture
def made(toy: Path, tmp_path: Path, corpus: Path) -> Path:
    """A copy of that warehouse, and of its corpus, that a test may change."""
    shutil.copytree(toy, tmp_path, dirs_exist_ok=True)
    Catalogue(tmp_path / "root").take_up()  # its views name the folder
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--recipe", "dmo"], "there is no recipe 'dmo'"),
        (["run", "--recipe", "nowhere.py:f"], "there is no recipe file nowhere.py"),
        (["plan", "--set", "codez.model=x"], "recipe demo makes no table 'codez'; did you mean 'codes'?"),
        (["plan", "--set", "codes.modle=x"], "codes has no setting 'modle'; did you mean 'model'?"),
        (["plan", "--set", "codes"], "a setting reads TABLE.FIELD=VALUE"),
        (["plan", "--set", "utterances.max_seconds=long"], "utterances.max_seconds is float, and 'long' is not"),
        (["run", "--until", "code"], "recipe demo makes no table 'code'; did you mean 'codes'?"),
        (["run", "--site", "nowhere.toml"], "there is no site file nowhere.toml"),
        (["run", "--recipe", TOY, "--root", "/proc/nothing"], "valle: /proc/nothing: No such file or directory"),
        (["serve", "--recipe", TOY, "--root", "/proc/nothing"], "valle: /proc/nothing: No such file or directory"),
        (["status", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["sql", "select 1", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["rerun", "--failed", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["catalogue", "rebuild", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["stats", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["rerun"], "say one of --failed"),
        (["bake"], "No such command 'bake'"),
        (["sql", "select 1", "--format", "xml"], "'xml' is not one of"),
        (["help", "bake"], "there is no command 'bake'"),
        (["check", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
        (["estimate", "--hours", "1", "--root", "/proc/nothing"], "/proc/nothing is not a warehouse"),
    ],
)
def test_a_wrong_word_is_named_in_one_sentence(valle: Callable[..., Said], words: list[str], says: str) -> None:
    code, out, err = valle(*words)
    assert (code, out) == (2, "")
    assert says in err


def test_help_tells_of_every_command_and_of_one(valle: Callable[..., Said]) -> None:
    code, out, _ = valle("help")
    assert code == 0
    for name in ("check", "doctor", "estimate", "run", "catalogue"):
        assert f"\n  {name} " in out
    assert "--mend" in valle("help", "check")[1]
    assert "valle catalogue rebuild" in valle("help", "catalogue", "rebuild")[1]


def test_a_wrong_key_of_a_site_is_named(valle: Callable[..., Said], tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    for text, says in (
        ("wrokers = 2", "a site has no key 'wrokers'"),
        ("workers = 'many'", "site key workers cannot be 'many'"),
        ("workers =", "cannot be read"),
    ):
        site.write_text(text)
        code, _, err = valle("plan", "--site", site)
        assert code == 2
        assert says in err


def test_plan_changes_nothing_and_says_why(valle: Callable[..., Said], tmp_path: Path, corpus: Path) -> None:
    words = ["plan", "--recipe", TOY, "--audio", corpus, "--root", tmp_path / "root"]
    code, out, _ = valle(*words, "--json")
    assert code == 0
    assert {(row["table"], row["why"]) for row in json.loads(out)} == {
        ("utterances", "missing"),
        ("codes", "waits"),
        ("examples", "waits"),
        ("totals", "waits"),
    }
    assert not (tmp_path / "root").exists()


def test_plan_names_the_setting_that_made_a_shard_stale(made: Path, corpus: Path, valle: Callable[..., Said]) -> None:
    words = ["--recipe", TOY, "--audio", corpus, "--root", made]
    assert valle("plan", *words)[2] == "nothing to make\n"
    code, out, _ = valle("plan", *words, "--set", "codes.step=2", "--json")
    assert code == 0
    assert {(row["table"], row["why"], row["reason"]) for row in json.loads(out)} == {
        (table, "stale", "codes.step 1 -> 2") for table in ("codes", "examples", "totals")
    }


def test_a_second_run_says_that_there_is_nothing_to_make(
    made: Path, corpus: Path, valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.workers.Workers._start", lambda _: pytest.fail("Ray was started"))
    code, _, err = valle("run", "--recipe", TOY, "--audio", corpus, "--root", made)
    assert code == 0
    assert "nothing to make: all 7 shards of toy are current" in err


def test_a_server_that_does_not_answer_is_named(
    prefect_server: None, valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpus: Path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    nobody = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", nobody)
    with temporary_settings({PREFECT_API_URL: nobody}):  # as in a process that begins with that variable
        code, _, err = valle("run", "--recipe", TOY, "--audio", corpus, "--root", tmp_path / "root")
    assert code == 2
    assert f"Failed to reach API at {nobody}/: start Prefect's server, or unset PREFECT_API_URL" in err


def test_rerun_makes_a_table_again_and_what_hangs_on_it(made: Path, valle: Callable[..., Said]) -> None:
    assert valle("rerun", "--table", "codes", "--shard", "a", "--root", made)[0] == 0
    counts = json.loads(
        valle("sql", "select table_name, count(*) as n from runs group by all", "--root", made, "--format", "json")[1]
    )
    assert {row["table_name"]: row["n"] for row in counts} == {"utterances": 2, "codes": 3, "examples": 2, "totals": 1}


def test_rerun_takes_up_only_what_failed(
    prefect_server: None, ray_here: None, valle: Callable[..., Said], tmp_path: Path, corpus: Path
) -> None:
    root = tmp_path / "root"
    write_corpus(corpus, b="pause wrong")
    code, _, err = valle("run", "--recipe", TOY, "--audio", corpus, "--root", root)
    assert code == 1
    assert "valle: 1 shard failed, the first utterances/b: ValueError: these are no utterances" in err
    write_corpus(corpus, b="pause right", c="pause new")
    assert valle("rerun", "--failed", "--root", root)[0] == 0
    made = json.loads(
        valle("sql", "select distinct recording_id from utterances", "--root", root, "--format", "json")[1]
    )
    assert sorted(row["recording_id"] for row in made) == ["a", "b"], "c is new, and nobody asked for it"


def test_rerun_by_a_reason_for_which_rows_were_dropped(made: Path, valle: Callable[..., Said]) -> None:
    code, _, err = valle("rerun", "--dropped", "noisy", "--root", made)
    assert code == 2
    assert "no row was dropped for 'noisy'; it has silence, too_short" in err
    assert valle("rerun", "--dropped", "too_short", "--root", made)[0] == 0


def test_status_for_people_and_for_machines(made: Path, valle: Callable[..., Said]) -> None:
    code, out, _ = valle("status", "--root", made, "--json")
    assert code == 0
    rows = {row["table"]: row for row in json.loads(out)}
    assert rows["codes"] | {"fingerprint": "", "hours": 0} == {
        "table": "codes",
        "fingerprint": "",
        "made": 2,
        "pending": 0,
        "failed": 0,
        "rows": 4,
        "dropped": 1,
        "hours": 0,
    }
    assert "utterances" in valle("status", "--root", made)[1]


def test_sql_in_three_formats(made: Path, valle: Callable[..., Said], tmp_path: Path) -> None:
    query = "select table_name, num_rows, [1, 2] as l from artifacts where shard = 'all'"
    assert json.loads(valle("sql", query, "--root", made, "--format", "json")[1]) == [
        {"table_name": "totals", "num_rows": 1, "l": [1, 2]}
    ]
    assert list(csv.reader(io.StringIO(valle("sql", query, "--root", made, "--format", "csv")[1]))) == [
        ["table_name", "num_rows", "l"],
        ["totals", "1", "[1, 2]"],
    ]
    assert "totals" in valle("sql", query, "--root", made)[1]
    code, out, _ = valle("sql", query, "--root", made, "--format", "csv", "--output", tmp_path / "out.csv")
    assert (code, out) == (0, "")
    assert (tmp_path / "out.csv").read_text().startswith("table_name,num_rows,l\n")
    assert valle("sql", "drop table artifacts", "--root", made)[0] == 2
    assert valle("sql", "from artifacts where false", "--root", made, "--format", "json")[1] == "[]\n"


def test_stats_show_the_corpus(made: Path, valle: Callable[..., Said]) -> None:
    code, out, _ = valle("stats", "--root", made)
    assert code == 0
    assert "too_short 1" in out
    assert json.loads(valle("stats", "--root", made, "--json")[1])[0]["utterances"] == 4


def test_a_lost_catalogue_is_rebuilt(made: Path, valle: Callable[..., Said]) -> None:
    (made / "catalogue.duckdb").unlink()
    assert valle("status", "--root", made)[0] == 2
    code, _, err = valle("catalogue", "rebuild", "--root", made)
    assert code == 0
    assert "7 artifacts, 7 runs" in err
    assert valle("status", "--root", made)[0] == 0


def test_not_a_number_is_null_in_json(made: Path, valle: Callable[..., Said]) -> None:
    out = valle("sql", "select 'nan'::double as x, 'inf'::double as y", "--root", made, "--format", "json")[1]
    assert json.loads(out) == [{"x": None, "y": None}]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("profiles", "says"),
    [
        ('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n', "profile 'work'"),
        ('active = "work\n[profiles.work\n', "Prefect cannot be set up: TOMLDecodeError"),
        ('active = "work"\n[profiles.work]\nPREFECT_CLIENT_MAX_RETRIES = "many"\n', "Prefect cannot be set up"),
    ],
)
def test_a_profile_of_prefects_that_cannot_be_used_is_named(
    tmp_path: Path, corpus: Path, profiles: str, says: str
) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "profiles.toml").write_text(profiles)
    kept = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "PREFECT_PROFILE")}
    said = subprocess.run(
        [Path(sys.executable).parent / "valle", "run", "--recipe", TOY, "--audio", corpus, "--root", tmp_path / "root"],
        env=kept | {"PREFECT_HOME": str(tmp_path / "prefect")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2, said.stderr
    assert says in said.stderr
    assert str(tmp_path / "prefect" / "profiles.toml") in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.skipif(find_spec("socksio") is not None, reason="here such a proxy can be used")
@pytest.mark.slow
def test_a_socks_proxy_is_no_reason_to_fail_on_this_machine(
    valle: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    words = ["download", "http://127.0.0.1:9/x.tar", "--root", str(tmp_path), "--dest", str(tmp_path / "d")]
    said = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, len(said.stderr.splitlines())) == (2, 1)
    assert "a SOCKS proxy" in said.stderr
    assert "ALL_PROXY is left aside" in valle("status", "--root", tmp_path)[2]
    httpx.Client().close()


@pytest.mark.parametrize(("loads", "hushed"), [("duckdb", True), ("click", False)])
def test_a_command_ends_without_a_word_of_duckdbs_leaks_and_hushes_nothing_else(loads: str, hushed: bool) -> None:
    code = f"""
import atexit, os, threading, time
from flows.machine.standard_streams import hush_leaks
atexit.register(os.write, 2, b"said last")  # runs behind what the command registers
atexit.register(hush_leaks)
import {loads}
held = duckdb.connect() if "{loads}" == "duckdb" else None
threading.Thread(target=lambda held: time.sleep(60), args=(held,), daemon=True).start()
"""
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stderr == ("" if hushed else "said last")
