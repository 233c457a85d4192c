"""The client as a state machine against a model of the server, over a network and a life that end at any point.

All of the client that does no I/O is the real one, and its store is a real file. `SYNCSERVER_PROVE=1` makes it long.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from syncserver_client.errors import Transient
from syncserver_client.mutation import Mutation
from syncserver_client.poll import Poller
from syncserver_client.session import Session, Step
from syncserver_client.socket import Limits

from syncserver.core import clock
from tests.e2e.client_device import FAR, Device, seen
from tests.e2e.client_model import RESOURCE, ModelHttp, ModelServer

PROVE = bool(os.environ.get("SYNCSERVER_PROVE"))
EXAMPLES, STEPS = (200, 80) if PROVE else (15, 40)
ROUNDS = 300  # within which any client must have settled
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own in it; flushing is fast there
KEYS = st.sampled_from("ab")
OPS = st.sampled_from(["put", "put", "patch", "patch", "remove"])
SHAPES = st.sampled_from([("x",), ("y",), ("x", "y")])


class ClientMachine(RuleBasedStateMachine):
    """The wire is `frames`, towards the client; what goes the other way arrives at once, or is lost with a cut."""

    @initialize(skew_s=st.sampled_from([0, -600, 90_000]))
    def begin(self, skew_s: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="syncserver-machine-", dir=MEMORY))
        self.skew = timedelta(seconds=skew_s)
        self.server = ModelServer()
        self.written: list[str] = []
        self.fleeting: set[str] = set()
        self.numbers = 0
        self.seen: dict[tuple[str, str], list[int]] = {}
        self.connected: str | None = None
        self.frames: deque[dict[str, Any]] = deque()
        self.open()

    def open(self) -> None:
        self.device = Device(self.folder / "store.db", self.server, self.skew)
        self.look()

    # -- writes -----------------------------------------------------------------------------------------------------

    def value(self, shape: tuple[str, ...]) -> dict[str, Any]:
        self.numbers += 1
        return dict.fromkeys(shape, self.numbers)

    @rule(
        op=OPS,
        key=KEYS,
        shape=SHAPES,
        extra=st.sampled_from([{}, {}, {}, {"bad": True}, {"x": None}]),
        fleeting=st.booleans(),
    )
    def write(self, op: str, key: str, shape: tuple[str, ...], extra: dict[str, Any], *, fleeting: bool) -> None:
        value = None if op == "remove" else {**self.value(shape), **extra}
        mutation = Mutation(op, RESOURCE, key, value, fleeting=fleeting)
        self.device.core.queue([mutation], awaited=False)
        self.written.append(mutation.mutation_id)
        if fleeting:
            self.fleeting.add(mutation.mutation_id)
        self.look()

    @rule(key=KEYS, op=OPS, shape=SHAPES, knows=st.booleans(), late_s=st.sampled_from([0, 0, 30]))
    def foreign_write(self, key: str, op: str, shape: tuple[str, ...], knows: bool, late_s: int) -> None:
        entry = self.server.log.entries.get(key)
        self.numbers += 1
        mutation = {
            "mutation_id": f"foreign-{self.numbers}",
            "resource": RESOURCE,
            "key": key,
            "op": op,
            "data": None if op == "remove" else self.value(shape),
            "base": entry["offset"] if entry and knows else None,
            "updated_at": clock.write(self.server.now() - timedelta(seconds=late_s)),
        }
        self.server.push([_encoded(mutation)], "tablet")
        self.server.arrived.remove(str(mutation["mutation_id"]))

    # -- the network ------------------------------------------------------------------------------------------------

    @rule(transport=st.sampled_from(["socket", "stream"]))
    def connect(self, transport: str) -> None:
        self.cut()
        self.connected = transport
        self.device.meet()
        core = self.device.core
        self.session = Session(core.mirror, core.clock, None)
        self.subscribe()

    def subscribe(self) -> None:
        self.at = self.server.place(self.session.subscribe()["cursor"])
        self.first = True
        if self.at is None:
            self.frames.append({"type": "refetch", "reason": "place"})

    @rule()
    def catch_up(self) -> None:
        """An undisturbed moment, so that much can happen after it."""
        self.connect("socket")
        for _ in range(ROUNDS):
            if self.connected is None or self.session.caught_up:
                return
            self.serve(3)
            if self.frames:
                self.deliver(1)

    @rule()
    def cut(self) -> None:
        self.connected = None
        self.frames.clear()
        self.device.core.outbox.cut()

    @precondition(lambda self: self.connected)
    @rule(size=st.integers(1, 3))
    def serve(self, size: int) -> None:
        """The server says what comes next on this connection."""
        if self.at is None or (self.at == self.server.log.head and not self.first):
            return
        rows, end, more = self.server.page(self.at, size)
        cursors = {"from": self.server.cursor(self.at), "to": self.server.cursor(end)}
        self.frames.append({"type": "changes", **cursors, "rows": rows, "more": more})
        self.at = end
        if self.first and not more:
            self.first = False
            self.beat()

    @precondition(lambda self: self.connected and self.at is not None and not self.first)
    @rule()
    def beat(self) -> None:
        ready = {"type": "ready", "cursor": self.server.cursor(self.at or 0)}
        self.frames.append({**ready, "server_time": clock.write(self.server.now())})

    @precondition(lambda self: self.frames)
    @rule(times=st.sampled_from([1, 1, 1, 2]))
    def deliver(self, times: int) -> None:
        """The next frame arrives; once in a while it comes twice."""
        frame = self.frames.popleft()
        for _ in range(times if self.connected else 0):
            try:
                step = self.session.receive(frame)
            except Transient:
                self.cut()
                return
            self.device.take(step)
            self.look()
            if step.resubscribe:
                self.subscribe()

    @rule(size=st.integers(1, 3), answers=st.sampled_from([0, 1, 2, 50, 50]))
    def poll(self, size: int, answers: int) -> None:
        """Another transport, on the same mirror; it may be cut between pages."""
        self.cut()
        core = self.device.core
        self.device.meet()
        poller = Poller(ModelHttp(self.server, size, answers), core.mirror, core.clock, core.memory.commit)  # type: ignore[arg-type]
        try:
            changes = finished(poller.catch_up())
        except ConnectionError:
            self.look()
            return
        self.device.take(Step(changes=changes, ready=True))
        self.look()
        self.post(3, lost=None)

    # -- pushes -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.connected == "socket" and self.session.caught_up)
    @rule(most=st.integers(1, 3), arrives=st.sampled_from([True, True, False]))
    def push(self, most: int, arrives: bool) -> None:
        """Over the socket; the answer is a frame like any other, and what does not arrive was cut."""
        bodies = self.device.batch(most)
        if not arrives:
            self.cut()
        elif bodies:
            self.frames.append({"type": "ack", "acks": self.server.push(bodies, "phone")})

    @precondition(lambda self: self.connected == "stream" and self.session.caught_up)
    @rule(most=st.integers(1, 3), lost=st.sampled_from([None, None, "question", "answer"]))
    def post(self, most: int, lost: str | None) -> None:
        """By a question of its own; lost, it is asked again."""
        outbox = self.device.core.outbox
        entries = outbox.batch(FAR, Limits(mutations=most))
        outbox.postpone(entries, -FAR)
        if lost == "question" or not entries:
            return
        acks = self.server.push([entry.body for entry in entries], "phone")
        if lost is None:
            frame = {"type": "ack", "acks": acks}
            core = self.device.core
            self.device.take(Session(core.mirror, core.clock, None).receive(frame))
            self.look()

    # -- days that are not good -------------------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        """Killed, and started again."""
        before = seen(self.device.core.mirror.shown)
        self.device.die()
        self.connected = None
        self.frames.clear()
        self.open()
        assert seen(self.device.core.mirror.shown) == before, "the next run does not show what the last one did"

    @rule(which=st.integers(0, 2))
    def defer(self, which: int) -> None:
        """The server will not have one of the waiting writes at once."""
        self.server.deferring |= {m.mutation_id for m in self.device.core.outbox.waiting[which : which + 1]}

    @rule()
    def expire(self) -> None:
        self.server.expire()
        self.server_restarts()

    @rule()
    def back_up(self) -> None:
        self.server.back_up()

    @rule()
    def restore(self) -> None:
        self.server.restore()
        self.server_restarts()
        self.seen.clear()  # what was acked may be lost: time goes back for everyone

    def server_restarts(self) -> None:
        if self.connected:
            self.cut()

    # -- what must always hold --------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what an app would see, and check that no write of one's own went and came back."""
        core = self.device.core
        assert self.device.folded == seen(core.mirror.shown), "the news do not lead to what is shown"
        for (_, key), row in core.mirror.shown.items():
            for name, number in (row.value or {}).items():
                self.saw(key, name, number)

    def saw(self, key: str, name: str, number: object) -> None:
        if not isinstance(number, int) or isinstance(number, bool):
            return
        seen = self.seen.setdefault((key, name), [])
        if seen and seen[-1] == number:
            return
        assert number not in seen or self.refused(key), f"{key}.{name}: {number} came back: {seen}"
        seen.append(number)

    def refused(self, key: str) -> bool:
        """Whether some write to this row was turned down: then what lay below it may show again."""
        acks = self.server.log.ledger.values()
        mine = {name for name in self.written if _key(self.server.bodies.get(name)) == key}
        return any(ack["mutation_id"] in mine and ack["status"] in ("rejected", "superseded") for ack in acks)

    @invariant()
    def no_half_state(self) -> None:
        mirror = self.device.core.mirror
        if mirror.complete and mirror.cursor is not None:
            held = {row.key: row.offset for row in mirror.rows.values()}
            assert held == self.server.state_at(mirror.cursor), "a half state"

    @invariant()
    def every_write_is_queued_or_answered(self) -> None:
        waiting = {mutation.mutation_id for mutation in self.device.core.outbox.waiting}
        queue = self.device.core.memory.queue
        assert queue is not None
        heard = {ack.mutation_id for ack in queue.unheard()}
        assert waiting | heard == set(self.written)
        assert not waiting & heard

    @invariant()
    def in_order(self) -> None:
        late = self.server.was_deferred | self.fleeting  # one goes late, if at all, where what stood for it was refused
        order = [name for name in self.server.arrived if name not in late]
        place = {name: n for n, name in enumerate(self.written)}
        assert [place[name] for name in order] == sorted(place[name] for name in order)

    def teardown(self) -> None:
        if not hasattr(self, "device"):
            return
        try:
            self.settle()
            self.account()
        finally:
            self.device.die()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        """Deliver everything, both ways."""
        self.connect("socket")
        for _ in range(ROUNDS):
            if self.connected is None:
                self.connect("socket")
            self.serve(2)
            if self.session.caught_up:
                self.push(2, arrives=True)
            if self.frames:
                self.deliver(1)
            elif not self.first and self.at == self.server.log.head:
                if self.session.caught_up and not self.device.core.outbox.waiting:
                    return
                self.beat()
        raise AssertionError("never settled")

    def account(self) -> None:
        sent = [name for name in self.written if name not in self.fleeting or name in self.server.bodies]
        stamps = [orjson.loads(self.server.bodies[name])["updated_at"] for name in sent]
        assert stamps == sorted(set(stamps)), "a later write with the older stamp"
        core = self.device.core
        rows = {key: entry for key, entry in self.server.log.entries.items() if entry["op"] == "put"}
        shown = {row.key: (row.offset, row.value, row.pending) for row in core.mirror.shown.values()}
        assert shown == {key: (entry["offset"], entry["data"], False) for key, entry in rows.items()}
        assert core.memory.queue is not None
        self.beat()
        self.deliver(1)
        assert core.memory.queue.unshown() == []


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine that waits for nothing, run to its end."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def _encoded(mutation: dict[str, Any]) -> bytes:
    return orjson.dumps(mutation)


def _key(body: bytes | None) -> object:
    return orjson.loads(body)["key"] if body else None


ClientMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_whatever_happens_on_the_way_the_client_ends_with_the_rows_of_the_server = ClientMachine.TestCase
