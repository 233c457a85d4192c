"""Fleeting writes: whatever is sent, lost or killed on the way, all ends as if each write had been sent."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from syncserver_client.mutation import Mutation
from syncserver_client.poll import Poller
from syncserver_client.session import Session, Step

from syncserver.core import clock
from tests.e2e.client_device import Device
from tests.e2e.client_model import RESOURCE, START, ModelHttp, ModelServer
from tests.e2e.test_client_machine import MEMORY, PROVE, finished

Said = dict[str, Any]
ALL = 10_000
STORIES = 2_000 if PROVE else 150


class Hours(ModelServer):
    """Time stands still within a step of the story: two tellings of it have the same stamps."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class Telling:
    """A story told with one client: with `fleeting` writes, or with the same as any other."""

    fleeting: bool
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="syncserver-fleeting-", dir=MEMORY)))
    server: Hours = field(default_factory=Hours)
    count: int = 0

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.device = Device(self.folder / "store.db", self.server, timedelta())
        self.device.meet()

    def end(self) -> None:
        self.device.die()
        shutil.rmtree(self.folder)

    def write(self, op: str, key: str, value: Said, *, fleeting: bool) -> None:
        self.count += 1
        name = f"00000000-0000-7000-8000-{self.count:012}"
        data = None if op == "remove" else value
        one = Mutation(op, RESOURCE, key, data, mutation_id=name, fleeting=self.fleeting and fleeting)
        self.device.core.queue([one], awaited=False)

    def push(self, most: int, lost: str | None) -> None:
        """One frame, or with ALL as many as it takes; `lost`: its question or its answer."""
        while bodies := self.device.batch(most):
            acks = self.server.push(bodies, "phone") if lost != "question" else []
            if lost is not None:
                self.device.core.outbox.cut()
                return
            core = self.device.core
            self.device.take(Session(core.mirror, core.clock, None).receive({"type": "ack", "acks": acks}))
            if most != ALL:
                return

    def read(self) -> None:
        core = self.device.core
        poller = Poller(ModelHttp(self.server, 50, 50), core.mirror, core.clock, core.memory.commit)  # type: ignore[arg-type] # the model's
        self.device.take(Step(changes=finished(poller.catch_up()), ready=True))

    def crash(self) -> None:
        self.device.die()
        self.open()

    def foreign(self, op: str, key: str, value: Said, *, knows: bool) -> None:
        entry = self.server.log.entries.get(key)
        self.count += 1
        mutation = {
            "mutation_id": f"foreign-{self.count}",
            "key": key,
            "op": op,
            "updated_at": clock.write(self.server.now()),
        }
        base = entry["offset"] if entry and knows else None
        self.server.push(
            [orjson.dumps({**mutation, "data": None if op == "remove" else value, "base": base})], "tablet"
        )

    def settle(self) -> None:
        self.device.core.outbox.cut()
        self.push(ALL, None)
        self.read()
        assert self.device.core.outbox.waiting == []

    def shown(self) -> dict[str, Said]:
        return {row.key: _filled(row.value or {}) for row in self.device.core.mirror.shown.values()}

    def kept(self) -> dict[str, Said | None]:
        entries = self.server.log.entries.items()
        return {key: _filled(entry["data"]) if entry["op"] == "put" else None for key, entry in entries}


def _filled(fields: Said) -> Said:
    """A field that is null is one that is not there."""
    return {name: value for name, value in fields.items() if value is not None}


keys = st.sampled_from("aaab")
numbers = st.integers(0, 99)
shapes = st.one_of(
    st.builds(lambda n: {"x": n}, numbers),
    st.builds(lambda n: {"x": n}, numbers),
    st.builds(lambda n: {"x": n, "y": n}, numbers),
    st.builds(lambda n: {"s": {"a": n}}, numbers),
    st.builds(lambda n: {"s": {"a": n, "b": None}}, numbers),
    st.builds(lambda n: {"y": n}, numbers),
    st.just({"x": None}),
    st.just({"s": {}}),
)
refused = st.builds(lambda shape: {**shape, "bad": True}, shapes)
ops = st.sampled_from(["put", "patch", "patch", "patch", "patch", "remove"])


def writes(values: st.SearchStrategy[Said]) -> st.SearchStrategy[tuple[str, Said]]:
    made = {"op": ops, "key": keys, "value": values, "fleeting": st.sampled_from([True, True, True, False])}
    return st.tuples(st.just("write"), st.fixed_dictionaries(made))


def pushes(sizes: list[int], lost: list[str | None]) -> st.SearchStrategy[tuple[str, Said]]:
    return st.tuples(
        st.just("push"), st.fixed_dictionaries({"most": st.sampled_from(sizes), "lost": st.sampled_from(lost)})
    )


others = st.fixed_dictionaries({"op": ops, "key": keys, "value": shapes, "knows": st.booleans()})
rest: st.SearchStrategy[tuple[str, Said]] = st.one_of(
    st.tuples(st.just("crash"), st.just({})), st.tuples(st.just("read"), st.just({}))
)
alone = st.lists(
    st.one_of(writes(shapes), writes(shapes), writes(refused), pushes([1, 2, 50], [None, "question", "answer"]), rest),
    min_size=4,
)
together = st.lists(
    st.one_of(
        writes(shapes),
        writes(shapes),
        pushes([ALL], [None, None, "question"]),
        st.tuples(st.just("foreign"), others),
        rest,
    )
)


_BEGINNING = [
    ("write", {"op": "put", "key": key, "value": {"x": 0, "y": 0, "s": {"a": 0, "b": 0}}, "fleeting": False})
    for key in "ab"
]


def told_twice(story: list[tuple[str, Said]]) -> None:
    """Once as it is, once with no write fleeting: the same is shown all the way, and the server ends with the same."""
    tellings = fleeting, plain = [Telling(fleeting=True), Telling(fleeting=False)]
    certain = not any(told.get("value", {}).get("bad") for _, told in story)
    try:
        for name, told in [*_BEGINNING, *story]:
            for telling in tellings:
                telling.server.seconds += 10
                getattr(telling, name)(**told)
            if certain and name != "foreign":
                assert fleeting.shown() == plain.shown()
        for telling in tellings:
            telling.settle()
            assert telling.shown() == {key: data for key, data in telling.kept().items() if data is not None}
        assert fleeting.kept() == plain.kept()
        assert set(fleeting.server.bodies) <= set(plain.server.bodies)
    finally:
        for telling in tellings:
            telling.end()


_long = settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_long
@given(alone)
def test_any_frames_losses_refusals_and_crashes_lead_where_they_do_if_every_write_is_sent(
    story: list[tuple[str, Said]],
):
    told_twice(story)


@_long
@given(together)
def test_another_device_meets_the_same_rows_as_if_every_write_were_sent(story: list[tuple[str, Said]]):
    told_twice(story)


def test_of_a_burst_that_outlived_a_crash_only_the_last_is_sent():
    telling = Telling(fleeting=True)
    try:
        telling.write("put", "a", {"x": 0}, fleeting=False)
        for number in range(50):
            telling.write("patch", "a", {"x": number}, fleeting=True)
            if number == 25:
                telling.push(1, lost="answer")
                telling.crash()
        telling.push(1, None)
        telling.crash()
        telling.settle()
        assert telling.kept() == {"a": {"x": 49}}
        assert len(telling.server.bodies) == 2
    finally:
        telling.end()
