"""The files from which the generator knows what each connection says (see load/sockets.c and load/polls.c)."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from tests.bench.product import Product

SOCKET = "/api/v1/socket"
_SUBPROTOCOL = "syncserver.v1"


@contextmanager
def file(lines: Iterable[str]) -> Iterator[Path]:
    """These lines in a file, as long as this is open."""
    with tempfile.NamedTemporaryFile("w", prefix="syncserver-bench-", suffix=".script") as script:
        script.writelines(f"{line}\n" for line in lines)
        script.flush()
        yield Path(script.name)


def device(token: str, channel: int, name: str, cursor: str | None = None, *, subscribes: bool = True) -> str:
    """A device that says hello and, unless told otherwise, follows from a cursor until it is ready."""
    hello = {
        "type": "hello",
        "token": token,
        "device": {"id": name},
        "client_id": f"{name}-{channel}",
        "sent_at": datetime.now(UTC).isoformat(),
        "protocol": [1, 1],
    }
    steps = [f">{_text(hello)}"]
    if subscribes:
        steps += [f">{_text({'type': 'subscribe', 'resources': None, 'cursor': cursor})}", '?"type":"ready"']
    else:
        steps += ['?"type":"welcome"']
    return "\t".join([SOCKET, _SUBPROTOCOL, str(channel), *steps])


def devices(product: Product, owners: Sequence[str], names: Sequence[str] = ("phone",)) -> Iterator[str]:
    """So many devices of each owner, which all follow from nothing."""
    for channel, owner in enumerate(owners):
        token = product.token(owner)
        yield from (device(token, channel, name) for name in names)


def _text(frame: Mapping[str, object]) -> str:
    return orjson.dumps(frame).decode()
