import random

from tests.harness import Live, token
from tests.oracle import clocks


async def test_no_causally_later_write_is_lost_whatever_the_clocks_say(live: Live):
    report = await clocks.run(live.socket_url, token("ada"), random.randrange(10**6), rounds=8)
    assert not report.failed, report
    assert report.causal == 8 * clocks.HOPS
    assert report.concurrent >= 16, report
    assert report.plain_would_lose > 0, "the clocks were not wrong enough to show anything"
