"""What a connection needs from whatever carries it: four verbs and no library."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wire:
    """`receive` gives None when the other side is gone; `abort` ends it without a word.

    `send` waits while the peer does not take what was sent before, then writes at once; raises Gone.
    Whoever takes nothing for too long is cut by the transport. `address`: where the other side is, as limits count it.
    `foreign`: it is a web page that the operator has not let in. `cookie`: the token that its upgrade brought in one;
    it raises SyncError where that may not be used.
    """

    receive: Callable[[], Awaitable[str | bytes | None]]
    send: Callable[[bytes], Awaitable[None]]
    close: Callable[[int, str], Awaitable[None]]
    abort: Callable[[], None]
    address: str | None = None
    foreign: bool = False
    cookie: Callable[[], str | None] = lambda: None


class Gone(Exception):
    """The other side has left."""


class Ended(Exception):
    """Our side ends the connection, after everything due was written."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
