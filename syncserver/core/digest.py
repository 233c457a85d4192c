"""A digest of rows: how many there are, and the XOR of a hash of each. Two that hold the same rows agree, in any order.

A row counts by what tells its version (resource, key, offset, stamp), not by its data. PostgreSQL makes the same
digest in `storage.digests`, clients make it by themselves, and a test holds the first two equal.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from hashlib import sha256
from operator import xor

from syncserver.core import clock
from syncserver.core.values import Digest

_BYTES = 8


def row(resource: str, key: str, offset: int, updated_at: datetime) -> int:
    """The 64 bits that stand for one live row at one version."""
    text = f"{resource}\n{key}\n{offset}\n{clock.write(updated_at)}"
    return int.from_bytes(sha256(text.encode()).digest()[:_BYTES], "big")


def of(rows: Iterable[int]) -> Digest:
    """The digest of rows, each given as what `row` made of it."""
    hashes = list(rows)
    return Digest(rows=len(hashes), xor=digits(reduce(xor, hashes, 0)))


def digits(bits: int) -> str:
    """64 bits as the wire writes them: 16 lowercase hex digits. PostgreSQL's bigint may come negative."""
    return f"{bits % 2**64:016x}"
