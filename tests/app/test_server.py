import asyncio
import contextlib
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from syncserver.app import server
from syncserver.core.errors import SetupError
from tests.harness import Live


async def test_what_is_written_goes_out_at_once():
    """Nagle's algorithm holds a small frame back for up to 40 ms; asyncio turns it off where it knows TCP."""
    delays = asyncio.Queue[int]()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delays.put_nowait(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with server.bound("127.0.0.1", 0) as listening:
        async with await asyncio.start_server(accepted, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert await delays.get() == 1
            writer.close()
            await writer.wait_closed()


async def test_what_waits_for_a_peer_in_the_kernel_is_bounded():
    sizes = asyncio.Queue[int]()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sizes.put_nowait(writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        writer.close()

    with server.bound("127.0.0.1", 0) as listening:
        async with await asyncio.start_server(accepted, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert await sizes.get() in {131_072, 262_144}  # Linux keeps twice what was asked for
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_refused_with_advice(port: int):
    with pytest.raises(SetupError) as refused:
        server.bound("127.0.0.1", port)
    assert refused.value.advice == "Name another with --port."


def test_a_port_that_is_taken_is_refused_by_its_number():
    with server.bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"Port {port} on 127.0.0.1 cannot be used"):
            server.bound("127.0.0.1", port)


@pytest.mark.parametrize("workers", [1, 3])
def test_all_workers_listen_on_one_port(workers: int):
    with server.listening("127.0.0.1", 0, workers) as listeners:
        ports = {listener.getsockname()[1] for listener in listeners}
        assert (len(listeners), len(ports)) == (workers, 1)
        for listener in listeners:
            listener.listen()
        with pytest.raises(SetupError), server.listening("127.0.0.1", ports.pop(), workers):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says how many may wait")
async def test_a_storm_finds_room_to_wait_in(live: Live):
    """The kernel's own bound may be lower; whatever is taken at once, as many wait as that allows."""
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())  # noqa: ASYNC240 - it is in memory
    waiting = 0
    for link in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(link))) as one:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == live.port:
                (waiting,) = struct.unpack_from("I", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)
    assert waiting >= min(2_048, allowed)
