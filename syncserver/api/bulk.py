"""Many rows of one session in one request: all of them are written, or nothing is.

`bulk` takes nodes, components and relationships together; the routes below it take a list of one kind.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Body, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.api import bulk_described, errors, nested, planned, proposal, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.api.bulk_rows import ROWS_MAX, Bulk, Kind, Member, Some
from syncserver.api.nested import Session
from syncserver.core import values
from syncserver.core.actor import Actor
from syncserver.core.errors import Invalid, NotFound, NotWhole
from syncserver.engine.decide import Ack
from syncserver.engine.house import House
from syncserver.storage import sessions
from syncserver.storage.resource import Catalog

Raw = dict[str, Any]
_REFUSED = errors.responses(403, 404, 409)
_MutationId = Annotated[values.Id | None, Query(description="A UUID: send it again with a retry.")]
_DeviceName = Annotated[str | None, Query(max_length=128, description="What people call that device.")]
_HOMEWARD = ("relationships", "components", "nodes")
"""The order in which rows are removed: none before what belongs to it, which would go along."""


def router(catalog: Catalog) -> APIRouter:
    """The routes under a session."""
    kinds = {
        "nodes": Kind("nodes", catalog["nodes"], "node_id", temps=True),
        "components": Kind("components", catalog["node_components"], "component_id"),
        "relationships": Kind("relationships", catalog["session_relationships"], "relationship_id"),
    }
    routes = APIRouter(prefix="/sessions", tags=["bulk"], route_class=Route)
    _together(routes, kinds)
    for kind in kinds.values():
        _alone(routes, kind)
    return routes


def _together(routes: APIRouter, kinds: Mapping[str, Kind]) -> None:
    @routes.post(
        "/{key}/bulk",
        summary="Write and remove many rows, all or nothing",
        responses={200: bulk_described.answer(*kinds.values()), **_REFUSED},
        openapi_extra=bulk_described.together(kinds),
    )
    async def bulk(house: InHouse, by: By, key: Session, body: Annotated[Raw, Body()]) -> Response:
        """At most 1,000 rows. First goes what is removed, then nodes are written, their components, and relationships.

        A row that is there becomes what is sent, whoever wrote it; with a `base` it has to be the one that you saw. A
        node without `node_id` gets the next number; by its `temp` other rows of the request name it. Refused, each
        place is in `errors`. Send `mutation_id` again with a retry: nothing happens twice.
        """
        gone = {} if body.get("remove") is None else body["remove"]
        if not isinstance(gone, dict):
            raise proposal.wrong("/remove", "an object of lists")
        some = [
            *(Some(kinds[name], f"/remove/{name}", _ids(gone, name), remove=True) for name in _HOMEWARD),
            *(Some(kind, f"/{name}", _rows(body, name)) for name, kind in kinds.items()),
        ]
        return await _written(house, by, key, body, some)


def _alone(routes: APIRouter, kind: Kind) -> None:
    path, such = f"/{{key}}/bulk/{kind.name}", kind.name

    @routes.post(
        path,
        name=f"write_{such}",
        summary=f"Write many {such}, all or nothing",
        responses={200: bulk_described.answer(kind), **_REFUSED},
        openapi_extra=bulk_described.rows(kind),
    )
    async def write(
        house: InHouse,
        by: By,
        key: Session,
        body: Annotated[list[Raw], Body()],
        mutation_id: _MutationId = None,
        device_id: nested.DeviceId = None,
        device_name: _DeviceName = None,
    ) -> Response:
        """A list of rows, each as in `bulk`."""
        beside = {"mutation_id": mutation_id, "device_id": device_id, "device_name": device_name}
        return await _written(house, by, key, beside, [Some(kind, "", body)])

    @routes.delete(
        path,
        name=f"remove_{such}",
        summary=f"Remove many {such}, all or nothing",
        responses={200: bulk_described.answer(kind), **_REFUSED},
        openapi_extra=bulk_described.ids(kind),
    )
    async def remove(
        house: InHouse,
        by: By,
        key: Session,
        body: Annotated[list[Annotated[str, Field(max_length=values.KEY_MAX_CHARS)]], Body()],
        mutation_id: _MutationId = None,
        device_id: nested.DeviceId = None,
        device_name: _DeviceName = None,
    ) -> Response:
        """A list of ids."""
        beside = {"mutation_id": mutation_id, "device_id": device_id, "device_name": device_name}
        return await _written(house, by, key, beside, [Some(kind, "", body, remove=True)])


def _rows(body: Raw, name: str) -> list[Raw]:
    """A list of objects in a body; raises Invalid."""
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise proposal.wrong(f"/{name}", "a list")
    wrong = [
        {"pointer": f"/{name}/{n}", "detail": "an object"} for n, row in enumerate(found) if not isinstance(row, dict)
    ]
    if wrong:
        raise Invalid(f"Not all of /{name} are objects.", wrong[:ROWS_MAX])
    return found


def _ids(gone: Raw, name: str) -> list[str]:
    found = gone.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(own, str) for own in found):
        raise proposal.wrong(f"/remove/{name}", "a list of ids")
    return found


async def _written(house: House, by: Actor, session: str, body: Raw, some: Sequence[Some]) -> Response:
    """Write these, and answer with what became of each; raises NotFound for a session that is not the actor's."""
    request = Bulk(session, planned.mutation_id(body))
    request.read(some)

    async def there(connection: AsyncConnection) -> None:
        if await sessions.find(connection, by.owner, UUID(session)) is None:
            raise NotFound(nested.NOT_THERE)

    try:
        who = planned.sender(by, body)
        acks = await house.whole.write(who, [member.mutation for member in request.members], check=there)
    except NotWhole as refused:
        kind, places = request.refused(refused)
        document = {"type": "about:blank", "title": refused.title, "status": kind.status, "detail": refused.detail}
        return errors.answer({**document, "code": kind.code, "errors": places}, kind.status)
    except Invalid as error:
        raise writing.placed(error) from None
    return Response(orjson.dumps(_done(request.members, acks)), 200, writing.PRIVATE, "application/json")


def _done(members: Sequence[Member], acks: Sequence[Ack]) -> Raw:
    """Every row's key and offset, by kind and in the order of the request; how many; and what names became."""
    answer: Raw = {
        "status": "applied",
        "counts": {"written": 0, "removed": 0},
        "id_map": {},
        "written": {},
        "removed": {},
    }
    for member, ack in zip(members, acks, strict=True):
        mutation = member.mutation
        key = mutation["key"]
        key = key if isinstance(key, str) else ack.get("id_map", {}).get(key["temp"])
        if key is None or "offset" not in ack:
            raise proposal.wrong("/mutation_id", "that of another write")
        way = "removed" if mutation["op"] == "remove" else "written"
        row = {member.kind.id: nested.own(key), "key": key, "offset": ack["offset"]}
        answer[way].setdefault(member.kind.name, []).append(row)
        answer["counts"][way] += 1
        if member.temp is not None:
            answer["id_map"][member.temp] = nested.own(key)
        if ack["status"] == "duplicate":
            answer["status"] = "duplicate"
    return answer
