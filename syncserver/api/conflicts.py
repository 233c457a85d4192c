"""/api/v1/conflicts: every decision between two versions that did not know each other, to be seen and to be undone."""

from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
from fastapi import APIRouter, Body, Path, Query, Response

from syncserver.api import describe, errors, paging, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.body import Route
from syncserver.core import bodies, clock, values
from syncserver.core.errors import Invalid, NotFound
from syncserver.engine import restore as restored
from syncserver.engine.house import House
from syncserver.storage.conflicts import Kept, Listing

router = APIRouter(prefix="/conflicts", tags=["conflicts"], route_class=Route)
LIST_MAX = 500
_GIVEN = ("device_id", "device_name", "mutation_id")
_Body = Annotated[dict[str, Any] | None, Body()]
_Id = Annotated[str, Path(max_length=64, description="A conflict's id.")]
_RESTORED: describe.Answers = {
    200: {
        "description": "The row as it is now.",
        "headers": {**describe.PRIVATE, **describe.etag("The row's offset", "[0-9]+"), **describe.STATUS},
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    **describe.DONE,
}


@router.get("", summary="What was decided", response_model=bodies.ConflictsAnswer, responses=describe.OK)
async def listed(
    house: InHouse,
    by: By,
    resource: Annotated[values.Name | None, Query(description="Only of this kind of row.")] = None,
    key: Annotated[values.Key | None, Query(description="Only of this row.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="Conflicts in one answer.")] = 100,
    after: Annotated[str | None, Query(max_length=4096, description="`next` of the answer before.")] = None,
) -> Response:
    """Newest first. `next` leads on, and is null at the end."""
    found = await house.pull.decided(by.owner, Listing(resource, key, _place(after), limit + 1))
    following = paging.token(found[limit - 1].created_at, found[limit - 1].id) if len(found) > limit else None
    return _answer({"items": [_shown(conflict) for conflict in found[:limit]], "next": following})


@router.get(
    "/{conflict_id}",
    summary="One decision, with both versions",
    response_model=bodies.ConflictAnswer,
    responses={**describe.OK, **errors.responses(404)},
)
async def got(house: InHouse, by: By, conflict_id: _Id) -> Response:
    """The version that won and the one that lost, whole."""
    return _answer(_shown(await _found(house, by.owner, conflict_id)))


@router.post(
    "/{conflict_id}/restore",
    summary="Write the losing version again",
    responses={**_RESTORED, **errors.responses(403, 404, 409)},
    openapi_extra=describe.beside(*_GIVEN),
)
async def restore(house: InHouse, by: By, conflict_id: _Id, body: _Body = None) -> Response:
    """A new write that knows the row as it is, so it reaches every device. Answers with the row.

    The body may hold `device_id`, `device_name` and a `mutation_id` to send again with a retry.
    """
    conflict = await _found(house, by.owner, conflict_id)
    resource = house.pull.catalog[conflict.resource]
    present = await house.pull.entry((by.owner, conflict.resource, conflict.key))
    given = {name: (body or {})[name] for name in _GIVEN if name in (body or {})}
    mutation = {**restored.mutation(conflict, present, resource, str(uuid4())), **given}
    answer = await writing.write(house, by, resource, mutation)
    await house.push.restored(by.owner, conflict.id)
    return answer


async def _found(house: House, owner: str, conflict_id: str) -> Kept:
    try:
        conflict = await house.pull.conflict(owner, str(UUID(conflict_id)))
    except ValueError:
        conflict = None
    if conflict is None:
        raise NotFound("There is no such conflict.")
    return conflict


def _place(after: str | None) -> Any:
    place = paging.place(after)
    try:
        return place and (place[0], str(UUID(place[1])))
    except ValueError:
        raise Invalid("`after` is not from this list.", [{"pointer": "/query/after", "detail": "unreadable"}]) from None


def _shown(conflict: Kept) -> dict[str, Any]:
    return {
        "id": conflict.id,
        "resource": conflict.resource,
        "key": conflict.key,
        "policy": conflict.policy,
        "reason": conflict.reason,
        "winner": conflict.winner,
        "loser": conflict.loser,
        "created_at": clock.write(conflict.created_at),
        "restored_at": conflict.restored_at and clock.write(conflict.restored_at),
    }


def _answer(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), 200, writing.PRIVATE, "application/json")
