"""One batch inside its transaction: every mutation judged against the row as it is, what won written, what lost kept.

Of each row one mutation after the other, of different rows together; what waits for another mutation comes after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core.errors import DependencyUnknown, NotFound, Removed, SyncError
from syncserver.engine import dependencies, effects, settle
from syncserver.engine.decide import Current, Decision, Item, Refused, decide, deferred, rejected
from syncserver.engine.dependencies import Known
from syncserver.engine.effects import Books
from syncserver.engine.quota import Tally
from syncserver.storage.changes import Place
from syncserver.storage.mutations import Answer
from syncserver.storage.resource import Catalog, Resource


@dataclass(frozen=True, slots=True)
class Looked:
    """The rows at these places as they were looked up, and locked, before anything was written."""

    places: Mapping[Place, Resource] = field(default_factory=dict)
    found: Mapping[Place, Current] = field(default_factory=dict)


async def judge(
    connection: AsyncConnection,
    items: Sequence[Item | Refused],
    known: Known,
    books: Books,
    looked: Looked = Looked(),
) -> list[Answer]:
    """Judge and write these mutations, none of which was answered before; their answers, for the ledger.

    Those that have to wait are answered in `known.answers` only: what is deferred was never answered. `looked`: what
    is known of rows already.
    """
    answers = [_refusal(item, item.error, known) for item in items if isinstance(item, Refused)]
    for segment in dependencies.segments([item for item in items if isinstance(item, Item)]):
        ready = [item for item in (_resolved(item, known, answers) for item in segment) if item is not None]
        for answer in await _segment(connection, ready, known, books, looked):
            known.answers[answer.name] = answer.ack
            answers.append(answer)
        looked = Looked()  # what was written may have changed them
    return answers


def places(items: Sequence[Item | Refused], catalog: Catalog) -> dict[Place, Resource]:
    """The rows that these are about, as far as that can be said before any is judged."""
    return _places([item for item in items if isinstance(item, Item) and item.key], catalog)


def _refusal(item: Item | Refused, error: SyncError, known: Known) -> Answer:
    known.refused(item)
    ack = rejected(item.name[2], error)
    known.answers[item.name] = ack
    return Answer(item.name, None, ack)


def _resolved(item: Item, known: Known, answers: list[Answer]) -> Item | None:
    """The item with its keys known; None for one that is deferred, or rejected in `answers`."""
    try:
        return known.resolve(item)
    except DependencyUnknown as error:
        known.answers[item.name] = deferred(item, error)
    except SyncError as error:
        answers.append(_refusal(item, error, known))
    return None


async def _segment(
    connection: AsyncConnection, items: Sequence[Item], known: Known, books: Books, looked: Looked
) -> list[Answer]:
    wanted = _places(items, books.catalog)
    present = {place: looked.found[place] for place in wanted if place in looked.found}
    present |= await settle.present(connection, {p: of for p, of in wanted.items() if p not in looked.places})
    answers: list[Answer] = []
    waves = _waves(items)
    for number, wave in enumerate(waves, 1):
        decisions: list[Decision] = []
        puts = [item for item in wave if item.fields is not None]
        await books.tally.look(connection, [put.sender.owner for put in puts if not _stored(present.get(put.place))])
        for item in wave:
            try:
                _at_home(item, present)
                decision = decide(item, present.get(item.place), present.get(_parent(item)) if item.parent else None)
                _account(decision, present.get(item.place), books.tally)
                decisions.append(decision)
            except SyncError as error:
                answers.append(_refusal(item, error, known))
        before = present.copy()
        await settle.settle(connection, decisions, present, whole=number < len(waves))
        answers += [_answer(d, present[d.item.place], known) for d in decisions]
        await effects.follow(connection, decisions, before, present, books)
    return answers


def _places(items: Sequence[Item], catalog: Catalog) -> dict[Place, Resource]:
    """The rows that these are about, and those that new ones go on from or belong to."""
    homes = {place: catalog[place[1]] for item in items for place in item.homes}
    own = {item.place: item.resource for item in items if item.key}
    parents = {_parent(item): item.resource for item in items if item.parent}
    return {**homes, **own, **parents}


def _at_home(item: Item, present: Mapping[Place, Current]) -> None:
    """Raise NotFound or Removed where there is no row that the item's row could belong to."""
    for place in item.homes:
        home = present.get(place)
        if home is None:
            raise NotFound("There is no such row for it to belong to.")
        if home.stored is None:
            raise Removed("The row that it belongs to was removed.")


def _parent(item: Item) -> Place:
    owner, resource, _ = item.place
    return (owner, resource, item.parent or "")


def _account(decision: Decision, before: Current | None, tally: Tally) -> None:
    """One row more or less; raises OverQuota where there is no room for one more."""
    there = decision.resolution.version.fields is not None
    if decision.resolution.changed and there and not _stored(before):
        tally.insert(decision.item.sender.owner)
    elif decision.resolution.changed and not there and _stored(before):
        tally.remove(decision.item.sender.owner)


def _stored(before: Current | None) -> bool:
    return before is not None and before.stored is not None


def _answer(decision: Decision, now: Current, known: Known) -> Answer:
    offset = now.entry.offset if decision.resolution.accepted else None
    ack = decision.ack(now)
    id_map = known.id_map(decision.item)
    if id_map:
        ack["id_map"] = id_map
    return Answer(decision.item.name, offset, ack, decision.claimed_at(now))


def _waves(items: Sequence[Item]) -> list[list[Item]]:
    """The first mutation of each row, then the second of each, and so on: every write gets an offset of its own."""
    waves: list[list[Item]] = []
    depth: dict[Place, int] = {}
    for item in items:
        level = depth[item.place] = depth.get(item.place, -1) + 1
        if level == len(waves):
            waves.append([])
        waves[level].append(item)
    return waves
