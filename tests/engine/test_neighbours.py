"""Houses of several workers: how many an owner has counts over all, and a client's newest socket is the only one."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from syncserver.engine import neighbours
from syncserver.engine.board import Board
from syncserver.engine.neighbours import Others, Seat


@pytest.fixture
async def workers() -> AsyncIterator[list[Others]]:
    board, pipes = Board(2, 64), neighbours.pipes(2)
    yield [Others(Seat(board, pipes, me)) for me in range(2)]
    for pipe in pipes:
        for end in pipe:
            end.close()


async def test_each_sees_what_the_other_has(workers: list[Others]):
    one, two = workers
    one.entered("ada", "phone")
    one.newest("ada", "phone")
    one.entered("ada", None)
    assert (two.sockets("ada", "tablet"), two.streams("ada")) == (1, 1)
    assert (one.sockets("ada", "tablet"), one.streams("ada")) == (0, 0)
    one.left("ada", "phone")
    one.gone("ada", "phone")
    one.left("ada", None)
    assert (two.sockets("ada", "tablet"), two.streams("ada")) == (0, 0)


async def test_an_older_socket_of_the_same_client_takes_no_place(workers: list[Others]):
    one, two = workers
    one.entered("ada", "phone")
    one.newest("ada", "phone")
    assert (two.sockets("ada", "phone"), two.sockets("ada", "tablet")) == (0, 1)


async def test_the_worker_with_the_older_socket_is_told_unless_the_client_came_back(workers: list[Others]):
    one, two = workers
    told = asyncio.Queue[tuple[str, str]]()
    for client_id in ("phone", "tablet"):
        one.newest("ada", client_id)
        two.newest("ada", client_id)
    one.newest("ada", "phone")
    listening = asyncio.create_task(one.run(lambda *name: told.put_nowait(name)))
    async with asyncio.timeout(10):
        assert await told.get() == ("ada", "tablet")  # and not of the phone, which was said before
    listening.cancel()


async def test_nobody_waits_for_a_worker_that_does_not_listen(workers: list[Others]):
    one, two = workers
    for number in range(5_000):
        one.newest("ada", str(number))
        two.newest("ada", str(number))
