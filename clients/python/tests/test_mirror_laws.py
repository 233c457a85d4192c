"""Laws of mirror and session together, over all ways in which a log can reach a client."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from syncserver_client.clock import Clock
from syncserver_client.errors import Transient
from syncserver_client.mirror import Mirror
from syncserver_client.session import Session

STAMP = "2026-01-01T00:00:00.000000Z"
MANY = 200  # rounds within which any client must have caught up


class Log:
    """The change index as the server keeps it: one entry per row, an offset per write."""

    def __init__(self):
        self.head = 0
        self.epoch = 1
        self.index = {}
        self.states = {0: {}}

    def write(self, key, op):
        self.head += 1
        self.index[key] = {
            "resource": "progress",
            "key": key,
            "op": op,
            "data": {"n": self.head} if op == "put" else None,
            "offset": self.head,
            "updated_at": STAMP,
            "device_id": "d",
        }
        self.states[self.head] = {k: row["offset"] for k, row in self.index.items() if row["op"] == "put"}

    def erase_tombstones(self):
        self.index = {key: row for key, row in self.index.items() if row["op"] == "put"}
        self.epoch += 1

    def cursor(self, offset):
        return f"{self.epoch}:{offset}"

    def offset(self, cursor):
        epoch, offset = (cursor or f"{self.epoch}:0").split(":")
        return int(offset) if int(epoch) == self.epoch else None


class Wire:
    """A server's side of one client, and the network between them."""

    def __init__(self, log):
        self.log = log
        self.mirror = Mirror()
        self.published = []
        self.cut()

    def cut(self):
        self.frames = deque()
        self.session = Session(self.mirror, Clock(), None)
        self.subscribe()

    def subscribe(self):
        self.at = self.log.offset(self.session.subscribe()["cursor"])
        self.first = True
        self.more = False
        if self.at is None:
            self.frames.append({"type": "refetch", "reason": "epoch"})

    def serve(self, size):
        if self.at is None or (self.at == self.log.head and not self.first):
            return
        rows = sorted((r for r in self.log.index.values() if r["offset"] > self.at), key=lambda r: r["offset"])
        more = len(rows) > size
        end = rows[size - 1]["offset"] if more else self.log.head
        frame = {"from": self.log.cursor(self.at), "to": self.log.cursor(end), "rows": rows[:size], "more": more}
        self.frames.append({"type": "changes", **frame})
        self.at = end
        self.more = more
        if not more and self.first:
            self.first = False
            self.beat()

    def beat(self):
        """A sign of life, which says that this is all there is: so never between two pages."""
        if not self.first and not self.more and self.at is not None:
            self.frames.append({"type": "ready", "cursor": self.log.cursor(self.at), "server_time": STAMP})

    def deliver(self, times=1):
        frame = self.frames.popleft() if self.frames else None
        for _ in range(times if frame else 0):
            before = dict(self.mirror.rows)
            try:
                step = self.session.receive(frame)
            except Transient:
                self.cut()
                return
            self.published.append(list(step.changes))
            if self.mirror.rows != before:
                assert shown(self.mirror) == self.log.states[self.log.offset(self.mirror.cursor)], "a half state"
            if step.resubscribe:
                self.subscribe()

    def settle(self):
        for _ in range(MANY):
            self.serve(2)
            self.deliver()
            if not self.frames and self.at == self.log.head and self.session.caught_up:
                self.beat()
                self.deliver()
                if not self.frames and self.session.caught_up:
                    return
            if not self.frames and self.at == self.log.head:
                self.beat()
        raise AssertionError("never caught up")


def shown(mirror):
    return {row.key: row.offset for row in mirror.rows.values()}


writes = st.tuples(st.just("write"), st.sampled_from("abcde"), st.sampled_from(["put", "put", "remove"]))
delivery = st.one_of(
    st.tuples(st.just("serve"), st.integers(1, 3)),
    st.tuples(st.just("deliver"), st.integers(1, 2)),
    st.just(("deliver", 1)),
    st.just(("beat",)),
)
faults = st.sampled_from([("lose",), ("cut",)])


def play(wire, actions):
    for name, *values in actions:
        match name:
            case "write":
                wire.log.write(*values)
            case "lose":
                # A gap can be seen only against a cursor, and TCP loses nothing; this stands for a fault of the server.
                if wire.frames and wire.session.caught_up:
                    wire.frames.popleft()
            case "restore":
                wire.log.erase_tombstones()
                wire.cut()
            case _:
                getattr(wire, name)(*values)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(writes, delivery, faults), max_size=40))
def test_any_way_through_the_network_ends_in_the_fold_of_the_log(actions):
    wire = Wire(Log())
    play(wire, actions)
    wire.settle()
    assert shown(wire.mirror) == wire.log.states[wire.log.head]
    offsets = [change.offset for changes in wire.published for change in changes]
    assert offsets == sorted(set(offsets)), "each change at most once, in order"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(writes, delivery, faults, st.just(("restore",))), max_size=40))
def test_after_a_refetch_published_changes_still_lead_from_nothing_to_the_fold(actions):
    wire = Wire(Log())
    play(wire, actions)
    wire.settle()
    assert shown(wire.mirror) == wire.log.states[wire.log.head]
    told = {}
    for changes in wire.published:
        for change in changes:
            assert told.get(change.key) != (change.offset if change.op == "put" else None) or change.op == "remove"
            told[change.key] = change.offset if change.op == "put" else None
    assert {key: offset for key, offset in told.items() if offset} == shown(wire.mirror)
