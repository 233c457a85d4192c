"""`verify` on the socket: the same, moved, or fetch everything again; the connection stays."""

from typing import Any

from syncserver.core import clock, digest
from tests.harness import Live
from tests.transports.sockets import Socket, greeted, pushed, put


async def fetched(socket: Socket) -> dict[str, Any]:
    """Subscribe from nothing, and ask what one asks who holds everything."""
    await socket.say({"type": "subscribe", "resources": None, "cursor": None})
    hashes: list[int] = []
    while (frame := await socket.hear())["type"] != "ready":
        hashes += [
            digest.row(row["resource"], row["key"], row["offset"], clock.read(row["updated_at"]))
            for row in frame["rows"]
            if row["op"] == "put"
        ]
    digests = {"progress": digest.of(hashes).model_dump()}
    return {"type": "verify", "cursor": frame["cursor"], "digests": digests}


async def test_who_holds_everything_is_told_so_and_goes_on(live: Live):
    async with greeted(live) as writer, greeted(live) as reader:
        await pushed(writer, put("a"), put("b"))
        question = await fetched(reader)
        await reader.say(question)
        answer = await reader.hear()
        await pushed(writer, put("c"))
        news = await reader.hear()
        await reader.say(question)
        moved = await reader.hear()

    assert answer == {"type": "verified", "cursor": question["cursor"], "outcome": "same"}
    assert [row["key"] for row in news["rows"]] == ["c"]
    assert moved == {"type": "verified", "cursor": question["cursor"], "outcome": "moved"}


async def test_who_holds_something_else_is_told_to_refetch_and_hears_nothing_until_it_does(live: Live):
    async with greeted(live) as writer, greeted(live) as reader:
        await pushed(writer, put("a"))
        question = await fetched(reader)
        question["digests"]["progress"]["xor"] = "0" * 16
        await reader.say(question)
        refetch = await reader.hear()
        await pushed(writer, put("b"))
        assert len(live.parts.hub) == 0
        again = await fetched(reader)
        await reader.say(again)
        answer = await reader.hear()

    assert refetch == {"type": "refetch", "reason": "digest"}
    assert (answer["outcome"], again["digests"]["progress"]["rows"]) == ("same", 2)


async def test_a_cursor_that_cannot_be_honoured_ends_the_subscription_too(live: Live):
    async with greeted(live) as reader:
        question = await fetched(reader)
        await reader.say({**question, "cursor": "nonsense"})
        assert await reader.hear() == {"type": "refetch", "reason": "unreadable"}
        assert len(live.parts.hub) == 0


async def test_a_resource_that_is_not_synced_here_is_an_error_and_nothing_ends(live: Live):
    async with greeted(live) as reader:
        question = await fetched(reader)
        await reader.say({**question, "digests": {"gooseberries": {"rows": 0, "xor": "0" * 16}}})
        error = await reader.hear()
        await reader.say(question)
        answer = await reader.hear()

    assert (error["type"], error["code"]) == ("error", "invalid")
    assert answer["outcome"] == "same"
