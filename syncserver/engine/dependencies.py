"""What a mutation waits for: others that had to work before (`after`), and keys behind temporary names.

`Known` is what one transaction knows of both, from the ledger and from its own batch. A mutation that names one which
was rejected is rejected too; one that names what nobody here has seen is deferred: its order was lost on the way.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import temporaries
from syncserver.core.errors import DependencyFailed, DependencyUnknown
from syncserver.core.values import Temporary as TemporaryKey
from syncserver.engine.decide import Ack, Item, Refused, understood
from syncserver.engine.numbers import Numbers
from syncserver.storage import mutations, temporary, trip
from syncserver.storage.changes import Place
from syncserver.storage.mutations import Name
from syncserver.storage.temporary import Became, Temporary
from syncserver.storage.trip import Ask


@dataclass
class Known:
    """Answers by mutation, and keys by temporary name (None: its row was refused). `became`: what is to be kept."""

    answers: dict[Name, Ack]
    keys: dict[Temporary, str | None]
    numbers: Numbers = field(default_factory=Numbers)
    became: dict[Temporary, Became] = field(default_factory=dict)
    _used: dict[Name, frozenset[str]] = field(default_factory=dict)
    _makers: dict[Temporary, Name] = field(default_factory=dict)

    @staticmethod
    def asks(items: Sequence[Item | Refused]) -> list[Ask[Any]]:
        """What to ask of the ledger about these items and what they name; the answers are for `told`."""
        names = {item.name for item in items} | {name for item in items for name in _after(item)}
        wanted = {name for item in items for name in _temporaries(item)}
        return [mutations.looked_up(sorted(names)), *([temporary.looked_up(wanted)] if wanted else [])]

    @classmethod
    async def told(
        cls, connection: AsyncConnection, items: Sequence[Item | Refused], answers: Sequence[Any]
    ) -> "Known":
        """What the ledger said of these items, and what else is to be known of them."""
        first, *keys = answers
        return cls(first, keys[0] if keys else {}, await Numbers.read(connection, items))

    @classmethod
    async def read(cls, connection: AsyncConnection, items: Sequence[Item | Refused]) -> "Known":
        """The same, at once."""
        return await cls.told(connection, items, await trip.go(connection, *cls.asks(items)))

    def resolve(self, item: Item) -> Item:
        """The item with its keys known; raises DependencyFailed, DependencyUnknown, Invalid or TooLarge."""
        for name in _after(item):
            self._worked(name)
        wanted = item.named
        if item.key and not wanted:
            return item
        key = self._key(item) if not item.key else item.key
        self._used[item.name] = _names(item)
        if not wanted:
            return understood(replace(item, key=key))
        keys = {name: self._behind(_of(item, name)) for name in wanted}
        mutation = item.mutation.model_copy(update={"data": temporaries.replaced(item.mutation.data, keys)})
        return understood(replace(item, key=key, mutation=mutation))

    def refused(self, item: Item | Refused) -> None:
        """The item was rejected: if it was to make a key, what refers to that has to be told."""
        name = item.temporary if isinstance(item, Refused) else makes(item)
        if name is None:
            return
        place = _of(item, name)
        if self.keys.get(place) is None or self._makers.get(place) == item.name:
            self._keep(Became(place, item.resource.name if isinstance(item, Item) else "", None))

    def id_map(self, item: Item) -> dict[str, str]:
        """What the names in this item, as it was sent, became."""
        found = {name: self.keys.get(_of(item, name)) for name in self._used.get(item.name, ())}
        return {name: key for name, key in found.items() if key is not None}

    def _worked(self, name: Name) -> None:
        ack = self.answers.get(name)
        if ack is None or ack["status"] == "deferred":
            raise DependencyUnknown("What it has to come after is not here yet: send that first, then this again.")
        if ack["status"] == "rejected":
            raise DependencyFailed("What it has to come after was rejected.")

    def _key(self, item: Item) -> str:
        """The key behind the item's own temporary name; a put makes it if there is none."""
        name = item.mutation.key
        if not isinstance(name, TemporaryKey):
            raise TypeError(type(name))
        place = _of(item, name.temp)
        if item.mutation.op == "put" and self.keys.get(place) is None and item.resource.makes_keys:
            self._keep(Became(place, item.resource.name, self._made(item)))
            self._makers[place] = item.name
        return self._behind(place)

    def _made(self, item: Item) -> str:
        """A key for a new row: of its own, or within the place that it names."""
        within = item.resource.within
        place = within.placed(item.mutation.data or {}) if within else ""
        own = item.resource.make_key() if item.resource.make_key else self.numbers.next(item, place)
        return f"{place}:{own}" if within else own

    def _behind(self, place: Temporary) -> str:
        if place not in self.keys:
            raise DependencyUnknown("It uses a temporary name that is not known yet: send that first, then this again.")
        key = self.keys[place]
        if key is None:
            raise DependencyFailed("It uses a temporary name whose row was rejected.")
        return key

    def _keep(self, became: Became) -> None:
        self.keys[became.temporary] = became.key
        self.became[became.temporary] = became


def segments(items: Sequence[Item]) -> list[list[Item]]:
    """The items in order, cut before each one that may wait for something before it."""
    found: list[list[Item]] = []
    about: set[Place] = set()
    homes: set[Place] = set()
    named: set[Temporary] = set()
    emptied: set[tuple[str, str]] = set()
    for item in items:
        place, its_homes = item.place, item.homes
        waits = (
            item.mutation.after
            or _names_of(item, named)
            or (not item.key and makes(item) is None)
            or item.parent
            or not about.isdisjoint(its_homes)
            or place in homes
            or _may_have_gone(item, emptied)
        )
        if not found or waits:
            found.append([])
            about, homes, named, emptied = set(), set(), set(), set()
        found[-1].append(item)
        about.add(place)
        homes.update(its_homes)
        if isinstance(item.mutation.key, TemporaryKey):
            named.add(_of(item, item.mutation.key.temp))
        if item.mutation.op == "remove":
            emptied.add(place[:2])
    return found


def _may_have_gone(item: Item, emptied: Container[tuple[str, str]]) -> bool:
    """Whether the item's row may go with one that was removed: of these owners, from these resources."""
    return any((item.sender.owner, belongs.resource) in emptied for belongs in item.resource.belongs)


def _names_of(item: Item, named: Container[Temporary]) -> bool:
    """Whether the item's fields have a name that is the key of one of these, or of a row that it goes on from."""
    names = item.named
    return any(_of(item, name) in named for name in names) or (bool(names) and item.resource.parent is not None)


def _after(item: Item | Refused) -> list[Name]:
    if isinstance(item, Refused):
        return []
    return [(item.sender.owner, item.sender.client_id, mutation_id) for mutation_id in item.mutation.after]


def _temporaries(item: Item | Refused) -> list[Temporary]:
    if isinstance(item, Refused):
        return [_of(item, item.temporary)] if item.temporary is not None else []
    return [_of(item, name) for name in _names(item)]


def _names(item: Item) -> frozenset[str]:
    key = item.mutation.key
    own = frozenset([key.temp]) if isinstance(key, TemporaryKey) else frozenset[str]()
    return own | item.named


def makes(item: Item) -> str | None:
    """The temporary name whose key this item is to make, if any."""
    key = item.mutation.key
    return key.temp if isinstance(key, TemporaryKey) and item.mutation.op == "put" else None


def _of(item: Item | Refused, name: str) -> Temporary:
    return (item.sender.owner, item.sender.client_id, name)
