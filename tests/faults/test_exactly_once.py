"""The short form of `exactly_once.py`: ten kills around commits, and every addition is there once."""

import random

from tests.faults import exactly_once


async def test_every_addition_is_there_once_however_often_the_server_was_killed():
    seed = random.randrange(10**6)
    async with exactly_once.stage() as (postgres, server):
        report = await exactly_once.run(postgres, server, seed=seed, kills=10)
    assert not report.wrong, f"{report.line()}\n" + "\n".join(report.wrong[:20])
    assert report.kills.total() == 10
    assert report.known > 0, "no kill struck between a commit and its answers"
