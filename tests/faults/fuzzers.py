"""Clients that send rubbish, one after the other on a connection while that lasts, and hear every answer."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from tests.faults import rawsocket
from tests.faults.judged import Judge
from tests.faults.malformed_frames import Known, Message
from tests.faults.malformed_requests import Asked
from tests.faults.rawhttp import Opened
from tests.faults.rawsocket import CLOSE, RawSocket, answered, frame

_PATIENCE_S = 20.0
_LONG_S = 0.05
_SHOWN = 600
_BODILESS = frozenset({204, 304})
_SWITCHED = 101


class SocketFuzzer:
    """Over WebSockets. After each message comes a ping, whose pong says that the message was dealt with."""

    def __init__(self, port: int, judge: Judge, known: Known) -> None:
        self._port = port
        self._judge = judge
        self._known = known
        self._socket: RawSocket | None = None

    async def send(self, message: Message) -> None:
        """Send it and hear what comes of it."""
        socket, hello = await self._ready(message)
        fence = f"2026-11-22T08:15:00.{uuid4().int % 1_000_000:06}Z"
        ping = b"" if message.cut else frame(json.dumps({"type": "ping", "sent_at": fence}).encode())
        try:
            socket.writer.write(hello + message.sent + ping)
            if message.cut:
                await socket.writer.drain()
                self.leave()
                return
            async with asyncio.timeout(message.patience_s or _PATIENCE_S):
                await self._until_answered(socket, message, fence)
        except TimeoutError:
            if message.patience_s is None:
                self._judge.wrong.append(f"no answer within {_PATIENCE_S:.0f} s")
            self.leave()
        except (EOFError, OSError):
            self._judge.seen["cut off"] += 1
            if not message.closing:
                self._judge.wrong.append("a socket ended without a close")
            self.leave()

    def leave(self) -> None:
        """Cut the line, if there is one."""
        if self._socket is not None:
            self._socket.abort()
        self._socket = None

    async def _ready(self, message: Message) -> tuple[RawSocket, bytes]:
        """A socket, and the hello that it still needs."""
        if message.before:
            self.leave()
        if self._socket is not None:
            return self._socket, b""
        self._socket = await self._connected()
        if self._socket.status != _SWITCHED:
            raise RuntimeError(f"an upgrade was answered {self._socket.status}")
        return self._socket, b"" if message.before else frame(self._hello())

    async def _connected(self) -> RawSocket:
        """Tried twice: a machine that stands still for a second makes the server think that nothing comes."""
        try:
            return await rawsocket.connected(self._port)
        except (EOFError, ConnectionError):
            self._judge.seen["cut off"] += 1
            return await rawsocket.connected(self._port)

    def _hello(self) -> bytes:
        hello = {"device": {"id": "phone"}, "client_id": str(uuid4()), "protocol": [1, 1], "sent_at": _STAMP}
        return json.dumps({"type": "hello", "token": self._known.token, **hello}).encode()

    async def _until_answered(self, socket: RawSocket, message: Message, fence: str) -> None:
        while True:
            heard = await socket.heard()
            if heard.opcode == CLOSE:
                self._judge.closed(heard.code, message.codes, closing=message.closing)
                self._judge.said({"reason": heard.payload[2:].decode()})
                self.leave()
                return
            if heard.opcode != rawsocket.TEXT:
                continue
            said = self._judge.frame(heard.payload)
            self._learn(said)
            if said["type"] == "pong" and said.get("sent_at") == fence:
                return

    def _learn(self, said: Any) -> None:
        if said["type"] == "ready":
            self._known.cursor = said["cursor"]
        elif said["type"] == "ack":
            self._known.conflict = next(
                (a["conflict_id"] for a in said["acks"] if a.get("conflict_id")), self._known.conflict
            )


class HttpFuzzer:
    """Over HTTP, on one connection while the server keeps it."""

    def __init__(self, port: int, judge: Judge) -> None:
        self._port = port
        self._judge = judge
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, asked: Asked) -> None:
        """Send it and hear what comes of it."""
        if asked.fresh:
            self.leave()
        if self._line is None:
            self._line = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._line
        writer.write(asked.sent)
        patience_s = _LONG_S if asked.waits else _PATIENCE_S
        try:
            if asked.cut:
                await writer.drain()
                self.leave()
                return
            async with asyncio.timeout(patience_s):
                keep = await self._to_the_end(reader) if asked.fresh else await self._one(reader, asked)
        except TimeoutError:
            keep = False
            if not asked.waits:
                self._judge.wrong.append(f"no answer, or no end, within {patience_s:.0f} s")
        except (EOFError, OSError):
            keep = False
            self._judge.seen["cut off"] += 1
            if asked.fresh:  # a reset, for bytes that the server did not want: it takes an answer on its way with it
                self._judge.account.others += 1
            elif not asked.waits:
                self._judge.wrong.append("a connection ended without an answer")
        if not keep:
            self.leave()

    def leave(self) -> None:
        """Cut the line, if there is one."""
        if self._line is not None:
            self._line[1].transport.abort()
        self._line = None

    async def _to_the_end(self, reader: asyncio.StreamReader) -> bool:
        """Every answer until the server ends the connection."""
        while True:
            try:
                status = await self._answer(reader, "POST", bodiless=False)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    raise
                return False
            if status == _SWITCHED:
                await reader.read()
                return False

    async def _one(self, reader: asyncio.StreamReader, asked: Asked) -> bool:
        """One answer; whether the connection is kept."""
        status = await self._answer(reader, asked.sent.split(b" ", 1)[0].decode("latin-1"), bodiless=asked.bodiless)
        in_chunks = b"Transfer-Encoding" in asked.sent  # where those are wrong, the connection ends after the answer
        return status not in {_SWITCHED, 400} and not self._closes and not in_chunks

    async def _answer(self, reader: asyncio.StreamReader, method: str, *, bodiless: bool) -> int:
        answer = await answered(reader)
        while answer.status == 100:
            answer = await answered(reader)
        self._closes = answer.headers.get("connection", "").lower() == "close"
        body = b""
        if not (bodiless or answer.status in _BODILESS or answer.status == _SWITCHED):
            body = await _body(answer)
        self._judge.answer(method, answer.status, answer.headers, body)
        return answer.status


async def _body(answer: Opened) -> bytes:
    """A whole body; one without a length goes to the end of the connection."""
    if {"content-length", "transfer-encoding"}.isdisjoint(answer.headers):
        return await answer.reader.read()
    body = b"".join([part async for part in answer.body()])
    if "transfer-encoding" in answer.headers:
        await answer.reader.readuntil(b"\r\n")  # of the last chunk; the next answer comes after it
    return body


_STAMP = "2026-11-22T08:15:00.000000Z"


async def sent_all(fuzzer: SocketFuzzer | HttpFuzzer, cases: Iterator[Any], judge: Judge, count: int) -> None:
    """So many of the cases; of each that shows something wrong, what it was stands in the judge's sentences."""
    for _ in range(count):
        case, wrong = next(cases), len(judge.wrong)
        try:
            async with asyncio.timeout(2 * _PATIENCE_S):
                await fuzzer.send(case)
        except TimeoutError:
            judge.wrong.append("a connection or an upgrade was not answered")
            fuzzer.leave()
        except (EOFError, OSError) as end:
            judge.wrong.append(f"no connection, or no upgrade: {end!r}")
            fuzzer.leave()
        except (ValueError, IndexError, KeyError) as unreadable:
            judge.wrong.append(f"an answer cannot be read: {unreadable!r}")
            fuzzer.leave()
        judge.wrong[wrong:] = [
            f"{sentence} ({case.kind}: {_shown(case.sent, judge.token)})" for sentence in judge.wrong[wrong:]
        ]
    fuzzer.leave()


def _shown(sent: bytes, token: str) -> str:
    """Enough to see what it was; the seed gives the rest."""
    shown = sent.replace(token.encode(), b"<token>")
    return f"{shown[:_SHOWN]!r}{'..' if len(shown) > _SHOWN else ''} of {len(sent)} bytes"
