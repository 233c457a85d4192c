"""What rubbish did to a server once, each mistake by its own bytes."""

import asyncio
import gc
import logging
from uuid import uuid4

import httpx
import pytest

from syncserver.engine.decide import Refused
from tests.faults import rawsocket
from tests.faults.rawsocket import CLOSE, UPGRADE, frame, upgrade
from tests.harness import Live

_CHUNKED = b"POST /api/v1/push HTTP/1.1\r\nHost: a\r\n%sTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
_LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nthis is no request\r\n\r\n"


async def _answered(live: Live, sent: bytes) -> bytes:
    """All that the server says to these bytes, until it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.transport.abort()


async def test_text_that_is_no_utf_8_closes_its_socket_and_is_not_logged(live: Live, caplog: pytest.LogCaptureFixture):
    async with rawsocket.opened(live.port) as socket:
        socket.writer.write(frame(b"\xff\xfe"))
        heard = await socket.heard()
    assert (heard.opcode, heard.code) == (CLOSE, 1007)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("sent", "status"), [(_CHUNKED % b"", b"400"), (_LAST, b"200")], ids=["in-a-body", "after-an-answer"]
)
async def test_rubbish_where_http_should_be_ends_the_connection_without_an_error(
    live: Live, sent: bytes, status: bytes, caplog: pytest.LogCaptureFixture
):
    assert (await _answered(live, sent)).startswith(b"HTTP/1.1 " + status)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handshake_that_cannot_be_read_is_refused_and_not_left_waiting(live: Live):
    for broken in (upgrade().replace(b"GET", b"PUT", 1), upgrade({**UPGRADE, "X": "a" * 9_000})):
        assert (await _answered(live, broken)).startswith(b"HTTP/1.1 4")


async def test_a_refused_handshake_repeats_nothing_of_its_headers(live: Live):
    answer = await _answered(live, upgrade({**UPGRADE, "Sec-WebSocket-Key": "gooseberry"}))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"gooseberry" not in answer


async def test_a_row_that_names_what_is_not_there_yet_is_a_clash_and_no_fault_of_the_server(live: Live):
    async with httpx.AsyncClient(base_url=live.url, headers=live.headers()) as http:
        answer = await http.put("/api/v1/progress/emma", json={"series_id": {"$temp": "later"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "dependency_unknown")


async def test_nothing_of_a_rejected_write_stays_in_memory(live: Live):
    """The collector cannot look into pydantic's errors: a traceback in one of them kept the whole message for ever."""
    bad = (
        {"updated_at": "yesterday"},
        {"data": {"locator": {"href": ""}}},
        {"data": {"position": "\0"}},
        {"key": "\0"},
    )
    good = {"resource": "progress", "key": "emma", "op": "put", "data": {}}
    mutations = [{"mutation_id": str(uuid4()), **good, **wrong} for wrong in bad]
    body = {"device": {"id": "phone"}, "client_id": "phone", "mutations": mutations}
    async with httpx.AsyncClient(base_url=live.url, headers=live.headers()) as http:
        answer = await http.post("/api/v1/push", json=body)
        await http.put("/api/v1/progress/emma", json={})  # the last batch is held until the next
    assert [ack["status"] for ack in answer.json()["acks"]] == ["rejected"] * len(bad)
    gc.collect()
    assert not [kept for kept in gc.get_objects() if isinstance(kept, Refused)]
