"""One connection from hello to close: the protocol says what a message means, this answers.

It has no task of its own: whatever carries it calls it with each message, and a task runs only while an answer has to
be waited for. Until it is given, the next message waits. Frames that this does not answer go to the house's verbs.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any

from syncserver.core import encode, frames
from syncserver.core.actor import Actor, Device
from syncserver.core.cursor import Cursor
from syncserver.core.errors import (
    ForbiddenOrigin,
    HelloTimeout,
    Invalid,
    RateLimited,
    Refetch,
    SyncError,
    Unauthorised,
    Unavailable,
)
from syncserver.core.protocol import Protocol
from syncserver.engine import greeting
from syncserver.engine.decide import Ack, Sender
from syncserver.engine.following import Following
from syncserver.engine.house import Guest, House
from syncserver.engine.outgoing import Outgoing
from syncserver.engine.term import EXPIRED, Term
from syncserver.engine.wire import Socket

log = logging.getLogger(__name__)
Message = str | bytes
Awaited = bytes | list[Ack] | None
Answer = bytes | asyncio.Future[list[Ack]] | Coroutine[None, None, Awaited] | None
"""What is said to a frame; or what has to be waited for, to know; or nothing."""


class Connection:
    """One device's socket, from the upgrade on. Whatever carries it calls `received`, `resumed` and, once, `lost`."""

    __slots__ = (
        "__weakref__",
        "_beginning",
        "_following",
        "_full",
        "_guest",
        "_hello_due",
        "_house",
        "_one_more_frame",
        "_out",
        "_place",
        "_protocol",
        "_task",
        "_term",
        "_waiting",
        "_wire",
    )

    def __init__(self, house: House, wire: Socket) -> None:
        self._house = house
        self._wire = wire
        self._protocol = Protocol(house.limits.frame_bytes, house.limits.json_depth)
        self._one_more_frame = house.limits.frames()
        self._out = Outgoing(wire, house.flusher, self)
        self._guest: Guest | None = None
        self._following: Following | None = None
        self._term: Term | None = None
        self._task: asyncio.Future[Any] | None = None
        self._waiting: deque[Message] | None = None
        self._full = False
        self._beginning = False
        self._place: AbstractContextManager[None] | None = None
        self._hello_due: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The wire stands: hello is due."""
        try:
            if self._wire.foreign:
                raise ForbiddenOrigin("Pages of this origin may not connect here.")
            place = self._house.limits.connected(self._wire.address)
            place.__enter__()
            self._place = place
        except SyncError as error:
            self._refuse(error)
            return
        within_s = self._house.hello_timeout_s
        self._hello_due = asyncio.get_running_loop().call_later(within_s, self._no_hello, within_s)

    # -- what the wire says --------------------------------------------------

    def received(self, message: Message) -> None:
        """A message came; it waits for the answer to the one before."""
        if self._out.ending:
            return
        if self._busy or self._waiting:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(message)
            self._wire.hold()
        else:
            self._take(message)

    def resumed(self) -> None:
        """The peer takes more."""
        self._out.resumed()

    def lost(self) -> None:
        """The wire is no more."""
        self._leave()
        self._out.closed()

    # -- what goes out (see Speaker) -----------------------------------------

    def drained(self) -> None:
        """All that was due is written: questions that waited for that are answered, and the log is read on."""
        if self._full:
            self._full = False
            self._take_waiting()
        if self._following is not None and self._out.idle:
            self._following.drained()

    def begun(self) -> None:
        """What was subscribed to is under way (see Follower)."""
        self._beginning = False
        self._take_waiting()

    def unfollowed(self, error: Exception) -> None:
        """It has ended, or could not begin."""
        self._told(error)
        self.begun()

    def ended(self, code: int, reason: str) -> None:
        """The last word is said."""
        self._leave()
        self._wire.close(code, reason)

    def beat(self) -> None:
        """An interval of the house's heart is over."""
        if self._following is not None:
            self._following.still_ready()

    # -- what comes ----------------------------------------------------------

    def _take(self, message: Message) -> None:
        try:
            if self._guest is None:
                answer = self._greeted(self._protocol.receive(message))
            else:
                self._one_more_frame()
                answer = self._answer(self._guest, self._protocol.receive(message))
        except Exception as error:  # noqa: BLE001 - a fault ends this connection and no other
            self._told(error)
            return
        if isinstance(answer, bytes):
            self._say(answer)
        elif answer is not None:
            self._task = asyncio.ensure_future(answer)
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[Awaited]) -> None:
        if task is not self._task:
            return  # it was for a connection that is gone
        self._task = None
        error = task.exception()
        if error is not None:
            self._told(error)
        else:
            answer = task.result()
            if answer is not None:
                self._say(encode.acks(answer) if isinstance(answer, list) else answer)
        if self._waiting is not None:
            self._take_waiting()

    def _take_waiting(self) -> None:
        while self._waiting and not self._busy and not self._out.ending:
            self._take(self._waiting.popleft())
        if not self._waiting and not self._busy:
            self._waiting = None
            self._wire.go_on()

    def _say(self, answer: bytes) -> None:
        """A peer that does not read its answers is not read from either."""
        if not self._out.answer(answer):
            self._full = True
            self._wire.hold()

    @property
    def _busy(self) -> bool:
        """Whether the next message has to wait."""
        return self._task is not None or self._full or self._beginning

    def _answer(self, guest: Guest, frame: frames.ClientFrame) -> Answer:
        match frame:
            case frames.Push() if guest.sender is not None:
                return self._house.push.submit(guest.sender, frame.mutations)
            case frames.Subscribe() if self._following is not None:
                self._following.end()
                wanted = self._house.pull.known(frame.resources)
                cursor = Cursor.parse(frame.cursor) if frame.cursor is not None else None
                self._beginning = True
                self._following.begin(wanted, cursor)
            case frames.Unsubscribe() if self._following is not None:
                self._following.end()
            case frames.Ping():
                return encode.frame(frames.Pong(sent_at=frame.sent_at, server_time=self._house.now()))
            case frames.Auth():
                return self._renewed(guest, frame.token)
            case _:
                return self._by_verb(guest, frame)
        return None

    async def _by_verb(self, guest: Guest, frame: frames.ClientFrame) -> bytes | None:
        verb = self._house.verbs.get(type(frame))
        if verb is None:
            raise Invalid(f"This server takes no {frame.type} frames.")
        return await verb(guest, frame)

    # -- coming in -----------------------------------------------------------

    def _greeted(self, frame: frames.ClientFrame) -> Answer:
        """Hello came: who it is may be known at once."""
        if not isinstance(frame, frames.Hello):  # the protocol lets nothing else through
            raise TypeError(type(frame))
        self._hello_came()
        with self._house.limits.key_from(self._wire.address):
            actor, epoch = greeting.known(self._house, frame, self._wire.cookie)
        if actor is None or epoch is None:
            return self._let_in(frame)
        self._enter(frame, actor, epoch)
        return None

    async def _let_in(self, said: frames.Hello) -> None:
        with self._house.limits.key_from(self._wire.address):
            actor = await greeting.who(self._house, said, self._wire.cookie)
        self._enter(said, actor, await self._house.epoch())

    def _enter(self, said: frames.Hello, actor: Actor, epoch: str) -> None:
        sender = Sender(actor.owner, Device(said.device.id, said.device.name), said.client_id)
        guest = Guest(actor.owner, self._out.goodbye, self._out.say, sender, said.device.app, actor=actor)
        self._house.room(guest.owner, sender.client_id)
        self._out.say(greeting.welcome(self._house, actor, said, guest.id, epoch))
        self._protocol.opened()
        self._guest = guest
        self._following = Following(self._house, guest.owner, self._out, self)
        self._term = Term(self._house.now, self._expiring, self._expired)
        self._term.until(actor.expires_at)
        self._house.pulse.join(self)
        self._house.entered(guest)

    def _hello_came(self) -> None:
        if self._hello_due is not None:
            self._hello_due.cancel()
            self._hello_due = None

    def _no_hello(self, within_s: float) -> None:
        self._refuse(HelloTimeout(f"No hello came within {within_s} s."))

    # -- how long ------------------------------------------------------------

    async def _renewed(self, guest: Guest, token: str) -> None:
        with self._house.limits.key_from(self._wire.address):
            actor = await self._house.keys.by_token(token)
        if actor.owner != guest.owner:
            raise Unauthorised("The new token is another reader's: connect again with it.")
        guest.actor = actor
        self._house.keys.shown(guest)
        if self._term is not None:
            self._term.until(actor.expires_at)

    def _expiring(self, in_s: float) -> None:
        self._out.say(encode.frame(frames.TokenExpiring(in_s=in_s)))

    def _expired(self) -> None:
        self._out.goodbye(EXPIRED, "the token has expired")

    # -- what goes wrong, and the end ----------------------------------------

    def _told(self, error: BaseException) -> None:
        """Say it; what is wrong with a value is an answer, and the connection stays."""
        if self._guest is not None and isinstance(error, Refetch):
            if self._following is not None:
                self._following.end()
            self._say(encode.frame(frames.RefetchFrame(reason=error.reason)))
        elif self._guest is not None and isinstance(error, Invalid | Unavailable):
            self._say(_error(error, Unavailable.retry_after_s if error.retry else None))
        elif self._guest is not None and isinstance(error, RateLimited):
            self._out.goodbye(error.close, error.title, error.retry_after_s)
        elif isinstance(error, SyncError):
            self._refuse(error)
        elif not self._out.ending:
            log.error("a connection ended by a fault of the server", exc_info=error)
            self._refuse(SyncError("The server made a mistake; its log says which."))

    def _refuse(self, error: SyncError) -> None:
        """Say what was wrong, then close with the code that tells whether to come back."""
        retry_s = error.retry_after_s if isinstance(error, RateLimited) else None
        self._out.end(error.close, error.title, _error(error, retry_s))

    def _leave(self) -> None:
        """Nobody is here any more; nothing happens if that is so already."""
        self._protocol.closed()
        self._hello_came()
        task, self._task, self._waiting = self._task, None, None
        if task is not None:
            task.cancel()
        if self._term is not None:
            self._term.stop()
            self._term = None
        if self._following is not None:
            self._following.end()
            self._following = None
        if self._guest is not None:
            self._house.pulse.leave(self)
            self._house.left(self._guest)
        place, self._place = self._place, None
        if place is not None:
            place.__exit__(None, None, None)


def _error(error: SyncError, retry_after_s: float | None) -> bytes:
    return encode.frame(frames.ErrorFrame(code=error.code, detail=error.detail, retry_after_s=retry_after_s))
