"""Who said "I am here" in this process, and what each of them was told of the others. In memory, without I/O.

Everybody is told the whole list, and only when it is another than before.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from syncserver.core import clock
from syncserver.engine.house import Guest
from syncserver.storage.presences import Present


@dataclass(slots=True)
class Listed:
    """One guest that is here. `told`: the others, as it last heard of them; None: nothing yet."""

    guest: Guest
    present: Present
    told: Sequence[Present] | None = None


class Roll:
    """By owner and connection; nothing stays of an owner whose last one left."""

    def __init__(self) -> None:
        self._by_owner: dict[str, dict[str, Listed]] = {}
        self._behind: set[str] = set()

    def here(self, guest: Guest, state: Mapping[str, Any] | None, now: datetime) -> Present | None:
        """The guest is here, in this state; since when, stays what it was. None for one that is no socket."""
        if guest.sender is None:
            return None
        text = None if state is None else orjson.dumps(state).decode()
        listed = self._by_owner.setdefault(guest.owner, {})
        if guest.id in listed:
            present = replace(listed[guest.id].present, state=text)
            listed[guest.id].present = present
        else:
            device = guest.sender.device
            present = Present(guest.owner, guest.id, device.id, device.name, guest.app, text, now)
            listed[guest.id] = Listed(guest, present)
        return present

    def left(self, guest: Guest) -> bool:
        """The guest is gone; False when it never was here."""
        listed = self._by_owner.get(guest.owner, {})
        known = listed.pop(guest.id, None) is not None
        if known and not listed:
            del self._by_owner[guest.owner]
            self._behind.discard(guest.owner)
        return known

    def tell(self, owner: str, present: Iterable[Present]) -> None:
        """All who are here of this owner, in any process: whoever does not know it yet is told of the others."""
        ordered = in_order(present)
        shown = {p.connection: orjson.Fragment(_shown(p)) for p in ordered}
        for connection, listed in self._by_owner.get(owner, {}).items():
            others = [p for p in ordered if p.connection != connection]
            if others == listed.told:
                continue
            if listed.guest.offer(_frame([shown[p.connection] for p in others])):
                listed.told = others
            else:
                self._behind.add(owner)

    def behind(self) -> set[str]:
        """The owners of those who had no room for what they were told; asked once."""
        found, self._behind = self._behind, set()
        return found

    def __iter__(self) -> Iterator[Present]:
        return (one.present for listed in self._by_owner.values() for one in listed.values())

    def __contains__(self, owner: object) -> bool:
        return owner in self._by_owner

    def owners(self) -> list[str]:
        """Of whom somebody is here."""
        return list(self._by_owner)


def in_order(present: Iterable[Present]) -> list[Present]:
    """The list as everybody is told it: who came first is first, in whatever order it was read."""
    return sorted(present, key=lambda p: (p.since, p.connection))


def _frame(devices: Sequence[orjson.Fragment]) -> bytes:
    return orjson.dumps({"type": "presence", "devices": devices})


def _shown(present: Present) -> bytes:
    """One member of the list, as the wire's Here."""
    return orjson.dumps(
        {
            "connection": present.connection,
            "device_id": present.device_id,
            "device_name": present.device_name,
            "app": present.app,
            "state": None if present.state is None else orjson.Fragment(present.state),
            "since": clock.write(present.since),
            "seen_at": clock.write(present.seen_at or present.since),
        }
    )
