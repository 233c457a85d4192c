"""One race: a reader, a session and two devices at it; the log followed meanwhile, and in the end all laws asked."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import orjson
import psycopg

from syncserver.core.cursor import Cursor
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push
from tests.faults import witness
from tests.faults.racers import Racer, content, uuid
from tests.faults.session_laws import Answered, Ledger, Replay, answers, plain
from tests.faults.witness import Fields

_PAGE_ROWS = 20
_TABLES = {
    "reading_sessions": ("reading_sessions", "id"),
    "session_events": ("session_events", "id"),
    "readings": ("readings", "session_id"),
    "progress": ("reading_progress", "publication_id"),
}

Replica = dict[tuple[str, str], Fields]
"""Rows by resource and key."""


class Race:
    """One seed: a reader, a session and two devices. `wrong`: what was found."""

    def __init__(self, seed: int, doors: Sequence[Push], pull: Pull) -> None:
        self.seed = seed
        self.owner = f"user:{seed}"
        self.wrong: list[str] = []
        self._dice = random.Random(seed)
        self._pull = pull
        session = uuid(self._dice)
        self.racers = [
            Racer(self.owner, name, session, self._dice.choice(doors), random.Random(f"{seed} {name}"))
            for name in ("phone", "tablet")
        ]
        self._replica: Replica = {}
        self._cursor: Cursor | None = None

    async def run(self) -> None:
        """Both at once, and somebody who follows the log meanwhile."""
        first = self.racers[0]
        if self._dice.random() < 0.7:
            await first.send([first.mutation("put", first.session, {"publication_id": "moby", **content(first.dice)})])
        racing = [asyncio.create_task(racer.run(self._dice.randint(3, 7))) for racer in self.racers]
        while any(not task.done() for task in racing):
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED, timeout=self._dice.choice([None, 0.1]))
            self._cursor = await self._follow(self._replica, self._cursor)
        await asyncio.gather(*racing)
        await self._follow(self._replica, self._cursor)
        await self._compare()

    async def _follow(self, replica: Replica, cursor: Cursor | None) -> Cursor:
        """Bring the replica up to the head of the log."""
        while True:
            page = await self._pull.page(self.owner, cursor, None, _PAGE_ROWS)
            for change in page.changes:
                place = (change.resource, change.key)
                replica.pop(place, None)
                if change.op == "put":
                    replica[place] = plain(orjson.loads(change.data or "{}"))
            cursor = page.cursor_until
            if not page.more:
                return cursor

    async def _compare(self) -> None:
        whole: Replica = {}
        await self._follow(whole, None)
        if whole != self._replica:
            self.wrong.append("who followed the log has other rows than who reads it from its beginning")

    def judge(self, sql: psycopg.Connection) -> Replay:
        """All the laws, over what the witness saw."""
        replay = Replay(Ledger(list(self._answered())))
        replay.follow(witness.writes(sql, self.owner))
        kept = Counter(
            row[0]
            for row in sql.execute(
                "SELECT key FROM conflicts WHERE owner = %s AND resource = 'reading_sessions'", [self.owner]
            )
        )
        self.wrong += [*replay.wrong, *answers(replay, kept), *self._stored(sql)]
        return replay

    def _stored(self, sql: psycopg.Connection) -> Iterator[str]:
        """Whether the tables hold what the log tells, row for row."""
        held: Replica = {}
        for resource, (table, key) in _TABLES.items():
            rows = sql.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE owner = %s".encode(), [self.owner])
            held |= {(resource, row[key]): plain(row) for (row,) in rows}
        for place in held.keys() | self._replica.keys():
            if held.get(place) != self._replica.get(place):
                yield f"the log has {self._replica.get(place)}, and the table {held.get(place)}"

    def _answered(self) -> Iterator[Answered]:
        for racer in self.racers:
            for name, told in racer.answers.items():
                first = {member: value for member, value in told[0].items() if member != "status"}
                if any({m: v for m, v in ack.items() if m != "status"} != first for ack in told):
                    self.wrong.append(f"a duplicate had another answer: {told}")
                if sum(ack["status"] != "duplicate" for ack in told) > 1:
                    self.wrong.append(f"a mutation was done twice: {told}")
                yield Answered(racer.name, racer.sent[name], told[0])
