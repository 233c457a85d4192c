"""What follows from a write in its own transaction: a resource says what, and it is judged as any other write is.

A reading session that is completed leaves a reading and finishes the publication's progress; who sees the one sees the
others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import OverQuota, SyncError
from syncserver.core.values import Mutation
from syncserver.engine import settle
from syncserver.engine.decide import Current, Decision, Item, Sender, decide, understood
from syncserver.engine.quota import Tally
from syncserver.storage.changes import Place
from syncserver.storage.resource import Catalog, Follow, Resource, Written


@dataclass(frozen=True, slots=True)
class Books:
    """What a batch is judged by, besides the rows: which resources there are, and how many rows one may have."""

    catalog: Catalog
    tally: Tally


async def follow(
    connection: AsyncConnection,
    decisions: Sequence[Decision],
    before: Mapping[Place, Current],
    known: dict[Place, Current],
    books: Books,
) -> None:
    """Do what follows from these decisions; `before` and `known`: the rows as they were and are, kept up to date."""
    told = [d for d in decisions if d.item.resource.effects and (d.resolution.changed or d.conflict)]
    await books.tally.look(connection, [d.item.sender.owner for d in told if d.item.resource.logged])
    for resource in {d.item.resource.name: d.item.resource for d in told}.values():
        written = [_written(d, before, known, books.tally) for d in told if d.item.resource is resource]
        if resource.effects is None or not written:
            continue
        found = await resource.effects(connection, written)
        await _reread(connection, found.changed, known, books.catalog)
        for one in found.follows:
            await _judge(connection, one, known, books)


def _written(
    decision: Decision, before: Mapping[Place, Current], known: Mapping[Place, Current], tally: Tally
) -> Written:
    item, conflict = decision.item, decision.conflict
    was, now = before.get(item.place), known[item.place]
    return Written(
        owner=item.sender.owner,
        key=item.key,
        before=was.stored.fields if was and was.stored else None,
        after=now.stored.fields if now.stored else None,
        told=decision.told,
        device=item.sender.device,
        at=item.stamp,
        conflict_id=conflict.id if conflict else None,
        policy=item.mutation.policy or item.resource.policy,
        reason=decision.resolution.reason,
        room=not item.resource.logged or _has_room(tally, item.sender.owner),
    )


def _has_room(tally: Tally, owner: str) -> bool:
    try:
        tally.insert(owner)
    except OverQuota:
        return False
    return True


async def _reread(
    connection: AsyncConnection, changed: Sequence[Place], known: dict[Place, Current], catalog: Catalog
) -> None:
    """Know the rows anew that this very batch has to do with, too."""
    stale = {place: catalog[place[1]] for place in changed if place in known}
    known |= await settle.present(connection, stale)


async def _judge(connection: AsyncConnection, one: Follow, known: dict[Place, Current], books: Books) -> None:
    resource = books.catalog[one.resource]
    place = (one.cause.owner, one.resource, one.key)
    known |= await settle.present(connection, {place: resource})
    before = known.copy()
    try:
        decision = decide(_item(one, resource, known.get(place)), known.get(place))
    except SyncError:
        return  # the row that it would change takes no such fields: what caused it stands all the same
    await settle.settle(connection, [decision], known)
    await follow(connection, [decision], before, known, books)


def _item(one: Follow, resource: Resource, current: Current | None) -> Item:
    there = current is not None and current.stored is not None
    mutation = Mutation(
        mutation_id=str(uuid4()),
        resource=one.resource,
        key=one.key,
        op="patch" if there else "put",
        data=one.fields,
        updated_at=one.cause.at,
    )
    # never in the ledger: it is answered with the mutation that caused it
    sender = Sender(one.cause.owner, one.cause.device, "")
    return understood(Item(sender, mutation, resource, one.cause.at, None, one.key))
