import asyncio

import pytest

from syncserver.engine.together import first_of


async def test_the_first_to_end_gives_the_answer_and_ends_the_others():
    ended = asyncio.Event()

    async def for_ever() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    async def at_once() -> str:
        await asyncio.sleep(0)
        return "first"

    assert await first_of(for_ever(), at_once()) == "first"
    assert ended.is_set()


async def test_what_the_first_raises_is_raised():
    async def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await first_of(asyncio.Event().wait(), fails())


async def test_cancelled_it_takes_all_along():
    ended = list[int]()

    async def for_ever(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    both = asyncio.create_task(first_of(for_ever(1), for_ever(2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    both.cancel()
    await asyncio.gather(both, return_exceptions=True)
    assert sorted(ended) == [1, 2]
