"""The link with transports that do what the test says: which is used when, and what the app sees of it."""

import asyncio
from types import SimpleNamespace

import pytest
from syncserver_client import link as links
from syncserver_client.errors import Fatal, Transient
from syncserver_client.link import Link
from syncserver_client.mirror import Mirror
from syncserver_client.model import State
from syncserver_client.problems import Problems
from syncserver_client.settings import TRANSPORTS, Settings
from syncserver_client.states import States
from syncserver_client.way import Parts

STATES = dict(zip(TRANSPORTS, [State.LIVE, State.STREAMING, State.LONG_POLLING, State.POLLING], strict=True))


class Network:
    """`broken` names the error of a transport that cannot be opened; `lose` ends the one that runs."""

    def __init__(self, **settings):
        self.broken = {}
        self.tried = []
        self.open = 0
        self.stays = False
        self._running = None
        self.settings = Settings(url="http://x", device="d", backoff_first_s=0.001, backoff_most_s=0.002, **settings)
        self.states = States()
        outbox = SimpleNamespace(cut=lambda: None, stirred=asyncio.Event())
        nothing = dict.fromkeys(("token", "clock", "http", "take", "keep", "up"))
        parts = Parts(settings=self.settings, mirror=Mirror(), outbox=outbox, problems=Problems(), **nothing)
        self.link = Link(parts, self.states)
        self.watch = self.states.watch()

    def way(self, name):
        return lambda parts: FakeWay(name, self, parts)

    def lose(self, error):
        self._running.set_exception(error)

    async def reach(self, state):
        async with asyncio.timeout(10):
            async for found in self.watch:
                if found is state:
                    return


class FakeWay:
    def __init__(self, name, network, parts):
        self.name, self.state = name, STATES[name]
        self._network, self._parts = network, parts

    async def open(self):
        self._network.tried.append(self.name)
        if self.name in self._network.broken:
            raise Transient(self._network.broken[self.name])
        self._network.open += 1

    async def run(self):
        self._network._running = asyncio.get_running_loop().create_future()
        self._parts.up(self.state, None)
        await self._network._running

    def network_changed(self):
        return self._network.stays

    async def close(self):
        self._network.open -= self.name not in self._network.broken


@pytest.fixture
async def run(monkeypatch):
    tasks = []

    def start(**settings):
        network = Network(**settings)
        monkeypatch.setattr(links, "WAYS", {name: network.way(name) for name in TRANSPORTS})
        tasks.append(asyncio.create_task(network.link.run()))
        network.task = tasks[-1]
        return network

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_best_that_works_is_used(run):
    network = run()
    await network.reach(State.LIVE)
    assert (network.tried, network.link.up) == (["socket"], True)


async def test_it_goes_down_after_two_failures_and_at_once_after_silence(run):
    network = run()
    network.broken = {"socket": "refused", "stream": "silent"}
    await network.reach(State.LONG_POLLING)
    assert network.tried == ["socket", "socket", "stream", "long-poll"]


async def test_a_lost_one_is_tried_again_first(run):
    network = run()
    await network.reach(State.LIVE)
    network.lose(Transient("cut"))
    await network.reach(State.CONNECTING)
    await network.reach(State.LIVE)
    assert network.tried == ["socket", "socket"]
    assert network.open == 1


async def test_offline_when_none_works_and_back_by_itself(run):
    network = run()
    network.broken = dict.fromkeys(TRANSPORTS, "unreachable")
    await network.reach(State.OFFLINE)
    assert network.tried[:5] == ["socket", *TRANSPORTS]
    network.broken = {}
    await network.reach(State.LIVE)


async def test_a_better_one_is_looked_for_and_taken_while_a_lesser_one_works(run):
    network = run(retry_socket_s=0.02)
    network.broken = {"socket": "refused", "stream": "refused", "long-poll": "refused"}
    await network.reach(State.POLLING)
    del network.broken["stream"]
    await network.reach(State.STREAMING)
    del network.broken["socket"]
    await network.reach(State.LIVE)
    assert network.open == 1, "what was left was closed"


async def test_a_server_that_was_merely_away_is_tried_again_soon(run):
    network = run(retry_socket_s=1000.0)
    network.broken = {"socket": "unavailable"}
    await network.reach(State.STREAMING)
    network.broken = {}
    await network.reach(State.LIVE)


async def test_a_changed_network_is_a_reason_to_look_at_once(run):
    network = run(retry_socket_s=1000.0)
    network.broken = {"socket": "refused"}
    await network.reach(State.STREAMING)
    network.broken = {}
    network.link.network_changed()
    await network.reach(State.LIVE)
    assert network.tried.count("stream") == 2, "the one in use may hang on the network that is gone"


async def test_a_transport_that_looks_after_itself_is_left_alone(run):
    network = run()
    network.stays = True
    await network.reach(State.LIVE)
    network.link.network_changed()
    while network.link._hurry:  # noqa: ASYNC110 - turns, not time
        await asyncio.sleep(0)
    assert (network.tried, network.link.up) == (["socket"], True)


async def test_to_fetch_all_again_it_opens_the_transport_anew(run):
    network = run(transports=("stream",))
    await network.reach(State.STREAMING)
    mirror = network.link._parts.mirror
    mirror.cursor = "c1"
    network.link.refetch()
    async with asyncio.timeout(10):
        while len(network.tried) < 2:  # noqa: ASYNC110 - turns, not time
            await asyncio.sleep(0)
    assert mirror.cursor is None


async def test_what_is_final_ends_it(run):
    network = run()
    await network.reach(State.LIVE)
    network.lose(Fatal("unauthorised"))
    with pytest.raises(Fatal):
        await network.task
    assert network.open == 0
