"""One timer for many: each is called once in an interval, until it leaves, whatever the others do."""

import asyncio

from syncserver.engine.pulse import Pulse


class Member:
    """Counts its beats, and says when there were so many."""

    def __init__(self, enough: int = 1) -> None:
        self.beats = 0
        self.enough = asyncio.Event()
        self._enough = enough

    def beat(self) -> None:
        self.beats += 1
        if self.beats >= self._enough:
            self.enough.set()


async def test_everybody_is_called_again_and_again_and_none_more_often_than_the_others():
    pulse, members = Pulse(0.03), [Member(3) for _ in range(4)]
    for member in members:
        pulse.join(member)
    async with asyncio.timeout(20):
        await asyncio.gather(*(member.enough.wait() for member in members))
    assert {member.beats for member in members} <= {3, 4}
    for member in members:
        pulse.leave(member)
    assert len(pulse) == 0


async def test_nobody_is_called_who_has_left_though_it_left_in_the_same_beat():
    pulse, last = Pulse(0.02), Member()

    class Leaver(Member):
        def beat(self) -> None:
            super().beat()
            pulse.leave(last)
            pulse.leave(self)

    leaver = Leaver()
    pulse.join(leaver)
    pulse.join(last)
    async with asyncio.timeout(20):
        await leaver.enough.wait()
    assert (last.beats, len(pulse)) == (0, 0)


async def test_who_comes_back_begins_a_new_interval():
    pulse, member = Pulse(0.02), Member()
    pulse.join(member)
    pulse.leave(member)
    pulse.leave(member)
    pulse.join(member)
    async with asyncio.timeout(20):
        await member.enough.wait()
    pulse.leave(member)
