import asyncio
import gc
from datetime import UTC, datetime

import pytest
from syncserver_client.errors import Fatal
from syncserver_client.model import Change, State
from syncserver_client.states import States
from syncserver_client.subscription import Fanout, Subscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def change(key, offset, resource="progress"):
    return Change(resource, key, "put", {}, offset, NOW, "d", None, NOW)


async def offsets(subscription):
    return [change.offset async for change in subscription]


async def test_a_slow_reader_gets_the_latest_of_each_row_by_offset():
    subscription = Subscription(None, [change("a", 1)])
    subscription.offer([change("b", 2), change("a", 3)])
    subscription.end()
    assert await offsets(subscription) == [2, 3]


async def test_only_the_resources_asked_for():
    subscription = Subscription(["progress"], [])
    subscription.offer([change("a", 1), change("a", 2, "notes")])
    subscription.end()
    assert await offsets(subscription) == [1]


async def test_a_waiting_reader_wakes():
    fanout, subscription = Fanout(), Subscription(None, [])
    fanout.add(subscription)
    reader = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    fanout.publish([change("a", 1)])
    assert (await reader).offset == 1


async def test_an_error_comes_after_what_was_pending():
    fanout, subscription = Fanout(), Subscription(None, [change("a", 1)])
    fanout.add(subscription)
    fanout.end(Fatal("unauthorised"))
    assert (await anext(subscription)).offset == 1
    with pytest.raises(Fatal):
        await anext(subscription)


async def test_closing_drops_what_was_pending():
    async with Subscription(None, [change("a", 1)]) as subscription:
        pass
    assert await offsets(subscription) == []


async def test_a_thousand_subscriptions_leave_nothing():
    fanout = Fanout()

    async def cycle(times):
        for _ in range(times):
            async with Subscription(None, [change("a", 1)]) as subscription:
                fanout.add(subscription)
                await anext(subscription)
            fanout.add(Subscription(None, []))  # forgotten without closing

    await cycle(100)
    gc.collect()
    before = len(gc.get_objects()), len(asyncio.all_tasks())
    await cycle(1000)
    gc.collect()
    assert len(gc.get_objects()) - before[0] < 100
    assert len(asyncio.all_tasks()) == before[1]
    assert len(fanout._subscriptions) == 0


async def test_states_are_told_in_order_and_end():
    states = States()
    watch = states.watch()
    for state in (State.LIVE, State.LIVE, State.OFFLINE):
        states.become(state)
    await states.ready()
    states.end(Fatal("unauthorised"))
    assert [state async for state in watch] == [State.CONNECTING, State.LIVE, State.OFFLINE]
    assert [state async for state in states.watch()] == [State.OFFLINE]
    with pytest.raises(Fatal):
        await states.ready()
