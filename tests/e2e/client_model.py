"""A model of the server, in memory: a log of one owner with offsets, its ledger, and the real resolver.

It keeps every state that ever was, so that a client's rows can be held against the one that they claim to be.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from syncserver_client.http import Page, RefetchNeeded
from syncserver_client.model import Row

from syncserver.core import clock
from syncserver.core.patch import merged
from syncserver.core.resolver import ConflictResolver, Version

RESOURCE = "progress"
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Log:
    """What a backup would hold: entries by key, the head, the floor, and the first answer to each mutation."""

    head: int = 0
    floor: int = 0
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)


class ModelServer:
    """`push` is the one write door, `page` the one read door. Time is the machine's."""

    def __init__(self) -> None:
        self.log = Log()
        self.epoch = 0
        self.seconds = 0
        self.states: dict[tuple[int, int], dict[str, int]] = {(0, 0): {}}
        self.bodies: dict[str, bytes] = {}
        self.arrived: list[str] = []
        self.deferring: set[str] = set()
        self.was_deferred: set[str] = set()
        self._backup = copy.deepcopy(self.log)

    # -- time and faults --------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        self.seconds += 1
        return START + timedelta(seconds=self.seconds)

    def back_up(self) -> None:
        self._backup = copy.deepcopy(self.log)

    def restore(self) -> None:
        """The backup becomes the database, under a new epoch: what came after it never was."""
        self.log = copy.deepcopy(self._backup)
        self.epoch += 1
        self._note()

    def expire(self) -> None:
        """All tombstones go; whoever has not seen them must begin again."""
        self.log.entries = {key: entry for key, entry in self.log.entries.items() if entry["op"] == "put"}
        self.log.floor = self.log.head
        self._note()

    def _note(self) -> None:
        put = {key: entry["offset"] for key, entry in self.log.entries.items() if entry["op"] == "put"}
        self.states[self.epoch, self.log.head] = put

    # -- cursors ------------------------------------------------------------------------------------------------------

    def cursor(self, offset: int) -> str:
        return f"{self.epoch}.{offset}"

    def place(self, cursor: str | None) -> int | None:
        """The offset to go on from; None: refetch."""
        if cursor is None:
            return 0
        epoch, offset = (int(part) for part in cursor.split("."))
        honoured = epoch == self.epoch and (offset >= self.log.floor or offset == 0) and offset <= self.log.head
        return offset if honoured else None

    def state_at(self, cursor: str) -> dict[str, int]:
        epoch, offset = (int(part) for part in cursor.split("."))
        return self.states[epoch, offset]

    # -- the doors ----------------------------------------------------------------------------------------------------

    def page(self, since: int, size: int) -> tuple[list[dict[str, Any]], int, bool]:
        """Rows after `since`, at most `size` of them; where that ends, and whether there is more."""
        found = sorted(
            (entry for entry in self.log.entries.values() if entry["offset"] > since), key=lambda e: int(e["offset"])
        )
        more = len(found) > size
        return copy.deepcopy(found[:size]), found[size - 1]["offset"] if more else self.log.head, more

    def push(self, bodies: list[bytes], device: str) -> list[dict[str, Any]]:
        """The answer to each mutation; a mutation that came before gets the first answer again."""
        acks = []
        for body in bodies:
            mutation = orjson.loads(body)
            name = mutation["mutation_id"]
            assert self.bodies.setdefault(name, body) == body, "what is sent again is not the same, byte for byte"
            if name in self.log.ledger:
                acks.append({**self.log.ledger[name], "status": "duplicate"})
            elif name in self.deferring:
                self.deferring.discard(name)
                self.was_deferred.add(name)
                acks.append({"mutation_id": name, "status": "deferred"})
            else:
                if name not in self.arrived:
                    self.arrived.append(name)
                self.log.ledger[name] = self._decided(mutation, device)
                acks.append(self.log.ledger[name])
        return acks

    def _decided(self, mutation: dict[str, Any], device: str) -> dict[str, Any]:
        name, key = mutation["mutation_id"], mutation["key"]
        entry = self.log.entries.get(key)
        before = _version(entry) if entry else None
        if mutation["op"] != "put" and before is None:
            return _rejected(name, "not_found")
        if mutation["op"] == "patch" and before is not None and before.fields is None:
            return _rejected(name, "removed")
        if (mutation["data"] or {}).get("bad"):
            return _rejected(name, "invalid")
        stamp = clock.clamp(clock.read(mutation["updated_at"]), self.now())
        incoming = Version(_meant(mutation, before), stamp, device, mutation["base"])
        resolution = ConflictResolver().resolve(before, incoming)
        if resolution.changed:
            self._write(key, resolution.version, name)
        entry = self.log.entries[key]
        if resolution.accepted:
            return {"mutation_id": name, "status": "applied", "offset": entry["offset"]}
        return {"mutation_id": name, "status": "superseded", "row": copy.deepcopy(entry)}

    def _write(self, key: str, version: Version, mutation_id: str) -> None:
        self.log.head += 1
        self.log.entries[key] = {
            "resource": RESOURCE,
            "key": key,
            "op": "remove" if version.fields is None else "put",
            "data": version.fields,
            "offset": self.log.head,
            "updated_at": clock.write(version.updated_at),
            "device_id": version.device_id,
            "mutation_id": mutation_id,
        }
        self._note()


def _version(entry: dict[str, Any]) -> Version:
    return Version(entry["data"], clock.read(entry["updated_at"]), entry["device_id"], entry["offset"])


def _meant(mutation: dict[str, Any], before: Version | None) -> Any:
    if mutation["op"] == "remove":
        return None
    if mutation["op"] == "put" or before is None or before.fields is None:
        return mutation["data"]
    return merged(before.fields, mutation["data"])


def _rejected(name: str, code: str) -> dict[str, Any]:
    return {"mutation_id": name, "status": "rejected", "code": code, "detail": ""}


class ModelHttp:
    """The client's view of the model by plain questions; the network may die after so many answers."""

    def __init__(self, server: ModelServer, size: int, answers: int) -> None:
        self._server = server
        self._size = size
        self._answers = answers

    async def changes(self, cursor: str | None, _wait_s: int = 0) -> Page:
        if self._answers == 0:
            raise ConnectionError
        self._answers -= 1
        since = self._server.place(cursor)
        if since is None:
            raise RefetchNeeded
        rows, until, more = self._server.page(since, self._size)
        found = [Row.from_wire(row) for row in rows]
        return Page(found, self._server.cursor(until), more, self._server.now())
