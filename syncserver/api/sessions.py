"""/api/v1/sessions: anonymous sessions. Anybody may have one; its id alone opens nothing."""

from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Body, Depends, Path, Request, Response

from syncserver.api import describe, errors, writing
from syncserver.api.auth import By, InHouse, Shown
from syncserver.api.body import Route
from syncserver.core import address, bodies, encode, values
from syncserver.core.actor import Actor, session_id, session_owner
from syncserver.core.errors import Claimed, Forbidden, Invalid, NotFound, Unauthorised
from syncserver.engine.house import House
from syncserver.storage.sessions import Kept

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=Route)

Id = Annotated[values.Id, Path(description="The session's id: a UUID.", json_schema_extra={"format": "uuid"})]
_NOT_FOUND = errors.responses(404)
_NOT_ITS_TOKEN = "not the token of this session"  # noqa: S105 - a sentence
_GONE: describe.Answers = {204: {"description": "Done.", "headers": describe.PRIVATE}}
_LOCATION = {"Location": {"description": "The session.", "required": True, "schema": {"type": "string"}}}


async def shown(request: Request, house: InHouse, token: Shown) -> Actor:
    """Whose token it is: by its signature alone, so that a visitor may ask whether its session is still there."""
    with house.limits.key_from(address.of(request.scope)):
        found = await house.keys.read(token)
    house.limits.request(found.owner)
    return found


_Holder = Annotated[Actor, Depends(shown)]


@router.post(
    "",
    summary="A new anonymous session",
    status_code=201,
    response_model=bodies.SessionAnswer,
    responses={201: {"headers": {**describe.PRIVATE, **_LOCATION}}},
)
async def begin(
    request: Request,
    house: InHouse,
    body: Annotated[bodies.SessionBody | None, Body(examples=[{"workspace": True}])] = None,
) -> Response:
    """For a reader who does not sign in. Keep the token: it is the only key, and it is shown this once.

    With `workspace`, it has nodes N001 and N002 from the very beginning.
    """
    house.limits.session(address.of(request.scope))
    begun = await house.sessions.begin(workspace=body is not None and body.workspace)
    answer = bodies.SessionAnswer(
        session_id=str(begun.id), token=begun.token, created_at=begun.kept.created_at, expires_at=begun.kept.expires_at
    )
    headers = {**writing.PRIVATE, "Location": f"/api/v1/sessions/{begun.id}"}
    return Response(encode.frame(answer), 201, headers, "application/json")


@router.get(
    "/{key}/validate",
    summary="Whether a session is still there",
    response_model=bodies.ValidAnswer,
    responses={**describe.OK, **_NOT_FOUND},
)
async def validate(house: InHouse, by: _Holder, key: Id) -> Response:
    """It counts as accessed. Cheap: within a few seconds the same answer is given again."""
    owner, wanted = await _held(house, by, key)
    return _answer(_valid(wanted, await house.sessions.validate(owner, wanted)))


@router.put(
    "/{key}/touch",
    summary="Note that a session is in use",
    status_code=204,
    responses={**_GONE, **_NOT_FOUND},
)
async def touch(house: InHouse, by: _Holder, key: Id) -> Response:
    """Its `last_accessed` is now. No device hears of it."""
    await house.sessions.touch(*await _held(house, by, key))
    return Response(None, 204, writing.PRIVATE)


@router.delete("/{key}", summary="Delete a session for good", status_code=204, responses={**_GONE, **_NOT_FOUND})
async def end(house: InHouse, by: _Holder, key: Id) -> Response:
    """The session and all that it ever owned is erased, and its devices are cut off; nothing brings it back.

    Of a claimed session its own row and its workspace go: what else it brought is its reader's.
    """
    await house.sessions.end(*await _held(house, by, key))
    return Response(None, 204, writing.PRIVATE)


@router.post(
    "/{key}/claim",
    summary="Take over what a visitor has",
    response_model=bodies.ClaimAnswer,
    responses={**describe.OK, **errors.responses(403, 404)},
)
async def claim(
    request: Request,
    house: InHouse,
    by: By,
    key: Id,
    body: Annotated[bodies.ClaimBody, Body(examples=[{"token": "eyJhbGciOi.."}])],
) -> Response:
    """All rows of the session become those of the reader who is signed in; where both have one, the newer wins.

    The session's token ends with that. To claim it again changes nothing.
    """
    wanted = UUID(key)
    if _is_visitor(by):
        raise Forbidden("Sign in to claim a session: a visitor cannot.")
    await _vouched(house, address.of(request.scope), wanted, body.token)
    taken = await house.claim.claim(by.owner, wanted)
    house.keys.ring(session_owner(wanted))
    return _answer(bodies.ClaimAnswer(session_id=key, rows=taken.rows, conflicts=taken.conflicts))


async def _held(house: House, by: Actor, session_id: str) -> tuple[str, UUID]:
    """The session's owner, if that is who asks, and its id; raises NotFound, Unauthorised, Claimed, Unavailable.

    One whose own session has ended hears that it is gone, and not that the token is wrong.
    """
    wanted = UUID(session_id)
    own = by.owner == session_owner(wanted)
    try:
        await house.keys.hold(by)
    except Claimed:
        raise
    except Unauthorised:
        if own and not await house.sessions.exists(by.owner, wanted):
            raise NotFound("There is no such session.") from None
        raise
    if _is_visitor(by) and not own:
        raise NotFound("There is no such session.")
    return by.owner, wanted


async def _vouched(house: House, source: str | None, wanted: UUID, token: str) -> None:
    """Raise Invalid where this is not the token of that session, or was taken back; it counts as a wrong key then."""
    try:
        with house.limits.key_from(source):
            await _hold_for(house, wanted, token)
    except Claimed:
        pass  # perhaps by this very reader; the claim itself knows
    except Unauthorised:
        raise Invalid(f"/token: {_NOT_ITS_TOKEN}", [{"pointer": "/token", "detail": _NOT_ITS_TOKEN}]) from None


async def _hold_for(house: House, wanted: UUID, token: str) -> None:
    """Raise Unauthorised where this is not the token of that session, or does not hold any more."""
    visitor = await house.keys.read(token)
    if visitor.owner != session_owner(wanted):
        raise Unauthorised(_NOT_ITS_TOKEN)
    await house.keys.hold(visitor)


def _is_visitor(actor: Actor) -> bool:
    return session_id(actor.owner) is not None


def _valid(session_id: UUID, kept: Kept) -> bodies.ValidAnswer:
    return bodies.ValidAnswer(
        session_id=str(session_id),
        created_at=kept.created_at,
        last_accessed=kept.last_accessed,
        expires_at=kept.expires_at,
    )


def _answer(body: values.Model) -> Response:
    return Response(orjson.dumps(body.model_dump(mode="json")), 200, writing.PRIVATE, "application/json")
