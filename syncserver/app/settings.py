"""Every setting, once: its name, unit, default and sentence. Read from flags, else from the environment."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from syncserver.core import origin
from syncserver.core.errors import SetupError
from syncserver.core.protocol import JSON_DEPTH
from syncserver.core.values import FRAME_BYTES

PREFIX = "SYNCSERVER_"
_N = TypeVar("_N", int, float)


def default_data_dir() -> Path:
    """Where this kind of system keeps a program's data: of the machine for root, else of the user."""
    if os.geteuid() == 0:
        return Path("/var/lib/syncserver")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "syncserver"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "syncserver"


def _setting(sentence: str, default: Any = MISSING, *, factory: Any = MISSING, read: Callable[[str], Any] = str) -> Any:
    return field(default=default, default_factory=factory, metadata={"sentence": sentence, "read": read})


def _port(text: str) -> int:
    return _within(int(text), 0, 65_535)


def _limit(text: str) -> int:
    return _within(int(text), 0, 1_000_000_000)


def _bytes(text: str) -> int:
    return _within(int(text), 4_096, 64 * 1_048_576)


def _file_bytes(text: str) -> int:
    return _within(int(text), 4_096, 1 << 40)


def _levels(text: str) -> int:
    return _within(int(text), 8, 500)


def _origins(text: str) -> str:
    origin.listed(text)
    return text


def _count(text: str) -> int:
    return _within(int(text), 1, 10_000)


def _workers(text: str) -> int:
    return _within(int(text), 1, 64)


def _seconds(text: str) -> float:
    return _within(float(text), 0.01, 86_400)


def _leeway(text: str) -> float:
    return _within(float(text), 0, 3_600)


def _days(text: str) -> float:
    return _within(float(text), 0.01, 36_500)


def _within(number: _N, least: _N, most: _N) -> _N:
    if not least <= number <= most:  # also for NaN
        raise ValueError(f"between {least} and {most}")
    return number


@dataclass(frozen=True, slots=True)
class Settings:
    """How this server is set up."""

    host: str = _setting("the address to listen on; 0.0.0.0 for every network", "127.0.0.1")
    port: int = _setting("the TCP port to listen on; 0 for any free one", 8000, read=_port)
    data_dir: Path = _setting(
        "the one folder that holds the secret and the database", factory=default_data_dir, read=Path
    )
    database_url: str | None = _setting(
        "a PostgreSQL (15 or newer) of your own, as the server's role; without it the server brings one", None
    )
    owner_url: str | None = _setting("the same database as the role that `migrate` uses and that owns the tables", None)
    postgres_bin: Path | None = _setting(
        "the folder of PostgreSQL programs to use for the database that comes along", None, read=Path
    )
    workers: int = _setting("how many processes share the port: one for each core that is to serve", 1, read=_workers)
    database_connections: int = _setting(
        "how many connections to the database each worker holds at most, besides one that listens, two that write and"
        " four that read the log",
        10,
        read=_count,
    )
    heartbeat_s: float = _setting("seconds between signs of life on a quiet socket or stream", 15.0, read=_seconds)
    kept_s: float = _setting(
        "seconds for which a row that was read alone is kept in memory, if no doorbell rings before",
        900.0,
        read=_seconds,
    )
    kept_bytes: int = _setting(
        "how much memory rows may take that are kept so, in bytes; 0 to keep none", 67_108_864, read=_limit
    )
    sweep_s: float = _setting("seconds between looks for changes whose doorbell was lost", 3.0, read=_seconds)
    presence_s: float = _setting(
        "seconds until a server that vanished counts as gone, with all who were connected to it", 30.0, read=_seconds
    )
    slow_reader_s: float = _setting(
        "seconds that a client may take nothing of what was sent to it before it is cut off", 30.0, read=_seconds
    )
    ledger_days: float = _setting(
        "days that the answer to a write is kept, so that sending it again does nothing twice", 30.0, read=_days
    )
    tombstone_days: float = _setting(
        "days that a removal is remembered; a device away for longer fetches everything again", 90.0, read=_days
    )
    conflict_days: float = _setting("days that a version which lost a conflict can be restored", 90.0, read=_days)
    drain_s: float = _setting("seconds over which many clients are sent away when the server stops", 5.0, read=_seconds)
    handshake_s: float = _setting(
        "seconds within which the head of a request has to come, and the hello of a socket", 10.0, read=_seconds
    )
    body_s: float = _setting("seconds within which the body of a request has to come", 30.0, read=_seconds)
    frame_bytes: int = _setting("how large a frame or a body may be, in bytes", FRAME_BYTES, read=_bytes)
    import_bytes: int = _setting(
        "how large the files of one import may be together, in bytes", 268_435_456, read=_file_bytes
    )
    json_depth: int = _setting(
        "how many levels deep the JSON of a frame or body may be nested", JSON_DEPTH, read=_levels
    )
    sockets_per_owner: int = _setting(
        "sockets that one reader may have open at once; 0 for any number", 50, read=_limit
    )
    streams_per_owner: int = _setting(
        "streams and long-polls that one reader may have open at once; 0 for any number", 20, read=_limit
    )
    connections_per_address: int = _setting(
        "sockets, streams and long-polls that may come from one address at once; 0 for any number", 500, read=_limit
    )
    frames_per_s: int = _setting(
        "frames that one socket may send in a second for good, and four times as many at once; 0 for any number",
        50,
        read=_limit,
    )
    mutations_per_s: int = _setting(
        "mutations that one reader may send in a second for good, and ten times as many at once; 0 for any number",
        500,
        read=_limit,
    )
    requests_per_s: int = _setting(
        "requests that one reader may make in a second for good, and four times as many at once; 0 for any number",
        500,
        read=_limit,
    )
    rows_per_owner: int = _setting("rows that one reader may have; 0 for any number", 1_000_000, read=_limit)
    tickets_per_minute: int = _setting("tickets that one reader may get in a minute; 0 for any number", 60, read=_limit)
    wrong_keys_per_minute: int = _setting(
        "wrong tokens and tickets that one address may show in a minute; 0 for any number", 30, read=_limit
    )
    sessions_per_minute: int = _setting(
        "anonymous sessions that one address may begin in a minute; 0 for any number", 1_000, read=_limit
    )
    trusted_proxies: str = _setting(
        "the addresses of proxies, separated by commas, that are believed when they say from where a request comes;"
        " none for none",
        "127.0.0.1",
    )
    origins: str = _setting(
        "of which web pages browsers may speak to the server, as https://books.example, separated by commas; * for all;"
        " pages of its own host always may",
        "",
        read=_origins,
    )
    token_secret_file: Path | None = _setting(
        "a file with the secret (32 bytes or more) that readers' tokens are signed with, in place of the data folder's",
        None,
        read=Path,
    )
    token_key_file: Path | None = _setting(
        "a file with the public keys (PEM: RSA, P-256 or Ed25519) of whoever signs readers' tokens", None, read=Path
    )
    token_jwks_url: str | None = _setting(
        "where an identity provider publishes the public keys of readers' tokens (a JWK set)", None
    )
    token_jwks_s: float = _setting("seconds between looks at the published keys", 600.0, read=_seconds)
    token_issuer: str | None = _setting("the issuer (`iss`) that readers' tokens have to name", None)
    token_audience: str | None = _setting("the audience (`aud`) that readers' tokens have to be for", None)
    token_leeway_s: float = _setting("seconds by which the clock of whoever signs may be off", 30.0, read=_leeway)
    token_required: str = _setting(
        "claims that readers' tokens have to hold besides those that are needed, separated by commas", ""
    )
    token_subject: str = _setting("the claim of readers' tokens that names the reader", "sub")
    cookie: str | None = _setting(
        "the name of a cookie that may hold the token where no header does, for pages of the server's own site", None
    )
    log_level: str = _setting("debug, info, warning or error", "info")
    url: str = _setting("where the server is that tail and put speak to", "http://127.0.0.1:8000")
    token: str | None = _setting("the token that tail and put show where no --user is named", None)


def add_flags(parser: argparse.ArgumentParser, *names: str) -> None:
    """A flag for each of these settings (none named: all), with its sentence, variable and default."""
    for f in fields(Settings):
        if names and f.name not in names:
            continue
        default = default_data_dir() if f.name == "data_dir" else f.default
        shown = "none" if default is None else default
        parser.add_argument(
            "--" + f.name.replace("_", "-"),
            metavar=f.name.split("_")[-1].upper(),
            help=f"{f.metadata['sentence']} [{PREFIX}{f.name.upper()}, default {shown}]",
        )


def read(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, else the environment, else defaults; raises SetupError for a value that is none."""
    given: dict[str, Any] = {}
    for f in fields(Settings):
        value = flags.get(f.name) or environment.get(PREFIX + f.name.upper())
        if value:
            try:
                given[f.name] = f.metadata["read"](value)
            except ValueError:
                raise SetupError(
                    f"{PREFIX}{f.name.upper()} (--{f.name.replace('_', '-')}) cannot be {value!r}.",
                    f"It is {f.metadata['sentence']}.",
                ) from None
    return Settings(**given)
