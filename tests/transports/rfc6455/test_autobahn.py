"""The cases of the Autobahn suite itself, but those of deflate, which is off; each passes, and strictly."""

import asyncio

import kosoku

from syncserver.transports.websocket import Rules, Socket
from tests.transports.rfc6455.line import Echo

_DEFLATE = ["12.*", "13.*"]
_PASSED = {"OK", "INFORMATIONAL"}


async def test_every_case_passes_strictly():
    rules = Rules(Echo, frame_bytes=16 << 20, most_pieces=1 << 20, pings_per_s=0)
    server = await asyncio.get_running_loop().create_server(lambda: Socket(rules), "127.0.0.1", 0)
    async with server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/socket"
        results = await kosoku.run_fuzzingclient(url, exclude_cases=_DEFLATE, concurrency=4)
    judged = {one.case_id: (one.behavior.value, one.behavior_close.value) for one in results}
    assert len(judged) > 290
    assert {case: words for case, words in judged.items() if not _PASSED.issuperset(words)} == {}
