"""A request that is several mutations, all of them or none: what it is answered with, and what it is refused with."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.api import proposal, writing
from syncserver.core import values
from syncserver.core.actor import Actor
from syncserver.core.errors import Invalid, NotWhole, SyncError
from syncserver.engine import decide
from syncserver.engine.house import House
from syncserver.engine.sequences import identified
from syncserver.engine.whole import Plan

Raw = dict[str, Any]
_ID: TypeAdapter[str] = TypeAdapter(values.Id)


def mutation_id(body: Mapping[str, Any]) -> str:
    """The client's name for this request, or a new one; raises Invalid."""
    given = body.get("mutation_id")
    try:
        return _ID.validate_python(given, strict=True) if given is not None else str(uuid4())
    except ValidationError:
        raise proposal.wrong("/mutation_id", "a UUID") from None


def sender(by: Actor, body: Mapping[str, Any]) -> decide.Sender:
    """Who writes, on the device that the request says, if any; raises Invalid."""
    device = body.get("device_id")
    return writing.sender(by, writing.HTTP_DEVICE if device is None else device, body.get("device_name"))


def bare(mutation: Raw) -> Raw:
    """The mutation without its device: that is the sender's."""
    return {name: value for name, value in mutation.items() if name not in {"device_id", "device_name"}}


async def written(
    house: House, by: Actor, body: Mapping[str, Any], name: str, plan: Plan, roots: Mapping[str, str] | None = None
) -> decide.Ack:
    """Write what is planned; the ack of the first of its mutations, whose id is `name`.

    `roots`: where in the request each row's fields stand, by its key. Raises what was refused, as of one write.
    """
    made: list[Raw] = []

    async def kept(connection: AsyncConnection) -> list[Raw]:
        made[:] = identified(await plan(connection), name)
        return made

    try:
        acks = await house.whole.planned(sender(by, body), name, kept)
    except NotWhole as error:
        raise _refused(house, made, error, roots or {}) from None
    except Invalid as error:
        raise writing.placed(error) from None
    return acks[0] if acks else {"mutation_id": name, "status": "applied"}


def _refused(house: House, made: list[Raw], error: NotWhole, roots: Mapping[str, str]) -> SyncError:
    """What the first that was refused is refused with; where that is a wrong value, all wrong values."""
    refusals = sorted(error.refusals, key=lambda refusal: refusal["place"])
    first, mutation = refusals[0], made[refusals[0]["place"]]
    if "row" in first:
        return writing.superseded(house, house.pull.catalog[mutation["resource"]], mutation, dict(first))
    wrong = [one for one in refusals if one["code"] == Invalid.code and one.get("errors")]
    if first["code"] != Invalid.code or not wrong:
        return writing.refusal(first)
    placed = [_placed(one, roots.get(str(made[one["place"]]["key"]), "")) for one in wrong]
    errors = [place for one in placed for place in one.errors]
    return Invalid("; ".join(f"{place['pointer']}: {place['detail']}" for place in errors), errors)


def _placed(refusal: Mapping[str, Any], root: str) -> Invalid:
    return writing.placed(Invalid(refusal["detail"], refusal["errors"]), root)
