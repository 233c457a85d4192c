"""One connection from hello to close: the protocol says what a message means, this answers.

Two tasks: one receives and answers; the other writes what is due and follows the log (see `following`).
Frames that it does not answer itself go to the house's verbs.
"""

import asyncio
import logging

from syncserver.core import encode, frames
from syncserver.core.actor import Actor, Device
from syncserver.core.cursor import Cursor
from syncserver.core.errors import ForbiddenOrigin, Invalid, RateLimited, Refetch, SyncError, Unauthorised, Unavailable
from syncserver.core.protocol import Protocol
from syncserver.engine import greeting
from syncserver.engine.decide import Sender
from syncserver.engine.following import Following, deliver
from syncserver.engine.house import Guest, House
from syncserver.engine.outgoing import Outgoing
from syncserver.engine.term import EXPIRED, Term
from syncserver.engine.together import first_of
from syncserver.engine.wire import Ended, Gone, Wire

log = logging.getLogger(__name__)
_CLOSING_S = 1.0


class Connection:
    """One device's socket. `run` returns when it is closed, by whichever side."""

    def __init__(self, house: House, wire: Wire) -> None:
        self._house = house
        self._wire = wire
        self._protocol = Protocol(house.limits.frame_bytes, house.limits.json_depth)
        self._one_more_frame = house.limits.frames()
        self._out = Outgoing(wire.send, wire.abort)
        self._term = Term(house.now, self._expiring, self._expired)

    async def run(self) -> None:
        """Serve this connection to its end."""
        try:
            await self._visit()
        except Gone:
            pass
        except Ended as end:
            await self._close(end.code, end.reason)
        except SyncError as error:
            await self._refuse(error)
        except Exception:
            log.exception("a connection ended by a fault of the server")
            await self._refuse(SyncError("The server made a mistake; its log says which."))
        finally:
            self._protocol.closed()
            self._out.closed()

    async def _visit(self) -> None:
        """From the upgrade to the end, whatever ends it."""
        if self._wire.foreign:
            raise ForbiddenOrigin("Pages of this origin may not connect here.")
        with self._house.limits.connected(self._wire.address):
            said = await greeting.hello(self._protocol, self._message, self._house.hello_timeout_s)
            with self._house.limits.key_from(self._wire.address):
                actor = await greeting.who(self._house, said, self._wire.cookie)
            await self._serve(said, actor)

    async def _serve(self, said: frames.Hello, actor: Actor) -> None:
        """From a good hello to the end."""
        device = Device(said.device.id, said.device.name)
        sender = Sender(actor.owner, device, said.client_id)
        guest = Guest(actor.owner, self._out.goodbye, self._out.offer, sender, said.device.app, actor=actor)
        following = Following(self._house, actor.owner, self._out)
        welcome = await greeting.welcome(self._house, actor, said, guest.id)
        self._protocol.opened()
        self._house.entered(guest)
        try:
            await self._wire.send(encode.frame(welcome))
            self._term.until(actor.expires_at)
            await first_of(self._receive(guest, following), deliver(self._house, self._out, following))
        finally:
            self._term.stop()
            following.end()
            self._house.left(guest)

    # -- what comes ----------------------------------------------------------

    async def _message(self) -> str | bytes:
        message = await self._wire.receive()
        if message is None:
            raise Gone
        return message

    async def _receive(self, guest: Guest, following: Following) -> None:
        while True:
            message = await self._message()
            try:
                self._one_more_frame()
                answer = await self._answered(guest, following, self._protocol.receive(message))
            except RateLimited as error:
                # What came before is answered first: whoever writes that, ends the connection, and this task with it.
                self._out.goodbye(error.close, error.title, error.retry_after_s)
                await asyncio.Event().wait()
            else:
                if answer is not None:
                    await self._out.answer(answer)

    async def _answered(self, guest: Guest, following: Following, frame: frames.ClientFrame) -> bytes | None:
        """The answer to a frame; what is wrong with a value is an answer too, and the connection stays."""
        try:
            return await self._answer(guest, following, frame)
        except Refetch as error:
            following.end()
            return encode.frame(frames.RefetchFrame(reason=error.reason))
        except (Invalid, Unavailable) as error:
            retry_s = Unavailable.retry_after_s if error.retry else None
            return encode.frame(frames.ErrorFrame(code=error.code, detail=error.detail, retry_after_s=retry_s))

    async def _answer(self, guest: Guest, following: Following, frame: frames.ClientFrame) -> bytes | None:
        match frame:
            case frames.Push() if guest.sender is not None:
                return encode.acks(await self._house.push.push(guest.sender, frame.mutations))
            case frames.Subscribe():
                following.end()
                wanted = self._house.pull.known(frame.resources)
                await following.begin(wanted, Cursor.parse(frame.cursor) if frame.cursor is not None else None)
            case frames.Unsubscribe():
                following.end()
            case frames.Ping():
                return encode.frame(frames.Pong(sent_at=frame.sent_at, server_time=self._house.now()))
            case frames.Auth():
                with self._house.limits.key_from(self._wire.address):
                    self._renew(guest, await self._house.keys.by_token(frame.token))
            case _:
                return await self._by_verb(guest, frame)
        return None

    async def _by_verb(self, guest: Guest, frame: frames.ClientFrame) -> bytes | None:
        verb = self._house.verbs.get(type(frame))
        if verb is None:
            raise Invalid(f"This server takes no {frame.type} frames.")
        return await verb(guest, frame)

    # -- how long ------------------------------------------------------------

    def _renew(self, guest: Guest, actor: Actor) -> None:
        if actor.owner != guest.owner:
            raise Unauthorised("The new token is another reader's: connect again with it.")
        guest.actor = actor
        self._house.keys.shown(guest)
        self._term.until(actor.expires_at)

    def _expiring(self, in_s: float) -> None:
        self._out.offer(encode.frame(frames.TokenExpiring(in_s=in_s)))

    def _expired(self) -> None:
        self._out.goodbye(EXPIRED, "the token has expired")

    # -- the end -------------------------------------------------------------

    async def _refuse(self, error: SyncError) -> None:
        """Say what was wrong, then close with the code that tells whether to come back."""
        try:
            async with asyncio.timeout(_CLOSING_S):
                retry_s = error.retry_after_s if isinstance(error, RateLimited) else None
                frame = frames.ErrorFrame(code=error.code, detail=error.detail, retry_after_s=retry_s)
                await self._wire.send(encode.frame(frame))
        except (Gone, TimeoutError):
            pass  # it is gone already, or does not read
        await self._close(error.close, error.title)

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._wire.close(code, reason)
        except TimeoutError:
            self._wire.abort()
        except Gone:
            pass  # it is gone already
