"""Writers at psql: transactions of several acts, held open, rolled back in whole or in part, and tried again."""

import asyncio
from dataclasses import dataclass
from random import Random

import psycopg
from psycopg import IsolationLevel, errors

from tests.oracle import acts
from tests.oracle.acts import Act
from tests.oracle.tally import Pace, Tally

_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)
_HELD_S = 0.006


@dataclass(frozen=True, slots=True)
class _Step:
    """An act, in a savepoint or not, undone or not, and how long the transaction stays open after it."""

    act: Act
    savepoint: bool
    undone: bool
    held_s: float


@dataclass(frozen=True, slots=True)
class _Transaction:
    steps: list[_Step]
    undone: bool
    isolation: IsolationLevel


def _step(act: Act, chance: Random) -> _Step:
    savepoint = chance.random() < 0.2
    held_s = chance.uniform(0, _HELD_S) if chance.random() < 0.4 else 0
    return _Step(act, savepoint, savepoint and chance.random() < 0.5, held_s)


def _drawn(chance: Random, expires: bool) -> _Transaction:
    if expires and chance.random() < 0.05:
        drawn = [acts.expiry(chance)]
    else:
        drawn = [acts.drawn(chance) for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 5]))]
    level = IsolationLevel.REPEATABLE_READ if chance.random() < 0.05 else IsolationLevel.READ_COMMITTED
    return _Transaction([_step(act, chance) for act in drawn], chance.random() < 0.12, level)


class Writer:
    """One of them, with a connection and a seed of its own, as the database's owner."""

    def __init__(self, url: str, chance: Random, tally: Tally, pace: Pace, *, expires: bool) -> None:
        self._url = url
        self._chance = chance
        self._tally = tally
        self._pace = pace
        self._expires = expires

    async def run(self) -> None:
        """Write until there is enough."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            while await self._pace.writer():
                await self._until_done(connection, _drawn(self._chance, self._expires))
                self._pace.moved()

    async def _until_done(self, connection: psycopg.AsyncConnection, transaction: _Transaction) -> None:
        while True:
            try:
                await self._transact(connection, transaction)
            except _AGAIN as error:
                self._tally.retried[f"{type(error).__name__} ({error.sqlstate})"] += 1
            except errors.UniqueViolation:  # somebody took the place that this one found free
                self._tally.rollbacks += 1
                return
            else:
                return

    async def _transact(self, connection: psycopg.AsyncConnection, transaction: _Transaction) -> None:
        met: list[_Step] = []
        await connection.set_isolation_level(transaction.isolation)
        async with connection.transaction(force_rollback=transaction.undone):
            for step in transaction.steps:
                if await _acted(connection, step):
                    met.append(step)
                if step.held_s:
                    await asyncio.sleep(step.held_s)
        kept = [step.act.name for step in met if not step.undone]
        if transaction.undone:
            self._tally.rollbacks += 1
        elif kept:
            self._tally.commits += 1
            self._tally.acts.update(kept)
            self._tally.acts["rollback to a savepoint"] += len(met) - len(kept)


async def _acted(connection: psycopg.AsyncConnection, step: _Step) -> bool:
    """Do it; whether every statement met a row."""
    if not step.savepoint:
        return await _executed(connection, step.act)
    async with connection.transaction(force_rollback=step.undone):
        return await _executed(connection, step.act)


async def _executed(connection: psycopg.AsyncConnection, act: Act) -> bool:
    for statement, arguments in act.statements:
        done = await connection.execute(statement.encode(), arguments)
        if done.rowcount == 0:
            return False
    return True
