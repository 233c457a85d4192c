"""Rows under the path of the session that they stand in: one row, and a page of them.

Who has no such session has no such rows either, and hears the same as of a session that never was.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query, Response
from pydantic import AfterValidator, Field, TypeAdapter

from syncserver.api import making, paging, proposal, sessions, writing
from syncserver.core import rank, values, within
from syncserver.core.actor import Actor
from syncserver.core.errors import NotFound
from syncserver.core.workspace_bodies import OwnId
from syncserver.engine.house import House
from syncserver.storage.resource import Resource
from syncserver.storage.rows import Listed

Raw = dict[str, Any]
Session = sessions.Id
NodeId = Annotated[
    str, Path(pattern=f"^{within.NUMBERED.pattern}$", description="The node's id in this session, such as N001.")
]
ComponentId = Annotated[OwnId, Path(description="The component's id in this session.")]
RelationshipId = Annotated[OwnId, Path(description="The relationship's id in this session.")]
IfMatch = Annotated[str | None, Header(max_length=64, description='The ETag of the row as you know it, such as "12".')]
Token = Annotated[str | None, Query(max_length=4096, description="`next` or `previous` of an answer before.")]
Stamp = Annotated[
    Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})] | None,
    Query(description="When; now if left out."),
]
DeviceId = Annotated[str | None, Query(max_length=128, description="On which device.")]
TEXT: TypeAdapter[str] = TypeAdapter(Annotated[str, Field(max_length=rank.MAX_CHARS), AfterValidator(values.clean)])
"""What a list goes by, where that is a text."""

NOT_THERE = "There is no such session."


async def there(house: House, by: Actor, session: str) -> None:
    """Raise NotFound for a session that is not the actor's."""
    if not await house.sessions.exists(by.owner, UUID(session)):
        raise NotFound(NOT_THERE)


def key(resource: Resource, session: str, own: object, pointer: str) -> str:
    """The key of the row with this own id; raises Invalid, which names the place where that stands."""
    try:
        return resource.canonical(f"{session}:{own if isinstance(own, str) else ''}")
    except ValueError:
        such = resource.within.such if resource.within else ""
        raise proposal.wrong(pointer, such) from None


def own(key: str) -> str:
    """The own id in a key."""
    return key.partition(":")[2]


def fields(resource: Resource, session: str, body: Raw, *but: str) -> Raw:
    """A body as fields of a row in this session, without those that say its place; raises Invalid for another one."""
    field = resource.within.field if resource.within else ""
    if str(body.get(field, session)).lower() != session:
        raise proposal.wrong(f"/{field}", "not that of the path")
    return {name: value for name, value in body.items() if name not in {resource.key, field, *but}}


async def put(house: House, by: Actor, resource: Resource, key: str, body: Raw, if_match: str | None) -> Response:
    """The row becomes this."""
    return await writing.write(house, by, resource, proposal.mutation("put", resource, key, body, if_match))


async def patch(house: House, by: Actor, resource: Resource, key: str, body: Raw, if_match: str | None) -> Response:
    """A merge patch of the row, which yields where its writer did not know the row as it is."""
    return await writing.write(house, by, resource, await patching(house, by, resource, key, body, if_match))


async def patching(house: House, by: Actor, resource: Resource, key: str, body: Raw, if_match: str | None) -> Raw:
    """The mutation of such a patch."""
    proposed = proposal.mutation("patch", resource, key, body, if_match)
    return proposal.yielding(await proposal.knowing(house, by, resource, proposed, body.get(proposal.SEEN)))


async def delete(
    house: House,
    by: Actor,
    resource: Resource,
    key: str,
    given: tuple[str | None, str | None],
    if_match: str | None,
) -> Response:
    """The row goes; `given`: when, and on which device."""
    named = {name: value for name, value in zip(("updated_at", "device_id"), given, strict=True) if value is not None}
    return await writing.write(house, by, resource, proposal.mutation("remove", resource, key, named, if_match))


def made_key(resource: Resource, session: str, mutation_id: object) -> str:
    """A key for a new row for which its client made none: the same for the same mutation."""
    return f"{session}:{making.name(resource, mutation_id)}"


def page(
    found: Sequence[Listed] | None, limit: int, token: Callable[[Listed], str], way: paging.Way, **headers: str
) -> Response:
    """As `paging.page`; raises NotFound."""
    return paging.page(_found(found), limit, token, way, **headers)


def paged(found: Sequence[Listed] | None, limit: int, token: Callable[[Listed], str], way: paging.Way) -> Raw:
    """The same as what is to be written."""
    return paging.paged(_found(found), limit, token, way)


def _found(found: Sequence[Listed] | None) -> Sequence[Listed]:
    if found is None:
        raise NotFound(NOT_THERE)
    return found
