"""One live socket, from hello to close: frames in and out, and the certainty that the other side still lives."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from syncserver_client.clock import Clock
from syncserver_client.closing import ending
from syncserver_client.errors import Fatal, SocketLost, SyncError
from syncserver_client.settings import Settings
from syncserver_client.token import TokenSource
from syncserver_client.wire import JsonObject, decode_object, encode, format_stamp, parse_stamp

SUBPROTOCOL = Subprotocol("syncserver.v1")
PROTOCOL_VERSIONS = [1, 1]
MOST_BYTES = 64 * 2**20  # a first fetch may be long; what the server sends is its own to bound
CLOSE_S = 0.5
GRACE_S = 5.0
REFUSED_S = 1.0
INVALID = "invalid"

# The library logs whole frames at DEBUG, the token in hello included. This client says itself what went wrong.
_silent = logging.getLogger("syncserver_client.websockets")
_silent.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server takes in one frame."""

    frame_bytes: int = 2**20
    mutations: int = 500


class LiveSocket:
    """A socket whose hello was answered. Every method raises SocketLost (or Fatal) once it has ended."""

    def __init__(self, connection: ClientConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._heartbeat_s = 25.0
        self.limits = Limits()
        self.drift_s: float | None = None
        self._pong = asyncio.Event()
        self._error = ""  # detail of the last `error` frame: the close that follows has no words of its own
        self._retry_after_s: float | None = None

    @classmethod
    async def open(cls, settings: Settings, token: TokenSource, clock: Clock) -> LiveSocket:
        """Connect and say hello; SocketLost if either does not work within `hello_timeout_s`."""
        text = await token.fresh()
        socket = cls(await _connect(settings), clock)
        try:
            async with asyncio.timeout(settings.hello_timeout_s):
                await socket._greet(settings, text)
        except TimeoutError as error:
            socket.abort()
            raise SocketLost("silent", "no welcome came") from error
        except BaseException:
            socket.abort()
            raise
        return socket

    async def _greet(self, settings: Settings, token: str) -> None:
        sent_at = self._clock.raw()
        hello = {
            "type": "hello",
            "token": token,
            "device": settings.device_frame,
            "client_id": settings.client_id,
            "sent_at": format_stamp(sent_at),
            "protocol": PROTOCOL_VERSIONS,
        }
        await self.send(encode(hello))
        while (frame := await self._next()).get("type") != "welcome":
            if frame.get("type") == "goodbye":
                self.note(None, frame.get("retry_after_s"))
                raise self.lost(frame.get("code"))
            if frame.get("type") == "error":
                self.note(str(frame.get("code")), frame.get("retry_after_s"))
        try:
            self._clock.synchronise(sent_at, self._clock.raw(), parse_stamp(frame["server_time"]))
            self._heartbeat_s = float(frame["heartbeat_s"])
            self.drift_s = None if frame.get("drift_s") is None else float(frame["drift_s"])
            limits = frame.get("limits") or {}
            self.limits = Limits(int(limits.get("frame_bytes", 2**20)), int(limits.get("mutations", 500)))
        except (KeyError, TypeError, ValueError) as error:
            raise SocketLost("bad_frame", "a welcome that this client cannot read") from error

    async def receive(self) -> JsonObject:
        """The next frame. Asks for a sign of life each heartbeat; SocketLost("silent") when none comes."""
        for pause_s in (self._heartbeat_s, self._heartbeat_s, GRACE_S):
            try:
                async with asyncio.timeout(pause_s):
                    frame = await self._next()
            except TimeoutError:
                await self._ping()
                continue
            if frame.get("type") == "pong":
                self._pong.set()
            return frame
        raise SocketLost("silent", "nothing came for two heartbeats")

    async def check(self) -> None:
        """See whether the other side is still there; if it does not say so in a few seconds, `receive` ends.

        What came before may still wait to be read, so only the answer to a question asked now counts.
        """
        self._pong.clear()
        try:
            await self._ping()
            async with asyncio.timeout(GRACE_S):
                await self._pong.wait()
        except (SyncError, TimeoutError):
            self.abort()

    async def _ping(self) -> None:
        await self.send(encode({"type": "ping", "sent_at": format_stamp(self._clock.raw())}))

    async def send(self, frame: bytes) -> None:
        """Send one encoded frame; SocketLost if the network does not take it within a few seconds."""
        try:
            async with asyncio.timeout(GRACE_S):
                await self._connection.send(frame, text=True)
        except TimeoutError as error:
            self.abort()
            raise SocketLost("silent", "the network takes nothing") from error
        except ConnectionClosed as error:
            # Why it ended stands in frames that are not read yet: whoever reads them knows what the close means.
            raise SocketLost("cut", "the socket has ended") from error

    def note(self, error: str | None, retry_after_s: float | None) -> None:
        """Remember what the server said, for the close that may follow."""
        self._error = error or self._error
        self._retry_after_s = retry_after_s if retry_after_s is not None else self._retry_after_s

    def lost(self, close_code: int | None) -> Exception:
        """The error that `close_code` means, with what the server said before."""
        return ending(close_code, detail=self._error, retry_after_s=self._retry_after_s)

    async def end(self, code: str) -> Exception:
        """The server refused what this socket is for: the error of the close that follows, or of `code` without one."""
        try:
            async with asyncio.timeout(REFUSED_S):
                while True:
                    await self._next()
        except TimeoutError:
            # "invalid" is a mistake in what this client was told to follow; asking again cannot mend it.
            return (
                Fatal(code, self._error)
                if code == INVALID
                else SocketLost(code, self._error, retry_after_s=self._retry_after_s)
            )
        except SyncError as error:
            return error

    async def close(self) -> None:
        """Say goodbye, wait half a second for the other side's, and be gone in any case."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Be gone, now."""
        self._connection.transport.abort()

    async def _next(self) -> JsonObject:
        try:
            return decode_object(await self._connection.recv(decode=False))
        except ConnectionClosed as error:
            raise self._ending(error) from error

    def _ending(self, error: ConnectionClosed) -> Exception:
        return self.lost(error.rcvd.code if error.rcvd else None)


async def _connect(settings: Settings) -> ClientConnection:
    try:
        return await connect(
            settings.socket_url,
            subprotocols=[SUBPROTOCOL],
            open_timeout=settings.hello_timeout_s,
            # Own pings are frames of the protocol, answered with the server's time. The library's would only
            # add a task, a timer, and a second opinion on whether the socket is dead.
            ping_interval=None,
            close_timeout=CLOSE_S,
            max_size=MOST_BYTES,
            logger=_silent,
            ssl=settings.ssl_context if settings.url.startswith("https:") else None,
        )
    except TimeoutError as error:
        raise SocketLost("silent", "the upgrade was not answered") from error
    except OSError as error:
        raise SocketLost("unreachable", type(error).__name__) from error
    except InvalidStatus as error:
        # 5xx is a gateway whose server is away: back any moment, unlike a box that knows no sockets.
        status = error.response.status_code
        code = "unavailable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "refused"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            code = "rate_limited"
        raise SocketLost(code, f"the upgrade was answered with {status}") from error
    except WebSocketException as error:
        raise SocketLost("refused", type(error).__name__) from error
