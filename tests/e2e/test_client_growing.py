"""A text that grows, against the real server: live for others, over a slow network, cut off, refused and killed."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import syncserver_client
from syncserver_client import Client, Closed, Mutation, State
from syncserver_client.ids import uuid7

from tests.faults.proxy import Proxy
from tests.harness import Live, token

_PATIENCE_S = 30
_README = (Path(__file__).parents[2] / "clients" / "python" / "README.md").read_text()


@pytest.fixture
async def proxy(live: Live) -> AsyncIterator[Proxy]:
    async with Proxy(live.port).running() as running:
        yield running


def connect(url: str, device: str = "phone", **more: Any) -> Client:
    quick = {"backoff_first_s": 0.05, "backoff_most_s": 0.2}
    return syncserver_client.connect(url, token("ada"), device, **{**quick, **more})


async def begun(client: Client, content: str = "A") -> str:
    """A message that is there, its key."""
    await client.ready()
    home, message = uuid7(), uuid7()
    await client.put("conversations", home, {"title": "On Ahab"})
    said = {"conversation_id": home, "role": "assistant", "content": content}
    await client.put("messages", message, said)
    return message


def content(client: Client, message: str) -> Any:
    row = client.rows.get(("messages", message))
    return (row.value or {}).get("content") if row is not None else None


async def until(client: Client, true: Callable[[Client], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S), client.subscribe() as changes:
        async for _ in changes:
            if true(client):
                return


async def drained(client: Client) -> None:
    acks = client.acks()
    async with asyncio.timeout(_PATIENCE_S):
        while client.pending:
            await anext(acks)
    await asyncio.sleep(0)  # who listens to one write hears of it in the same turn of the loop


def written(sql: psycopg.Connection) -> int:
    """How many writes of messages the server has answered."""
    found = sql.execute("SELECT count(*) FROM mutations").fetchone()
    return int((found or (0,))[0])


async def test_chunks_arrive_in_few_patches_and_all_of_them(live: Live, sql: psycopg.Connection):
    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        message = await begun(phone)
        await tablet.ready()
        before = written(sql)
        async with phone.growing("messages", message) as answer:
            began = asyncio.get_running_loop().time()
            for number in range(300):
                answer.add(f" {number}")
                await asyncio.sleep(0)
            await until(tablet, lambda c: content(c, message) == answer.text)
            lasted_s = asyncio.get_running_loop().time() - began
            answer.add(".")
        await until(tablet, lambda c: content(c, message) == answer.text)
        assert answer.text == "A" + "".join(f" {number}" for number in range(300)) + "."
        await drained(phone)
    assert written(sql) - before <= 20 * lasted_s + 2
    with pytest.raises(Closed):
        answer.add("more")


async def test_cut_off_it_keeps_the_latest_and_of_what_waited_only_that_is_sent(
    live: Live, proxy: Proxy, folder: Path, sql: psycopg.Connection
):
    store = str(folder / "ada.db")
    async with connect(proxy.url, store=store) as phone:
        message = await begun(phone)
        proxy.down = True
        proxy.cut()
        async with asyncio.timeout(_PATIENCE_S):
            async for state in phone.states():
                if state is State.OFFLINE:
                    break
        before = written(sql)
        for _ in range(5):
            async with phone.growing("messages", message) as answer:
                answer.add("h")
        assert content(phone, message) == "Ahhhhh"
        assert len(phone.pending) == 5
    proxy.down = False
    async with connect(proxy.url, store=store) as again, connect(live.url, "tablet") as tablet:
        assert content(again, message) == "Ahhhhh"
        await until(tablet, lambda c: content(c, message) == "Ahhhhh")
        acks = again.acks()
        heard = [await anext(acks) for _ in range(5)]
    assert {ack.status for ack in heard} == {"applied"}
    assert len({ack.offset for ack in heard}) == 1
    assert written(sql) - before == 1


async def test_what_is_too_long_is_refused_and_the_last_that_was_not_is_there(live: Live, sql: psycopg.Connection):
    async with connect(live.url) as phone:
        message = await begun(phone, "A" * 15_990)
        async with phone.growing("messages", message) as answer:
            for chunk in ("b" * 10, "c"):
                answer.add(chunk)
                await until(phone, lambda c: content(c, message) == answer.text)
                await drained(phone)
            assert answer.ack is not None
            assert answer.ack.refused
    assert sql.execute("SELECT right(content, 2), char_length(content) FROM messages").fetchone() == ("bb", 16_000)


async def test_of_what_waits_behind_a_lost_answer_only_the_latest_is_sent_and_all_are_answered(
    live: Live, proxy: Proxy, sql: psycopg.Connection
):
    def fleeting(content: str) -> Mutation:
        return Mutation("patch", "messages", message, {"content": content}, fleeting=True)

    async with connect(proxy.url) as phone, connect(live.url, "tablet") as tablet:
        message = await begun(phone)
        proxy.swallow_answers = True
        acks = phone.acks()
        names = [phone.enqueue(fleeting("first"))]
        await until(tablet, lambda c: content(c, message) == "first")
        before = written(sql)
        names += [phone.enqueue(fleeting(str(number))) for number in range(100)]
        proxy.swallow_answers = False
        proxy.cut()
        phone.network_changed()
        heard = [await asyncio.wait_for(anext(acks), _PATIENCE_S) for _ in names]
        assert [ack.mutation_id for ack in heard] == names
        await until(tablet, lambda c: content(c, message) == "99")
    assert written(sql) - before == 1


async def test_the_readme_s_answer_grows(live: Live):
    (example,) = re.findall(r"```python\n(async def answer.*?)```", _README, re.DOTALL)
    scope: dict[str, Any] = {"Mutation": Mutation, "uuid4": uuid7}
    exec(compile(example, "README.md", "exec"), scope)  # noqa: S102 - ours

    async def chunks() -> AsyncIterator[str]:
        for chunk in ("A sailor", " who calls himself", " Ishmael."):
            yield chunk

    async with connect(live.url) as phone, connect(live.url, "tablet") as tablet:
        await phone.ready()
        home = uuid7()
        await phone.put("conversations", home, {"title": "On Ahab"})
        await scope["answer"](phone, home, chunks())
        said = "A sailor who calls himself Ishmael."
        await until(tablet, lambda c: any((row.value or {}).get("content") == said for row in c.rows.values()))


async def test_fewer_than_one_a_second_is_no_pace(live: Live):
    client = connect(live.url)
    with pytest.raises(ValueError, match="per_s"):
        client.growing("messages", "m", per_s=0.5)
    await client.close()
