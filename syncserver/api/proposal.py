"""A request over REST as the mutation that it stands for: which row, which fields, and what stands beside them."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Path

from syncserver.core import clock, values
from syncserver.core.actor import Actor
from syncserver.core.errors import Invalid
from syncserver.core.resolver import Policy
from syncserver.engine.house import House
from syncserver.storage.resource import Resource

Raw = dict[str, Any]
Id = Annotated[values.Id, Path(description="The row's key: a UUID.", json_schema_extra={"format": "uuid"})]
BESIDE = ("updated_at", "device_id", "device_name", "base", "policy", "mutation_id")
SEEN = "seen_updated_at"
"""The `updated_at` that the writer last saw: `updated_at` in a body is the stamp of the write itself."""

_DIGITS = 19
_NEVER = 0
"""No row ever stands at this offset."""


def possible(resource: Resource, key: str) -> str:
    """The key in a path, if a row of this resource could have it; raises Invalid."""
    try:
        return resource.canonical(key)
    except ValueError as error:
        raise wrong("/path/key", str(error)) from None


def mutation(op: str, resource: Resource, key: object, body: Mapping[str, Any], if_match: str | None = None) -> Raw:
    """What a body proposes; what is not the row's own stands beside its fields. A body without fields has no data."""
    beside = {name: body[name] for name in BESIDE if body.get(name) is not None}
    made: Raw = {"mutation_id": str(uuid4()), "resource": resource.name, "key": key, "op": op, **beside}
    if if_match is not None and "base" not in made:
        made["base"] = _base(if_match)
    if op != "remove":
        made["data"] = {name: value for name, value in body.items() if name not in {*BESIDE, SEEN}}
    return made


async def knowing(house: House, by: Actor, resource: Resource, proposed: Raw, seen: object) -> Raw:
    """The same with a base, where its writer says by `seen` which state of the row it saw; raises Invalid."""
    if seen is None or "base" in proposed:
        return proposed
    stamp = _stamp(seen)
    row = await house.pull.row(by.owner, resource.name, proposed["key"])
    return {**proposed, "base": row.offset if row and clock.write(row.updated_at) == stamp else _NEVER}


def yielding(proposed: Raw) -> Raw:
    """The same, giving way to whatever came since its base, unless it names a policy."""
    return {"policy": Policy.SERVER_WINS, **proposed} if "base" in proposed else proposed


def wrong(place: str, sentence: str) -> Invalid:
    """One wrong value of a request, at a JSON pointer into it."""
    return Invalid(f"{place}: {sentence}", [{"pointer": place, "detail": sentence}])


def _stamp(seen: object) -> str:
    try:
        return clock.write(clock.read(seen if isinstance(seen, str) else ""))
    except ValueError as error:
        raise wrong(f"/{SEEN}", str(error)) from None


def _base(if_match: str) -> int:
    digits = if_match.strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise Invalid("If-Match is the ETag of a row.", [{"pointer": "/header/if-match", "detail": 'such as "12"'}])
    return int(digits)
