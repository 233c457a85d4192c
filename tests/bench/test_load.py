"""The load generator gives no figure where a server loses, repeats, reorders or mislabels, or does not answer."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from tests.bench import generator, scripts

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the generator is compiled by cc")

FIRST, SECOND = "e.c.1", "e.c.2"
Said = Sequence[str]


def _mutations(text: str) -> list[str]:
    return [mutation["mutation_id"] for mutation in json.loads(text)["mutations"]]


def _ack(ids: Sequence[str], status: str = "applied") -> str:
    acks = [{"mutation_id": one, "status": status, "offset": 1} for one in ids]
    return json.dumps({"type": "ack", "acks": acks}, separators=(",", ":"))


def _changes(ids: Sequence[str], begin: str = FIRST, offsets: Sequence[int] = (2, 3)) -> str:
    rows = [{"key": "k", "offset": at, "mutation_id": one} for one, at in zip(ids, offsets, strict=False)]
    frame = {"type": "changes", "from": begin, "to": SECOND, "rows": rows, "more": False}
    return json.dumps(frame, separators=(",", ":"))


async def _outcome(answer: Callable[[list[str]], Said]) -> tuple[int, str]:
    """What the generator says of a server that answers its one push of two so."""

    async def serve(socket: ServerConnection) -> None:
        await socket.send(f'{{"type":"ready","cursor":"{FIRST}"}}')
        async for text in socket:
            for said in answer(_mutations(str(text))):
                await socket.send(said)

    async with websockets.serve(serve, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        options = {"per_push": 2, "rate": 2, "seconds": 0.01, "turns": 1, "lost_s": 0.3}
        with scripts.file(['/\t-\t0\t?"type":"ready"']) as script:
            return await _run("writes", scripts=script, port=port, product=1, **options)


async def _run(mode: str, **options: object) -> tuple[int, str]:
    arguments = [f"{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(
        generator.built("load"), mode, *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_server_that_does_it_right_gives_a_figure():
    status, said = await _outcome(lambda ids: [_ack(ids), _changes(ids)])
    assert status == 0, said
    figure = json.loads(said.splitlines()[-1])
    assert (figure["acks"], figure["deliveries"], figure["ack"]["count"]) == (2, 2, 2)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda ids: [_ack(ids), _changes(ids[:1])], "writes were lost"),
        (lambda ids: [_ack(ids[:1]), _changes(ids)], "writes were lost"),
        (lambda ids: [_ack([*ids, ids[0]]), _changes(ids)], "is answered twice"),
        (lambda ids: [_ack(ids), _changes([ids[0], ids[0]])], "twice"),
        (lambda ids: [_ack(ids), _changes(ids, offsets=(3, 2))], "offset 2 after 3"),
        (lambda ids: [_ack(ids), _changes(ids, begin="e.c.0")], "a frame from e.c.0"),
        (lambda ids: [_ack(ids, "rejected"), _changes(ids)], "a write was answered: rejected"),
        (lambda ids: [_ack([ids[0][:-1] + "9"]), _changes(ids)], "never sent"),
        (lambda _: ['{"type":"error","code":"invalid"}'], "invalid"),
    ],
)
async def test_a_server_that_loses_repeats_or_reorders_gives_none(answer, sentence):
    status, said = await _outcome(answer)
    assert status == 2
    assert sentence in json.loads(said.splitlines()[-1])["wrong"]


async def _relayed(folder: Path, numbers: Callable[[int], Sequence[int]], channel: int = 0) -> tuple[int, str]:
    """What the generator says of a relay whose socket hears these for the event of this number."""
    hearing: list[ServerConnection] = []

    async def serve(socket: ServerConnection) -> None:
        await socket.recv()
        hearing.append(socket)
        await socket.send('{"type":"ready"}')
        await socket.wait_closed()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = 0
        async for line in reader:
            for _ in range(int(line.split()[2])):
                made += 1
                for number in numbers(made):
                    await hearing[0].send(f'{{"ch":{channel},"seq":{number},"ns":1}}')
        writer.close()

    control = folder / "control"
    async with (
        websockets.serve(serve, "127.0.0.1", 0, compression=None) as server,
        await asyncio.start_unix_server(obey, control),
    ):
        port = server.sockets[0].getsockname()[1]
        options = {"control": control, "turns": 1, "seconds": 0.01, "batch": 1, "window": 4, "lost_s": 0.3}
        with scripts.file(["/\t-\t0\t>sub 0\t?ready"]) as script:
            return await _run("fan", scripts=script, port=port, **options)


async def test_a_relay_that_does_it_right_gives_a_figure(folder):
    status, said = await _relayed(folder, lambda number: [number])
    assert status == 0, said
    assert json.loads(said.splitlines()[-1])["deliveries"] >= 4


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (lambda number: [number] if number != 2 else [], "event 3 after 1"),
        (lambda number: [number] if number < 2 else [], "events were made"),
        (lambda number: [number, number], "event 1 after 1"),
        (lambda number: [number + 1], "event 2 after 0"),
    ],
)
async def test_a_relay_that_loses_repeats_or_reorders_gives_none(folder, numbers, sentence):
    status, said = await _relayed(folder, numbers)
    assert status == 2
    assert sentence in json.loads(said.splitlines()[-1])["wrong"]


async def test_another_channels_event_is_noticed(folder):
    status, said = await _relayed(folder, lambda number: [number], channel=7)
    assert status == 2
    assert "hears channel 7" in said


async def test_frames_may_come_in_pieces_and_together():
    head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    news = _changes([], begin=FIRST).replace('"rows":[]', '"rows":[' + ",".join(_rows(3_000)) + "]")
    texts = [f'{{"type":"ready","cursor":"{FIRST}"}}', news, '{"type":"done"}']

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        whole = head.encode() + b"".join(map(_frame, texts))
        for piece in (whole[:90], whole[90:99], whole[99:100], whole[100:70_000], whole[70_000:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with scripts.file(['/\t-\t0\t?"type":"ready"\t?"type":"done"']) as script:
            status, said = await _run("arrive", scripts=script, port=port, product=1)
    assert status == 0, said
    assert json.loads(said)["rows"] == 3_000


def _rows(count: int) -> list[str]:
    return [f'{{"key":"k","offset":{number}}}' for number in range(1, count + 1)]


def _frame(text: str) -> bytes:
    payload, head = text.encode(), b"\x81"
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    wide = 2 if len(payload) < 65_536 else 8
    return head + (b"\x7e" if wide == 2 else b"\x7f") + len(payload).to_bytes(wide, "big") + payload
