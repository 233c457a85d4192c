"""The page on deploying, taken at its word: the proxies in it carry sockets and streams, and tell who the client is.

The proxies are programs of their own; where one is not installed, its test says so and is skipped.
"""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness import Live, free_port, token
from tests.transports.sockets import HELLO, Socket, pushed, put

Proxy = Callable[[Path, int, int], AbstractContextManager[None]]
PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found, kind
    return found[1]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for localhost, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextmanager
def nginx(folder: Path, port: int, behind: int) -> Iterator[None]:
    public, private = certificate(folder)
    page = block("nginx").replace("listen 443", f"listen 127.0.0.1:{port}").replace("sync.example.org;", "localhost;")
    page = re.sub(r"(ssl_certificate +)\S+;", rf"\1{public};", page)
    page = re.sub(r"(ssl_certificate_key +)\S+;", rf"\1{private};", page).replace(
        "127.0.0.1:8000", f"127.0.0.1:{behind}"
    )
    places = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;"
        f" events {{}} http {{ {places} {page} }}"
    )
    with _running(["nginx", "-p", str(folder), "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"]):
        yield


@contextmanager
def caddy(folder: Path, port: int, behind: int) -> Iterator[None]:
    public, private = certificate(folder)
    page = block("caddyfile").replace("sync.example.org {", f"https://localhost:{port} {{\n    tls {public} {private}")
    page = page.replace("127.0.0.1:8000", f"127.0.0.1:{behind}")
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{page}")
    with _running(["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], HOME=str(folder)):
        yield


@contextmanager
def _running(command: list[str], **variables: str) -> Iterator[None]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here")
    process = subprocess.Popen(command, env={"PATH": "/usr/sbin:/usr/bin:/bin", **variables}, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()  # asked kindly, they wait for those who are connected
        process.wait()


async def _until_it_answers(http: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(20):
        while True:
            try:
                return await http.get("/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.05)  # it tells nobody when it listens


@pytest.mark.parametrize("proxy", [nginx, caddy])
async def test_sockets_and_streams_go_through_the_proxies_of_the_page(live: Live, tmp_path: Path, proxy: Proxy):
    port = free_port()
    with proxy(tmp_path, port, live.port):
        trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        url, headers = f"https://localhost:{port}", live.headers()
        async with httpx.AsyncClient(base_url=url, headers=headers, verify=trusting, timeout=20) as http:
            ready = await _until_it_answers(http)
            assert ready.status_code == 200
            assert "strict-transport-security" in ready.headers, "the server does not know that it is https"
            async with (
                websockets.connect(
                    f"wss://localhost:{port}/api/v1/socket",
                    ssl=trusting,
                    subprotocols=[websockets.Subprotocol("syncserver.v1")],
                ) as ws,
                http.stream("GET", "/api/v1/changes/stream") as stream,
            ):
                socket, lines = Socket(ws), stream.aiter_lines()
                await socket.say({**HELLO, "client_id": str(uuid4()), "token": token("ada")})
                await socket.hear_until("welcome")
                await socket.say({"type": "subscribe", "resources": None, "cursor": None})
                await socket.hear_until("ready")
                await _until("event: ready", lines)
                [ack] = await pushed(socket, put("moby-dick"))
                assert ack["status"] == "applied"
                async with asyncio.timeout(10):
                    await _until("event: changes", lines)  # and not when the proxy's buffer is full
            assert (await http.get("/api/v1/progress/moby-dick")).status_code == 200


async def _until(line: str, lines: AsyncIterator[str]) -> None:
    async for found in lines:
        if found == line:
            return
