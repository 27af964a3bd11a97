"""Proxies: nobody is asked for this machine through one, and none that the environment names is a crash."""

import os

import httpx
import pytest

from flows.machine.proxies import settle_proxies

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for spelt in (name, name.lower()):
            monkeypatch.setenv(spelt, "")
            monkeypatch.delenv(spelt)


def is_asked(url: str) -> bool:
    """Whether httpx would ask a proxy for this address."""
    with httpx.Client() as client:
        return client._transport_for_url(httpx.URL(url)) is not client._transport


@pytest.mark.parametrize(
    "no_proxy", [None, "", "fd00::/8", "[::1]", "[fd00::1]:80", "::1/128", "fd00::/8,intern.example"]
)
def test_this_machine_is_reached_without_the_proxy_and_others_through_it(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str | None
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    if no_proxy is not None:
        monkeypatch.setenv("NO_PROXY", no_proxy)
    assert settle_proxies(is_download=False) == []
    assert [is_asked(f"http://{host}:4200/api") for host in ("127.0.0.1", "localhost", "[::1]")] == [False] * 3
    assert is_asked("http://corpora.example/x.tar"), "downloads go where they went"
    assert not ("intern" in os.environ["NO_PROXY"] and is_asked("http://intern.example"))


@pytest.mark.parametrize(
    "proxy", ["htp://proxy", "http://proxy:port", "http://[::1", "socks4://proxy", "http://pro\nxy"]
)
def test_a_proxy_that_is_none_is_left_aside_and_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    [said] = settle_proxies(is_download=True)
    assert said.startswith("ALL_PROXY is left aside: ")
    httpx.Client().close()


@pytest.mark.parametrize("proxy", ["proxy:3128", " http://proxy:3128\n", "http://user:p@ss@proxy:3128"])
def test_a_proxy_that_can_be_used_stays(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert settle_proxies(is_download=True) == []
    assert is_asked("https://corpora.example/x.tar")
