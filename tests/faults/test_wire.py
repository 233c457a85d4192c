"""The short form of `wire.py`: eight devices on every transport, one server and one PostgreSQL killed under them."""

import random

from tests.faults import wire
from tests.faults.storm import Plan


async def test_devices_converge_and_the_account_is_exact_after_a_storm():
    plan = Plan(random.randrange(10**6), clients=8, storm_s=1.5, within_s=20, calamities=("server", "database"))
    report = await wire.one(plan)
    assert not report.wrong, f"{report.line()}\n" + "\n".join([*report.wrong[:20], *report.stories[:3]])
    assert report.calamities == ["server", "database"]
    assert report.transports == {"socket", "stream", "long-poll", "poll"}
