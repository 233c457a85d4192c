"""What a device does, in a terminal: `tail` follows a reader's changes, `put` writes a progress."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
import syncserver_client
from syncserver_client import Change, Client

from syncserver.app import signing, wiring
from syncserver.app.settings import Settings
from syncserver.core import clock
from syncserver.core.errors import Invalid, SetupError, Unauthorised, Unavailable

_WRITTEN = ("percentage", "position", "position_kind", "series_id", "status")
_PATIENCE_S = 10
_TOKEN_LIFE = timedelta(days=1)


def tail(settings: Settings, options: argparse.Namespace) -> None:
    """Print changes until Ctrl-C, or until nobody reads the output."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_interrupted(_tail(settings, options)))


def put(settings: Settings, options: argparse.Namespace) -> None:
    """Write, and say what became of it."""
    fields = {name: getattr(options, name) for name in _WRITTEN if getattr(options, name) is not None}
    if not fields:
        raise Invalid("Nothing to write: give at least one of --percentage, --position, --series and --status.")
    try:
        asyncio.run(_put(settings, options, fields))
    except TimeoutError:
        raise Unavailable("The server does not answer: see that it runs, and that --url is right.") from None
    except ValueError as error:
        raise Invalid(str(error)) from None


def _token(settings: Settings, options: argparse.Namespace) -> Callable[[], str]:
    """What gives a token at each connect: a new one for the user, or the one that was named."""
    if options.user:
        mint = signing.minting(settings)
        return lambda: mint(options.user, wiring.now(), _TOKEN_LIFE, None)
    if settings.token is None:
        raise Unauthorised("Who is reading? Give --user NAME, or --token.")
    named = settings.token
    return lambda: named


async def _until_interrupted(work: Awaitable[None]) -> None:
    """Run it until it ends or somebody presses Ctrl-C."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    await task


def _connect(
    settings: Settings, options: argparse.Namespace, **more: Any
) -> contextlib.AbstractAsyncContextManager[Client]:
    token = _token(settings, options)
    return syncserver_client.connect(settings.url, token, device=options.device, app="syncserver", **more)


async def _tail(settings: Settings, options: argparse.Namespace) -> None:
    with _explained():
        async with _connect(settings, options, resources=options.resource) as client:
            states = asyncio.create_task(_tell_states(client))
            try:
                await client.ready()
                await _print_all(client, options)
            finally:
                states.cancel()


async def _print_all(client: Client, options: argparse.Namespace) -> None:
    """What is there already, then what comes; with --once only the first."""
    held = max((row.offset for row in client.rows.values()), default=0)
    async with client.subscribe(initial=not options.new) as changes:
        if options.once:
            changes.end()
        async for change in changes:
            print(_as_json(change) if options.json else _line(change, live=change.offset > held), flush=True)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """The client's errors as ours, with what to do."""
    try:
        yield
    except syncserver_client.Fatal as error:
        raise SetupError(
            f"The server will not have us: {error}", "See that the token is one of this server's."
        ) from None
    except syncserver_client.Offline:
        raise Unavailable("The server does not answer: see that it runs, and that --url is right.") from None
    except syncserver_client.Rejected as error:
        raise Invalid(str(error)) from None


async def _tell_states(client: Client) -> None:
    """Say on standard error how the changes come, each time that it changes."""
    async for state in client.states():
        print(f"-- {state.name.lower()}", file=sys.stderr, flush=True)


def _line(change: Change, *, live: bool) -> str:
    """One change for people: when, which row, what it says, from which device, after how long."""
    arrived = change.received_at.astimezone().strftime("%H:%M:%S")
    if change.value is None:
        said = "removed"
    else:
        said = " ".join(f"{name}={_short(change.value[name])}" for name in _shown(change.value))
    delay = f"{_milliseconds(change.updated_at, change.received_at)} ms" if live else "already there"
    return f"{arrived}  {change.resource} {change.key}  {said}  (from {change.device_id or 'the database'}, {delay})"


def _shown(value: dict[str, Any]) -> list[str]:
    return [name for name in (*_WRITTEN, "furthest") if value.get(name) is not None]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - what a line has room for


def _milliseconds(written: datetime, received: datetime) -> int:
    return round((received - written) / timedelta(milliseconds=1))


def _as_json(change: Change) -> str:
    shown = {
        "resource": change.resource,
        "key": change.key,
        "op": change.op,
        "offset": change.offset,
        "device_id": change.device_id,
        "updated_at": clock.write(change.updated_at),
        "received_at": clock.write(change.received_at),
        "value": change.value,
    }
    return orjson.dumps(shown).decode()


async def _put(settings: Settings, options: argparse.Namespace, fields: dict[str, Any]) -> None:
    """Patch the row, or put a new one. With a time of its own the write is one that did not know the row."""
    at = clock.read(options.updated_at) if options.updated_at else None
    base = None if at else syncserver_client.MIRRORED
    with _explained():
        async with _connect(settings, options, resources=["progress"], timeout_s=10) as client:
            async with asyncio.timeout(_PATIENCE_S):
                await client.ready()
            held = ("progress", options.publication) in client.rows
            write = client.patch if held else client.put
            ack = await write("progress", options.publication, fields, base=base, updated_at=at)
    _say(ack)


def _say(ack: syncserver_client.Ack) -> None:
    if ack.row is None:
        print(f"{ack.status} (offset {ack.offset})")
        return
    value = ack.row.value or {}
    said = " ".join(f"{name}={_short(value[name])}" for name in _shown(value)) or "removed"
    print(f"{ack.status}: a newer write of {ack.row.device_id or 'the database'} won: {said}")
