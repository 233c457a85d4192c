"""A sign that a server serves: one device writes, another of the same reader has it at once, and /readyz agrees."""

import asyncio
from typing import Any
from uuid import uuid4

from tests.devices import Device, device
from tests.faults import rawhttp
from tests.harness import token

_WITHIN_S = 20
_USER = "well-behaved"


async def beat(port: int) -> None:
    """Raises AssertionError, TimeoutError, OSError or EOFError where it does not."""
    async with asyncio.timeout(_WITHIN_S):
        url, key = f"ws://127.0.0.1:{port}/api/v1/socket", token(_USER)
        async with device(url, key, "phone") as phone, device(url, key, "tablet") as tablet:
            await tablet.say("subscribe")
            await _until(tablet, "ready")
            position = str(uuid4())
            await phone.say("push", mutations=[_written(position)])
            acks = (await _until(phone, "ack"))["acks"]
            assert acks[0]["status"] == "applied", acks
            rows = (await _until(tablet, "changes"))["rows"]
            assert position in [row["data"]["position"] for row in rows], "the other device was not told"
        ready = await rawhttp.ask(port, "GET", "/readyz", {})
        assert ready.status == 200, ready


def _written(position: str) -> dict[str, object]:
    fields = {"position": position}
    return {"mutation_id": str(uuid4()), "resource": "progress", "key": "emma", "op": "put", "data": fields}


async def _until(of: Device, kind: str) -> dict[str, Any]:
    while (frame := await of.hear())["type"] != kind:
        pass
    return frame
