"""Proxies that the environment names: nobody is asked for this machine through one, and none of them is a crash.

httpx, which Prefect's client and our downloads rest on, makes no client at all where a proxy or an entry of NO_PROXY is
none that it can read, not even for 127.0.0.1.
"""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_network
from urllib.parse import urlsplit

HERE = ("127.0.0.1", "localhost", "::1")
NAMES = ("http_proxy", "https_proxy", "all_proxy")
_SCHEMES = ("http", "https", "socks5", "socks5h")
_PORT = re.compile(r"(?<=\]):\d+$")


def settle_proxies(is_download: bool) -> list[str]:
    """Put the environment's proxies right.

    Args:
        is_download: whether what follows is of no use without its proxy; a SOCKS proxy then stays, to be complained of.

    Returns:
        A sentence for each proxy that is left aside.
    """
    said = []
    for name, value in list(os.environ.items()):
        if name.lower() in NAMES and value:
            value = os.environ[name] = value.strip()
            if (why := _wrong(value)) and not (is_download and why == _NO_SOCKS):
                said.append(f"{name} is left aside: {why}")
                del os.environ[name]
    # One for both: Python reads the small letters alone where they are there, others the capitals.
    spared = [entry.strip() for name in ("no_proxy", "NO_PROXY") for entry in os.environ.get(name, "").split(",")]
    hosts = ",".join(dict.fromkeys([*filter(None, map(_host, spared)), *HERE]))
    os.environ |= {"no_proxy": hosts, "NO_PROXY": hosts}
    return said


def complaints(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each proxy of an environment that cannot be used."""
    named = [(name, value.strip()) for name, value in environment.items() if name.lower() in NAMES and value.strip()]
    return [f"{name} is left aside: {why}" for name, value in sorted(named) if (why := _wrong(value))]


_NO_SOCKS = "a SOCKS proxy needs `pip install socksio`"


def _wrong(proxy: str) -> str | None:
    """Why a proxy cannot be used, if so."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        _ = parts.port
    except ValueError as error:
        return f"it is no address ({error})"
    if parts.scheme not in _SCHEMES or not parts.hostname or not proxy.isprintable():
        return "it is no address, such as http://proxy:3128"
    return _NO_SOCKS if parts.scheme.startswith("socks") and not find_spec("socksio") else None


def _host(entry: str) -> str | None:
    """An entry of NO_PROXY as httpx can read it.

    An IPv6 address goes without brackets and port. A range of them cannot be said, unless it is of one address.
    """
    bare = _PORT.sub("", entry)
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    if bare.count(":") < 2 or "://" in bare:
        return entry or None
    try:
        network = ip_network(bare.partition("%")[0], strict=False)
    except ValueError:
        return None
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else None
