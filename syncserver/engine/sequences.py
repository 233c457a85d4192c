"""Sequences of rows that belong to another: the mutations by which one is put in, moved, or all are replaced.

They are planned inside the transaction that judges them, where no other write of their owner can come between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import sequence
from syncserver.core.errors import Invalid, NotFound, Superseded
from syncserver.core.sequence import Spot
from syncserver.storage import rows, sequences
from syncserver.storage.resource import Resource
from syncserver.storage.sequences import Place

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Home:
    """The row that a sequence belongs to, and when it is asked for."""

    resource: Resource
    owner: str
    key: str
    now: datetime

    async def places(self, connection: AsyncConnection) -> list[Place]:
        """The sequence as it is."""
        return await sequences.places(connection, self.resource, self.owner, self.key)


async def inserted(connection: AsyncConnection, home: Home, put: Raw, spot: Spot) -> list[Raw]:
    """The put of a row with its rank, and what has to make room for it; raises Invalid for a wrong neighbour."""
    here = await home.places(connection)
    ranks = {place.key: place.rank for place in here if place.key != put["key"]}
    wanted = _placed(list(ranks), put["key"], spot)
    return _ranked([put], sequence.arranged(wanted, ranks, home.now), here, home.resource)


async def moved(connection: AsyncConnection, home: Home, patch: Raw, spot: Spot) -> list[Raw]:
    """The patch of a row with its new rank, and what has to make room for it; nothing where nothing would change.

    Raises NotFound for a row that is not in the sequence, Invalid for a wrong neighbour.
    """
    here = await home.places(connection)
    present = {place.key: place for place in here}
    mine = present.get(patch["key"])
    if mine is None:
        raise NotFound("There is no such row in this sequence.")
    known = patch if {"base", "updated_at"} & patch.keys() else {**patch, "base": mine.offset}
    ranks = {key: place.rank for key, place in present.items() if key != mine.key}
    wanted = _placed(list(ranks), mine.key, spot)
    if wanted == list(present):
        return [known] if patch["data"] else []
    return _ranked([known], sequence.arranged(wanted, ranks, home.now), here, home.resource)


async def replaced(connection: AsyncConnection, home: Home, wanted: Sequence[Raw], seen: str | None) -> list[Raw]:
    """What makes these the whole sequence: each a put, of which a row that is there takes only what the put says.

    `seen`: by what the writer knew the sequence; raises Superseded where it is another by now.
    """
    here = await home.places(connection)
    if seen is not None and seen != str(sequences.known(here)):
        raise Superseded("The sequence is another by now: read it again.", None, None, None, ["components"])
    named = {put["key"] for put in wanted}
    present = {place.key: place for place in here if place.key in named}
    ranks = {key: place.rank for key, place in present.items()}
    found = sequence.arranged([put["key"] for put in wanted], ranks, home.now)
    stored = await rows.locked(connection, home.resource, [(home.owner, key) for key in present])
    whole = []
    for put in wanted:
        there = stored.get((home.owner, put["key"]))
        given = {name: value for name, value in put["data"].items() if name in home.resource.fields}
        fields = {**(there.fields if there else {}), **given}
        if there is None or fields != there.fields or put["key"] in found:
            base = {"base": present[put["key"]].offset} if there is not None and seen is not None else {}
            whole.append({**put, **base, "data": fields})
    gone = [_known(home.resource, place, "remove") for place in here if place.key not in named]
    return [*gone, *_ranked(whole, found, here, home.resource)]


async def begun(connection: AsyncConnection, home: Home, first: Raw, puts: Sequence[Raw]) -> list[Raw]:
    """A new row and, in order, rows of its sequence; where it is there already, those come to stand at the end."""
    here = await home.places(connection) if home.key else []
    new = {put["key"] for put in puts}
    ranks = {place.key: place.rank for place in here if place.key not in new}
    wanted = [*ranks, *(put["key"] for put in puts)]
    return [first, *_ranked(puts, sequence.arranged(wanted, ranks, home.now), here, home.resource)]


def identified(mutations: Sequence[Mapping[str, Any]], mutation_id: str) -> list[Raw]:
    """The mutations with ids that are the same whenever this request is: the first has its own."""
    ids = [mutation_id, *(_id(mutation_id, other) for other in mutations[1:])]
    return [{**mutation, "mutation_id": own} for mutation, own in zip(mutations, ids, strict=False)]


def _id(mutation_id: str, mutation: Mapping[str, Any]) -> str:
    return str(uuid5(UUID(mutation_id), f"{mutation['op']} {mutation['key']}"))


def _placed(others: Sequence[str], key: str, spot: Spot) -> list[str]:
    try:
        return sequence.placed(others, key, spot)
    except LookupError:
        name = "before" if spot.before is not None else "after"
        sentence = "no row of this sequence"
        raise Invalid(f"/{name}: {sentence}", [{"pointer": f"/{name}", "detail": sentence}]) from None


def _ranked(mutations: Sequence[Raw], found: Mapping[str, str], here: Sequence[Place], resource: Resource) -> list[Raw]:
    """The mutations with the ranks that were found; rows that only make room follow, each by a patch."""
    own = {mutation["key"] for mutation in mutations}
    room = [{**_known(resource, place, "patch"), "data": {}} for place in here if place.key in found.keys() - own]
    return [
        {**one, "data": {**one["data"], "rank": found[one["key"]]}} if one["key"] in found else one
        for one in (*mutations, *room)
    ]


def _known(resource: Resource, place: Place, op: str) -> Raw:
    """A write of a row that is known to be as it is."""
    return {"resource": resource.name, "key": place.key, "op": op, "base": place.offset}
