"""Where a request comes from, as far as limits go: one name for all that one guest can easily be."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

_HOME_BITS = 64
_LONGEST = 64


def of(scope: Mapping[str, Any]) -> str | None:
    """The name for where an ASGI request or socket comes from."""
    client = scope.get("client")
    return name(client[0]) if client else None


@lru_cache(maxsize=4096)
def name(host: str | None) -> str | None:
    """An IPv4 address as it is, an IPv6 address as its /64 (one home has 2^64 of them); None for no address."""
    if not host:
        return None  # a Unix socket has none
    try:
        found = ip_address(host)
    except ValueError:
        return host[:_LONGEST]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> _HOME_BITS << _HOME_BITS)}/{_HOME_BITS}"
