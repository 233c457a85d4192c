"""An identity provider: a real HTTP server that publishes keys and signs tokens, and that can be as bad as any."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://id.example"
KINDS = ("RS256", "ES256", "EdDSA")
_TO_JWK: dict[str, Callable[[Any], Any]] = {
    "RS256": lambda key: RSAAlgorithm.to_jwk(key, as_dict=True),
    "ES256": lambda key: ECAlgorithm.to_jwk(key, as_dict=True),
    "EdDSA": lambda key: OKPAlgorithm.to_jwk(key, as_dict=True),
}


def private(algorithm: str, number: int = 0) -> Any:
    """The same private key for the same kind and number, as making one takes its time."""
    return _private(algorithm, number)


@cache
def _private(algorithm: str, number: int) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048 + number * 8)
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> bytes:
    """The public half as a PEM file holds it."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text


def jwk(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """The public half as an entry of a JWK set; a field set to None is left out."""
    entry = {**_TO_JWK[algorithm](private(algorithm, number).public_key()), "alg": algorithm, "use": "sig", **more}
    return {name: value for name, value in entry.items() if value is not None}


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims of ada's, for an hour; one that is set to None is left out."""
    now = datetime.now(UTC)
    made = {"sub": "ada", "iss": ISSUER, "iat": now, "exp": now + timedelta(hours=1), "jti": "t1", **changed}
    return {name: value for name, value in made.items() if value is not None}


class Provider:
    """Publishes `keys` (kid to kind and number) at `url`. `answered` may be replaced by something worse.

    `asked`: how many requests came. `open`: requests wait until it is set.
    """

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, int]] = {"one": ("RS256", 0)}
        self.asked = 0
        self.came = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""
        self.port = 0
        self.answered: Callable[[], AsyncIterator[bytes]] = self.published
        self._server: asyncio.Server | None = None

    def token(self, kid: str = "one", **changed: Any) -> str:
        """A token of its own, signed by one of its keys."""
        algorithm, number = self.keys[kid]
        return jwt.encode(claims(**changed), private(algorithm, number), algorithm=algorithm, headers={"kid": kid})

    async def published(self) -> AsyncIterator[bytes]:
        """What a good one answers."""
        entries = [jwk(*key, kid=kid) for kid, key in self.keys.items()]
        yield whole(json.dumps({"keys": entries}).encode())

    async def start(self) -> None:
        """Answer, at the same address as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/keys"

    async def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            self.came.set()
            await self.open.wait()
            async for chunk in self.answered():
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """A provider that answers, until the end."""
    provider = Provider()
    await provider.start()
    try:
        yield provider
    finally:
        provider.open.set()
        await provider.stop()


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer from its first line to its end."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def saying(body: bytes, status: str = "200 OK", *headers: str) -> Callable[[], AsyncIterator[bytes]]:
    """For `answered`: always this."""

    async def answered() -> AsyncIterator[bytes]:
        yield whole(body, status, *headers)

    return answered


async def endless() -> AsyncIterator[bytes]:
    """For `answered`: an answer without an end."""
    yield b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"keys": ["'
    for _ in itertools.repeat(None):
        yield b"x" * 65_536
