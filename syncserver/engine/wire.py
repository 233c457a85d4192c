"""What a connection needs from whatever carries it, and what that says to it: no library, and no waiting."""

from typing import Protocol


class Wire(Protocol):
    """One peer, as far as bytes go. Nothing here waits: whoever writes looks at `blocked` first.

    `blocked`: the peer takes nothing more for now; `Speaker.resumed` is called when that has changed. Whoever takes
    nothing for too long is cut by the transport.
    """

    @property
    def blocked(self) -> bool: ...  # noqa: D102 - as the class says

    @staticmethod
    def form(frame: bytes) -> bytes:
        """The frame as it goes over this kind of wire: the same bytes for every peer."""

    def write(self, pieces: list[bytes]) -> None:
        """Send these, each a frame in its form, in one piece."""

    def close(self, code: int, reason: str) -> None:
        """End it after what was written."""

    def abort(self) -> None:
        """End it without a word."""


class Socket(Wire, Protocol):
    """A wire that brings frames, too. `address`: where the peer is, as limits count it.

    `foreign`: it is a web page that the operator has not let in.
    """

    @property
    def address(self) -> str | None: ...  # noqa: D102 - as the class says

    @property
    def foreign(self) -> bool: ...  # noqa: D102 - as the class says

    def cookie(self) -> str | None:
        """The token that its upgrade brought in a cookie; raises SyncError where that may not be used."""

    def hold(self) -> None:
        """Read no more for now."""

    def go_on(self) -> None:
        """Read again."""


class Speaker(Protocol):
    """Who writes to a wire through Outgoing."""

    def drained(self) -> None:
        """All that was due is written, and the peer takes more; said after `resumed`, or an answer without room."""

    def ended(self, code: int, reason: str) -> None:
        """The last word was written: it is time to close."""
