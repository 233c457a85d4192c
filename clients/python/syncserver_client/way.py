"""What every transport is to the link: something to open, to run until it is lost, and to let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from syncserver_client.clock import Clock
from syncserver_client.http import Http
from syncserver_client.mirror import Mirror
from syncserver_client.model import State
from syncserver_client.outbox import Outbox
from syncserver_client.problems import Problems
from syncserver_client.session import Step
from syncserver_client.settings import Settings
from syncserver_client.socket import LiveSocket
from syncserver_client.token import TokenSource


class Way(Protocol):
    """One transport, once. `open` and `run` raise Transient when it does not work (any more), Fatal when none will.

    `open` touches neither mirror nor app, so that one may be opened while another still runs.
    """

    name: str
    state: State

    async def open(self) -> None:
        """See that it works at all, within seconds."""

    async def run(self) -> None:
        """Catch up, say so, and follow; ends only with an error."""

    def network_changed(self) -> bool:
        """The device has another network: True if this looks after itself, False if it must be opened again."""

    async def close(self) -> None:
        """Let go, within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all transports work with.

    `take` does what a step asks for; `keep` makes durable what the mirror learnt; `up` says "caught up, writes may
    go", and by which socket, if any.
    """

    settings: Settings
    token: TokenSource
    clock: Clock
    http: Http
    mirror: Mirror
    outbox: Outbox
    problems: Problems
    take: Callable[[Step], None]
    keep: Callable[[], None]
    up: Callable[[State, LiveSocket | None], None]
