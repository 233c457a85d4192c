"""One subscription over one socket or stream, as a state machine without I/O: a frame goes in, a Step comes out.

A `changes` frame must begin at this client's own cursor. If it does not, something between was missed: the frame is
dropped and the subscription begins again from that cursor. Frames of the old subscription may still be on their
way then; they do not fit either, are dropped too, and ask for nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from syncserver_client.clock import Clock
from syncserver_client.errors import Transient
from syncserver_client.mirror import Mirror
from syncserver_client.model import Change, Row
from syncserver_client.mutation import Ack
from syncserver_client.problems import log
from syncserver_client.wire import JsonObject, parse_stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows from a frame. `resubscribe`: send `subscribe` again. `goodbye`: the close code to expect.

    `presence`, `broadcast` and `conflict` are frames as they came; `verified` the outcome of a comparison.
    """

    changes: Sequence[Change] = ()
    acks: Sequence[Ack] = ()
    resubscribe: bool = False
    ready: bool = False
    token_expiring: bool = False
    goodbye: int | None = None
    error: tuple[str, str] | None = None
    retry_after_s: float | None = None
    presence: Sequence[JsonObject] | None = None
    broadcast: JsonObject | None = None
    conflict: JsonObject | None = None
    verified: str | None = None
    refetch: str | None = None


NOTHING = Step()


STALE_READIES = 2  # that may still be on their way after a gap; one more, and a new socket makes a clean start


class Session:
    """From `subscribe` to the end of one socket. The mirror outlives it."""

    def __init__(self, mirror: Mirror, clock: Clock, resources: Sequence[str] | None) -> None:
        self._mirror = mirror
        self._clock = clock
        self._resources = resources
        self._fresh = True  # nothing came yet; a `ready` then answers the subscribe and is believed wherever it stands
        self._gap = False
        self._stale = 0
        self.caught_up = False
        self._takes: dict[str, Callable[[JsonObject], Step]] = {
            "changes": self._changes,
            "ready": self._ready,
            "ack": self._ack,
            "refetch": self._refetch,
            "error": self._error,
            "goodbye": self._goodbye,
            "pong": self._pong,
            "token_expiring": lambda _: Step(token_expiring=True),
            "presence": lambda frame: Step(presence=list(frame["devices"])),
            "broadcast": lambda frame: Step(broadcast=frame),
            "conflict": lambda frame: Step(conflict=frame),
            "verified": lambda frame: Step(verified=str(frame["outcome"])),
        }

    def subscribe(self) -> JsonObject:
        """The frame that asks for everything after the mirror's cursor."""
        if self._fresh:
            self._mirror.begin()
        return {"type": "subscribe", "resources": self._resources, "cursor": self._mirror.cursor}

    def receive(self, frame: JsonObject) -> Step:
        """Take one frame of the server; Transient("bad_frame") if it cannot be read."""
        take = self._takes.get(str(frame.get("type")))
        if take is None:
            log.debug("ignored a frame of unknown type")
            return NOTHING
        try:
            return take(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise Transient("bad_frame", "the server sent a frame that this client cannot read") from error

    def _changes(self, frame: JsonObject) -> Step:
        if self._mirror.cursor not in (None, frame["from"]):
            return self._missed()
        rows = [Row.from_wire(row) for row in frame["rows"]]
        self._mirror.hold(rows, str(frame["to"]))
        self._fits()
        if self.caught_up and not frame["more"]:
            return Step(changes=self._mirror.show(self._clock.now()))
        return NOTHING

    def _ready(self, frame: JsonObject) -> Step:
        cursor = str(frame["cursor"])
        if self._mirror.cursor != cursor and not self._fresh:
            self._stale += self._gap
            if self._stale > STALE_READIES:
                raise Transient("gap", "a gap did not close")
            return self._missed()
        synced_at = parse_stamp(frame["server_time"])
        self._mirror.hold((), cursor)
        self._fits()
        self.caught_up = True
        return Step(changes=self._mirror.show(self._clock.now(), synced_at), ready=True)

    def _missed(self) -> Step:
        first, self._gap, self._fresh, self.caught_up = not self._gap, True, False, False
        return Step(resubscribe=first)

    def _fits(self) -> None:
        self._fresh, self._gap, self._stale = False, False, 0

    def _refetch(self, frame: JsonObject) -> Step:
        self._mirror.refetch()
        self._fresh, self._gap, self.caught_up = True, False, False
        return Step(resubscribe=True, refetch=str(frame.get("reason", "")))

    def _ack(self, frame: JsonObject) -> Step:
        return Step(acks=[Ack.from_wire(ack) for ack in frame["acks"]])

    def _pong(self, frame: JsonObject) -> Step:
        self._clock.synchronise(parse_stamp(frame["sent_at"]), self._clock.raw(), parse_stamp(frame["server_time"]))
        return NOTHING

    def _error(self, frame: JsonObject) -> Step:
        problem = (str(frame["code"]), str(frame.get("detail", "")))
        return Step(error=problem, retry_after_s=frame.get("retry_after_s"))

    def _goodbye(self, frame: JsonObject) -> Step:
        return Step(goodbye=int(frame["code"]), retry_after_s=frame.get("retry_after_s"))
