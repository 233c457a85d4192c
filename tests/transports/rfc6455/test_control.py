"""Pings are answered in order with what they brought; nothing is said to pongs (group 2)."""

import asyncio

import pytest

from tests.transports.rfc6455.line import CLOSE, PING, PONG, TEXT, Client, close, closed_with, closing, framed

_END = (CLOSE, close())


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 124, b"\xfe" * 125])
@pytest.mark.parametrize("chops", [0, 1])
async def test_a_ping_is_answered_with_what_it_brought(client: Client, payload: bytes, chops: int):
    assert await client.hears(framed(PING, payload) + closing(), chops=chops) == [(PONG, payload), _END]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("length", [126, 127, 65_536])
@pytest.mark.parametrize("chops", [0, 997])
async def test_a_control_frame_of_more_than_125_bytes_is_refused(client: Client, opcode: int, length: int, chops: int):
    heard = await client.hears(framed(opcode, b"\x03\xe8" + b"x" * (length - 2)), chops=chops)
    assert len(heard) == 1
    assert closed_with(heard) == 1002


@pytest.mark.parametrize("payload", [b"", b"unsolicited"])
async def test_a_pong_nobody_asked_for_is_no_matter(client: Client, payload: bytes):
    sent = framed(PONG, payload) + framed(PING, b"ping") + framed(PONG) + closing()
    assert await client.hears(sent) == [(PONG, b"ping"), _END]


@pytest.mark.parametrize("chops", [0, 1])
async def test_ten_pings_are_answered_in_their_order(client: Client, chops: int):
    payloads = [f"payload-{number}".encode() for number in range(10)]
    sent = b"".join(framed(PING, payload) for payload in payloads) + closing()
    assert await client.hears(sent, chops=chops) == [*((PONG, payload) for payload in payloads), _END]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_in_pieces_is_refused(client: Client, opcode: int):
    heard = await client.hears(framed(opcode, b"\x03\xe8", last=False) + framed(0, b""))
    assert len(heard) == 1
    assert closed_with(heard) == 1002


async def test_pings_and_messages_are_answered_in_the_order_they_came_in(client: Client):
    client.give([framed(TEXT, b"1") + framed(PING, b"2") + framed(TEXT, b"3") + framed(PING, b"4") + closing()])
    assert await client.rest() == [(TEXT, b"1"), (PONG, b"2"), (TEXT, b"3"), (PONG, b"4"), _END]


def _wall(client: Client) -> int:
    """Write until the line takes no more; how many messages."""
    socket, written = client.echo.socket, 0
    while not socket.blocked:
        socket.write([socket.form(b"w" * 65_536)])
        written += 1
    return written


async def test_of_the_pings_of_a_peer_that_does_not_read_the_latest_is_answered(client: Client):
    before = _wall(client)
    client.give([framed(PING, b"1"), framed(PING, b"2") + framed(PING, b"3")])
    async with asyncio.timeout(20):
        await client.echo.resumptions.wait()
    client.send(closing())
    assert (await client.rest())[before:] == [(PONG, b"3"), _END]


async def test_a_ping_that_waits_is_not_answered_after_a_close(client: Client):
    before = _wall(client)
    client.give([framed(PING, b"1")])
    client.echo.socket.close(4001, "")
    async with asyncio.timeout(20):
        await client.echo.resumptions.wait()
    client.send(closing(4001))
    assert (await client.rest())[before:] == [(CLOSE, close(4001))]
