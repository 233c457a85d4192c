"""The other workers of the same server: how many of an owner's guests they have, and which has a client's socket.

A socket takes the place of an older one of its client in whichever worker that is: the worker is told through a pipe of
the machine. Who had too many is counted before it is asked whether there is room, so that two who come at once to two
workers can both be refused, and never both be let in over the limit.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from syncserver.engine.board import Board
from syncserver.engine.tallies import Places, SharedTally

Pipe = tuple[socket.socket, socket.socket]
"""Where a worker is told something: the end that it reads, and the one that the others write to."""

_MESSAGE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Seat:
    """One of several workers: what all of them share, and which of them it is, from 0 on."""

    board: Board
    pipes: Sequence[Pipe]
    me: int


class Neighbours(Protocol):
    """What a house asks of the other workers, and tells them."""

    def sockets(self, owner: str, client_id: str) -> int:
        """How many of this owner they have, but for an older one of this client."""

    def streams(self, owner: str) -> int:
        """How many streams and long-polls of this owner they have."""

    def entered(self, owner: str, client_id: str | None) -> None:
        """A socket of this client (None: a stream or long-poll) is about to be here."""

    def newest(self, owner: str, client_id: str) -> None:
        """The newest socket of this client is here: it takes the place of an older one."""

    def left(self, owner: str, client_id: str | None) -> None:
        """After `entered`: it is not here any more."""

    def gone(self, owner: str, client_id: str) -> None:
        """After `newest`: none of this client is here any more."""


class Alone:
    """There are no others."""

    def sockets(self, _owner: str, _client_id: str) -> int:
        """None."""
        return 0

    def streams(self, _owner: str) -> int:
        """None."""
        return 0

    def entered(self, owner: str, client_id: str | None) -> None:
        """Nobody has to know."""

    newest = left = gone = entered


class Others:
    """The others of a server with several workers, as seen from this seat."""

    def __init__(self, seat: Seat) -> None:
        self._sockets = SharedTally(seat.board, "sockets", seat.me)
        self._streams = SharedTally(seat.board, "streams", seat.me)
        self._clients = Places(seat.board, "clients", seat.me)
        self._me = seat.me
        self._ears = seat.pipes[seat.me][0]
        self._mouths = [mouth for _, mouth in seat.pipes]

    def sockets(self, owner: str, client_id: str) -> int:
        """How many of this owner they have, but for an older one of this client."""
        found = self._sockets.elsewhere(owner)
        older = self._clients.of(_name(owner, client_id)) if found else None
        return found - (older is not None and older != self._me)

    def streams(self, owner: str) -> int:
        """How many streams and long-polls of this owner they have."""
        return self._streams.elsewhere(owner)

    def entered(self, owner: str, client_id: str | None) -> None:
        """A socket of this client (None: a stream or long-poll) is about to be here."""
        (self._streams if client_id is None else self._sockets).take(owner, 0)

    def newest(self, owner: str, client_id: str) -> None:
        """The newest socket of this client is here: the worker that has an older one is told."""
        other = self._clients.come(_name(owner, client_id))
        if other is None:
            return
        with contextlib.suppress(OSError):  # it hears nothing for now; its socket ends by itself
            self._mouths[other].send(json.dumps([owner, client_id]).encode(), socket.MSG_DONTWAIT)

    def left(self, owner: str, client_id: str | None) -> None:
        """After `entered`: it is not here any more."""
        (self._streams if client_id is None else self._sockets).give(owner)

    def gone(self, owner: str, client_id: str) -> None:
        """After `newest`: none of this client is here any more."""
        self._clients.leave(_name(owner, client_id))

    async def run(self, replaced: Callable[[str, str], None]) -> None:
        """Listen until cancelled: `replaced(owner, client_id)` where a client's newest socket is in another worker."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ears, self._hear, replaced)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(self._ears)

    def _hear(self, replaced: Callable[[str, str], None]) -> None:
        try:
            owner, client_id = json.loads(self._ears.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return
        if self._clients.of(_name(owner, client_id)) != self._me:  # else it has come back here since
            replaced(owner, client_id)


def pipes(workers: int) -> list[Pipe]:
    """One for each worker, made before the workers are."""
    return [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]


def _name(owner: str, client_id: str) -> str:
    return f"{owner}\0{client_id}"
