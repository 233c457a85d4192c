"""The second transport: server-sent events, for networks that let answers flow but know no sockets.

Its events are the frames of the socket, so the same session reads them. Nothing can be sent over it: where a socket
would subscribe again, the stream is opened again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import httpx

from syncserver_client.closing import ending
from syncserver_client.errors import Transient
from syncserver_client.http import RefetchNeeded
from syncserver_client.model import State
from syncserver_client.session import Session
from syncserver_client.settings import STREAM
from syncserver_client.sse import Event, Parser
from syncserver_client.way import Parts
from syncserver_client.wire import decode_object, parse_stamp

REOPENED = 3  # times in a row without being caught up once; then something is wrong with it


class ByStream:
    """See Way."""

    name = STREAM
    state = State.STREAMING

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._parser = Parser()
        self._events: deque[Event] = deque()
        self._refetch = False
        self._asked_at = parts.clock.raw()

    async def open(self) -> None:
        """Ask, and wait for the first event: a box on the way that keeps answers until they are whole shows itself."""
        self._parser = Parser()
        self._events.clear()
        self._asked_at = self._parts.clock.raw()
        try:
            async with asyncio.timeout(self._parts.settings.hello_timeout_s):
                self._response = await self._parts.http.stream(self._parts.mirror.cursor)
                self._chunks = self._response.aiter_bytes()
                while not self._events:
                    await self._more()
        except RefetchNeeded:
            self._refetch = True
        except TimeoutError as error:
            await self.close()
            raise Transient("silent", "the stream did not begin to speak") from error

    async def run(self) -> None:
        """Follow the stream, opening it again where a socket would subscribe again."""
        futile = 0
        while True:
            futile = 0 if await self._follow() else futile + 1
            await self.close()
            if futile >= REOPENED:
                raise Transient("gap", "the stream does not fit what is held")
            await self.open()

    async def _follow(self) -> bool:
        """Take events until the stream must be opened again; whether all was held once."""
        if self._refetch:
            self._refetch = False
            self._parts.mirror.refetch()
            return False
        session = Session(self._parts.mirror, self._parts.clock, self._parts.settings.resources)
        session.subscribe()
        caught_up = False
        while True:
            event = await self._next()
            frame = {**decode_object(event.text), "type": event.name}
            step = session.receive(frame)
            self._parts.take(step)
            if step.ready and not caught_up:
                caught_up = True
                # The server said so between the question and now, which is what is known of its clock.
                said_at = parse_stamp(frame["server_time"])
                self._parts.clock.synchronise(self._asked_at, self._parts.clock.raw(), said_at)
                self._parts.up(self.state, None)
            if step.error is not None:
                raise Transient(step.error[0], step.error[1], retry_after_s=step.retry_after_s)
            if step.goodbye is not None:
                raise ending(step.goodbye, retry_after_s=step.retry_after_s)
            if step.resubscribe:
                return caught_up

    async def _next(self) -> Event:
        while not self._events:
            try:
                async with asyncio.timeout(self._parts.settings.stream_silence_s):
                    await self._more()
            except TimeoutError as error:
                raise Transient("silent", "nothing came on the stream, not even a comment") from error
        return self._events.popleft()

    async def _more(self) -> None:
        """Read what comes next, a comment perhaps: any byte is a sign of life."""
        if self._chunks is None:
            raise Transient("cut", "not open")
        try:
            with self._parts.http.quiet():
                chunk = await anext(self._chunks)
        except StopAsyncIteration as error:
            raise Transient("cut", "the stream ended") from error
        except httpx.HTTPError as error:
            raise Transient("cut", type(error).__name__) from error
        self._events += self._parser.feed(chunk)

    def network_changed(self) -> bool:
        """It cannot be asked whether it lives; opening it again costs one question."""
        return False

    async def close(self) -> None:
        """See Way."""
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            await response.aclose()
