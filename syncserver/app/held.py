"""What a client holds, as lines of JSON, and where that is not what the log says it should hold."""

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from syncserver.core import clock, digest, protocol, values
from syncserver.core.errors import Invalid
from syncserver.core.values import Digest

Rows = Mapping[tuple[str, str], tuple[int, datetime]]
"""Live rows: resource and key to offset and stamp."""


class Fault(StrEnum):
    """The ways in which a client can hold something else."""

    MISSING = "client_missing"
    TOO_MANY = "client_too_many"
    ANOTHER = "client_another"


class Line(values.Model):
    """One row, as `syncserver tail --json` prints it; later lines of the same row take the place of earlier ones."""

    resource: str
    key: str
    offset: int
    updated_at: clock.Stamp
    op: Literal["put", "remove"] = "put"


def read(path: str) -> Rows:
    """The live rows in a file of such lines (`-`: standard input); raises Invalid."""
    try:
        text = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from None
    held: dict[tuple[str, str], tuple[int, datetime]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            row = _row(path, number, line)
            held.pop((row.resource, row.key), None)
            if row.op == "put":
                held[row.resource, row.key] = row.offset, row.updated_at
    return held


def _row(path: str, number: int, line: bytes) -> Line:
    try:
        return Line.model_validate_json(line)
    except ValidationError as error:
        raise Invalid(f"Line {number} of {path} is not a row: {protocol.sentence(error)}.") from None


def digest_of(rows: Rows, resource: str) -> Digest:
    """The digest of one resource's rows."""
    return digest.of(digest.row(*place, *version) for place, version in rows.items() if place[0] == resource)


def differences(client: Rows, log: Rows) -> Iterator[tuple[Fault, str, str, str]]:
    """Where the client's rows are not the log's: the fault, resource, key, and what is different."""
    for place in sorted(client.keys() | log.keys()):
        here, there = client.get(place), log.get(place)
        if here == there:
            continue
        if there is None:
            yield Fault.TOO_MANY, *place, "the client holds it, the log does not"
        elif here is None:
            yield Fault.MISSING, *place, "the log has it, the client does not"
        else:
            yield Fault.ANOTHER, *place, f"the client has {_version(*here)}, the log {_version(*there)}"


def _version(offset: int, updated_at: datetime) -> str:
    return f"offset {offset} of {clock.write(updated_at)}"
