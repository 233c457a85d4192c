"""What one guest may do, so that it harms nobody else: how many at once, and how much in a time.

Over a limit, nothing was done: RateLimited says when to ask again. Where a number is 0 there is no limit. Limits by
address do not hold where there is none (a Unix socket). All workers of a server count together, on its board.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from syncserver.core import protocol, values
from syncserver.core.bucket import Bucket
from syncserver.core.errors import Claimed, RateLimited, Unauthorised
from syncserver.engine.board import Board
from syncserver.engine.tallies import OwnTally, Rates, SharedTally, Tally, rates

_FRAMES_BURST = 4
_MUTATIONS_BURST = 10
_REQUESTS_BURST = 4
_MINUTE_S = 60
_AT_LEAST_S = 1.0
_ROOM_S = 10.0
"""When to ask again for a place that somebody else has to leave first: nobody knows when that will be."""


class Limits:
    """All limits of one server. `frame_bytes` and `json_depth` are of a frame or body, `body_s` of its coming.

    `per_owner`: sockets; streams are long-polls too. `clock`: seconds that only go forward. `board`: where its workers
    count together, of which this is number `me`; None: it has but this process.
    """

    def __init__(
        self,
        *,
        frame_bytes: int = values.FRAME_BYTES,
        json_depth: int = protocol.JSON_DEPTH,
        body_s: float = 30,
        sockets_per_owner: int = 50,
        streams_per_owner: int = 20,
        connections_per_address: int = 500,
        frames_per_s: int = 50,
        mutations_per_s: int = 500,
        requests_per_s: int = 500,
        tickets_per_minute: int = 60,
        wrong_keys_per_minute: int = 30,
        sessions_per_minute: int = 1_000,
        clock: Callable[[], float] = time.monotonic,
        board: Board | None = None,
        me: int = 0,
    ) -> None:
        self.frame_bytes = frame_bytes
        self.json_depth = json_depth
        self.body_s = body_s
        self._sockets_per_owner = sockets_per_owner
        self._streams_per_owner = streams_per_owner
        self._per_address = connections_per_address
        self._frames_per_s = frames_per_s
        self._clock = clock
        self._connected: Tally = OwnTally() if board is None else SharedTally(board, "addresses", me)
        self._mutations = rates(board, "mutations", mutations_per_s, mutations_per_s * _MUTATIONS_BURST)
        self._requests = rates(board, "requests", requests_per_s, requests_per_s * _REQUESTS_BURST)
        self._tickets = _by_the_minute(board, "tickets", tickets_per_minute)
        self._wrong_keys = _by_the_minute(board, "wrong keys", wrong_keys_per_minute)
        self._sessions = _by_the_minute(board, "sessions", sessions_per_minute)

    # -- how many at once ----------------------------------------------------

    def socket(self, present: int) -> None:
        """One more socket of an owner who has so many; raises RateLimited."""
        _room(present, self._sockets_per_owner, "This reader has as many sockets open as one may have.")

    def stream(self, present: int) -> None:
        """One more stream or long-poll of an owner who has so many; raises RateLimited."""
        _room(present, self._streams_per_owner, "This reader has as many streams and long-polls open as one may have.")

    @contextmanager
    def connected(self, address: str | None) -> Iterator[None]:
        """Around a socket, stream or long-poll from this address; raises RateLimited where it has too many."""
        if address is None:
            yield
            return
        if not self._connected.take(address, self._per_address):
            raise RateLimited("This address has too many connections.", _ROOM_S)
        try:
            yield
        finally:
            self._connected.give(address)

    # -- how much in a time --------------------------------------------------

    def frames(self) -> Callable[[], None]:
        """What a new connection calls for each frame that it is sent; that raises RateLimited."""
        if not self._frames_per_s:
            return lambda: None
        return partial(self._frame, Bucket(self._frames_per_s, self._frames_per_s * _FRAMES_BURST))

    def mutations(self, owner: str, number: int) -> None:
        """So many more mutations of this owner, all or none; raises RateLimited."""
        wait_s = self._mutations.take(owner, self._clock(), max(1, number))
        _soon(wait_s, "Too many mutations in too short a time; none of these was looked at.")

    def request(self, owner: str) -> None:
        """One more request of this owner over HTTP; raises RateLimited."""
        _soon(self._requests.take(owner, self._clock()), "Too many requests in too short a time.")

    def ticket(self, owner: str) -> None:
        """One more ticket for this owner; raises RateLimited."""
        _soon(self._tickets.take(owner, self._clock()), "Too many tickets in too short a time.")

    def session(self, address: str | None) -> None:
        """One more anonymous session from this address; raises RateLimited."""
        if address is not None:
            _soon(self._sessions.take(address, self._clock()), "Too many new sessions in too short a time.")

    @contextmanager
    def key_from(self, address: str | None) -> Iterator[None]:
        """Around the look at a key that comes from this address: Unauthorised counts.

        Raises RateLimited before anything is looked at where too many wrong ones came from there.
        """
        if address is None:
            yield
            return
        _soon(self._wrong_keys.wait_s(address, self._clock()), "Too many wrong keys came from this address.")
        try:
            yield
        except Claimed:  # a good key, of a session that has ended
            raise
        except Unauthorised:
            self._wrong_keys.take(address, self._clock())
            raise

    def _frame(self, bucket: Bucket) -> None:
        _soon(bucket.take(self._clock()), "Too many frames in too short a time.")


def _by_the_minute(board: Board | None, part: str, number: int) -> Rates:
    return rates(board, part, number / _MINUTE_S, number)


def _room(present: int, most: int, sentence: str) -> None:
    if most and present >= most:
        raise RateLimited(sentence, _ROOM_S)


def _soon(wait_s: float, sentence: str) -> None:
    if wait_s:
        raise RateLimited(sentence, max(_AT_LEAST_S, math.ceil(wait_s * 100) / 100))
