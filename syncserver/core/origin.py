"""Whether a web page may speak to this server: by the Origin header, which browsers send and pages cannot forge."""

from collections.abc import Collection
from urllib.parse import urlsplit

ANY = "*"
_PORTS = {"http": 80, "https": 443}


def let_in(origin: str | None, host: str | None, allowed: Collection[str]) -> bool:
    """Whether a request with this Origin (None: no browser's) to this Host may be answered.

    Pages of the host itself are let in, and those of `allowed` (see `listed`); the origin `null` only by `*`.
    """
    if origin is None or ANY in allowed:
        return True
    named = _plain(origin)
    if named in allowed:
        return True
    scheme, _, place = named.partition("://")
    return bool(host) and scheme in _PORTS and _place(scheme, place) == _place(scheme, _plain(host or ""))


def listed(text: str) -> frozenset[str]:
    """The origins that a setting names, separated by commas; raises ValueError for what is no origin."""
    found = frozenset(_plain(name) for name in text.split(",") if name.strip())
    for name in found - {ANY}:
        parts = urlsplit(name)
        if not parts.scheme or not parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError("an origin is a scheme and a host, such as https://books.example")
    return found


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix("/")


def _place(scheme: str, host: str) -> str:
    """The host with its port, as a browser would never write it, so that both spellings are one."""
    _, colon, port = host.rpartition(":")
    if colon and port.isdecimal():
        return host
    return f"{host}:{_PORTS[scheme]}"
