"""A row that a POST makes, under the client's key or the server's: one mutation, and 201 with the row's place."""

from typing import Any
from uuid import UUID, uuid5

from fastapi import Response

from syncserver.api import proposal, writing
from syncserver.core.actor import Actor
from syncserver.engine.house import House
from syncserver.storage.resource import Resource

Raw = dict[str, Any]
_NAMES = UUID("4a4bfa0c-53d1-5f0d-9a57-2f9d1b6f1e0d")


def new(resource: Resource, body: Raw, if_match: str | None = None) -> Raw:
    """A put of a row under the key in the body, or a temporary name: the same one for the same mutation."""
    fields = {name: value for name, value in body.items() if name != resource.key}
    made = proposal.mutation("put", resource, None, fields, if_match)
    given = body.get(resource.key)
    temporary = {"temp": name(resource, made["mutation_id"])}
    return {**made, "key": temporary if given is None else _key(resource, given)}


def name(resource: Resource, mutation_id: object) -> str:
    """A name for the row that this mutation makes, a UUID: the same one for the same mutation."""
    return str(uuid5(_NAMES, f"{resource.name} {str(mutation_id).lower()}"))


def _key(resource: Resource, given: object) -> str:
    try:
        return resource.canonical(given if isinstance(given, str) else "")
    except ValueError as error:
        raise proposal.wrong(f"/{resource.key}", str(error)) from None


async def made(
    house: House,
    by: Actor,
    resource: Resource,
    mutation: Raw,
    former: str | None = None,
    place: writing.Place = writing.own_place,
) -> Response:
    """Write it and answer with the row; raises what the ack says, and Invalid where the mutation was another write.

    NotFound for a retry of what was removed since. `former`: the row to answer with where it was a write of that one.
    `place`: at which address it is.
    """
    key = mutation["key"]
    ack = await writing.settled(house, by, resource, mutation)
    found = key if isinstance(key, str) else ack.get("id_map", {}).get(key["temp"])
    if found is not None:
        return await writing.shown(house, by, resource, found, ack, created=place)
    if former is None:
        raise proposal.wrong("/mutation_id", "that of another write")
    return await writing.shown(house, by, resource, former, ack)
