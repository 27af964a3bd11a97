"""Bytes in order, whatever the server does."""

import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from flows.downloads.fetch import Changed, Remote, fetch
from tests.server import HASTY, Manners, noise, serve
from warehouse.errors import Mistake, WorkFailed

CONTENT = noise(200_000)


@pytest.fixture
def server() -> Iterator[Manners]:
    with serve(x=CONTENT) as manners:
        yield manners


def get(server: Manners, path: str = "/x", **words: object) -> bytes:
    return b"".join(fetch(server.url + path, patience=HASTY, **words))  # type: ignore[arg-type]


def test_a_file_comes_whole_and_is_announced_once(server: Manners) -> None:
    met: list[Remote] = []
    server.cut = (20_000, 90_000)
    assert get(server, meet=met.append) == CONTENT
    assert met == [Remote(f"{server.url}/x", len(CONTENT), '"one"')]


def test_cut_connections_go_on_where_they_broke_off(server: Manners) -> None:
    server.cut = (20_000, 90_000)
    assert get(server) == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.asked if asked]
    assert starts == sorted(set(starts))
    assert len(starts) >= 2


def test_a_download_goes_on_from_what_is_here(server: Manners) -> None:
    known = Remote(f"{server.url}/x", len(CONTENT), '"one"')
    assert get(server, at=150_000, known=known) == CONTENT[150_000:]
    assert server.asked == ["bytes=150000-"]


def test_a_server_that_ignores_the_range_is_understood(server: Manners) -> None:
    server.ignore_range = True
    assert get(server, at=150_000) == CONTENT[150_000:]


def test_a_range_that_begins_too_late_is_not_taken(server: Manners) -> None:
    server.wrong_start = 10
    with pytest.raises(WorkFailed, match="asked for bytes from 1000 on and sends bytes from 1010 on"):
        get(server, at=1000)


@pytest.mark.parametrize("change", [{"etag": '"two"'}, {"files": {"/x": CONTENT + b"more"}}, {"files": {"/x": b"no"}}])
def test_a_file_that_changed_is_not_gone_on_with(server: Manners, change: dict[str, object]) -> None:
    known = Remote(f"{server.url}/x", len(CONTENT), '"one"')
    vars(server).update(change)
    with pytest.raises(Changed, match="has changed at its server"):
        get(server, at=1000, known=known)


def test_a_mirror_may_have_etags_of_its_own(server: Manners) -> None:
    known = Remote("http://elsewhere.example/x", len(CONTENT), '"another"')
    assert get(server, at=1000, known=known) == CONTENT[1000:]


def test_a_change_between_two_connections_is_noticed(server: Manners) -> None:
    server.cut = (20_000, 20_000)
    chunks = fetch(f"{server.url}/x", patience=HASTY)
    next(chunks)
    server.etag = '"two"'
    with pytest.raises(Changed):
        list(chunks)


def test_an_unavailable_server_is_asked_again(server: Manners) -> None:
    server.statuses = [503, 429]
    said: list[str] = []
    assert get(server, notice=said.append) == CONTENT
    assert said == [
        f"the server says {words}; again in 0 s" for words in ("503 Service Unavailable", "429 Too Many Requests")
    ]


def test_patience_ends(server: Manners) -> None:
    server.statuses = [503] * 99
    with pytest.raises(WorkFailed, match="cannot be had, after 3 attempts: the server says 503 Service Unavailable"):
        get(server)
    assert len(server.asked) == 3


def test_waits_grow_and_have_an_end(server: Manners, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=waits.append)  # of that module alone
    monkeypatch.setattr("flows.downloads.fetch.time", clock)
    server.statuses = [503] * 99
    patience = replace(HASTY, first_attempts=6, pause=1.0, longest_pause=5.0)
    with pytest.raises(WorkFailed):
        list(fetch(f"{server.url}/x", patience=patience))
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_not_asked_for_twice(server: Manners, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(Mistake, match=f"the server says {status}"):
        get(server)
    assert len(server.asked) == 1


def test_redirects_without_end_are_a_mistake(server: Manners) -> None:
    server.redirect = True
    with pytest.raises(Mistake, match="cannot be followed"):
        get(server)


@pytest.mark.parametrize("url", ["gopher://127.0.0.1/x", "http://\x00/x"])
def test_a_url_that_is_none_is_a_mistake(url: str) -> None:
    with pytest.raises(Mistake, match="cannot be followed"):
        list(fetch(url, patience=HASTY))


def test_no_server_is_one_sentence() -> None:
    with serve() as gone:
        url = gone.url
    with pytest.raises(WorkFailed, match="cannot be had, after 3 attempts"):
        list(fetch(f"{url}/x", patience=HASTY))


def test_a_length_that_is_too_long_is_no_whole_file(server: Manners) -> None:
    server.length = len(CONTENT) + 100
    with pytest.raises(WorkFailed, match="its length is not what it said"):
        get(server)


def test_a_length_that_is_too_short_gives_so_many_bytes(server: Manners) -> None:
    server.length = 1000
    assert get(server) == CONTENT[:1000], "the sum will tell"


def test_without_a_length_the_end_of_the_connection_is_the_end(server: Manners) -> None:
    server.say_length = False
    assert get(server) == CONTENT


def test_a_slow_drip_is_not_waited_for(server: Manners) -> None:
    server.drip = 0.02
    with pytest.raises(WorkFailed, match="the server sends .* bytes per second"):
        list(fetch(f"{server.url}/x", patience=replace(HASTY, slowest=1000.0, attempts=2)))


def test_silence_is_not_waited_for(server: Manners) -> None:
    server.drip = 5.0
    with pytest.raises(WorkFailed, match="cannot be had"):
        list(fetch(f"{server.url}/x", patience=replace(HASTY, silence=0.1, slowest=100.0, attempts=2)))
