import asyncio
import socket

import pytest

from syncserver.app import server
from syncserver.core.errors import SetupError


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
