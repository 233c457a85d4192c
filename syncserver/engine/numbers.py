"""Numbers for rows whose own ids are numbered: each is past all that were ever given in the same place."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import within
from syncserver.core.errors import Invalid
from syncserver.engine.decide import Item, Refused
from syncserver.storage import numbers
from syncserver.storage.numbers import Place


class Numbers:
    """What one transaction knows of numbers: the last one given in each place that its mutations make a row in."""

    def __init__(self, last: dict[Place, int] | None = None) -> None:
        self._last = last or {}

    @classmethod
    async def read(cls, connection: AsyncConnection, items: Sequence[Item | Refused]) -> "Numbers":
        """What the tables say, and these very mutations, of every place where one of them is to be numbered."""
        own = [item for item in items if isinstance(item, Item) and _numbered(item)]
        last: dict[Place, int] = {}
        for resource in {item.resource.name: item.resource for item in own}.values():
            here = [item for item in own if item.resource is resource]
            wanted = {_place(item, "") for item in here if not item.key}
            last |= await numbers.last(connection, resource, wanted)
            for item in here:
                place = _place(item, item.key)
                if item.key and place in wanted:
                    last[place] = max(last[place], within.number(item.key))
        return cls(last)

    def next(self, item: Item, place: str) -> str:
        """The own id of a new row in this place; raises Invalid where there is no number left."""
        name = (item.sender.owner, item.resource.name, place)
        self._last[name] = self._last.get(name, 0) + 1
        if self._last[name] > within.NUMBER_MAX:
            raise Invalid("There is no number left for it in this place: give it an id of its own.")
        return within.numbered(self._last[name])


def _numbered(item: Item) -> bool:
    return item.mutation.op == "put" and item.resource.within is not None and item.resource.within.numbered


def _place(item: Item, key: str) -> Place:
    of = item.resource.within
    place = key.partition(":")[0] or (of.placed(item.mutation.data or {}) if of else "")
    return (item.sender.owner, item.resource.name, place)
