"""Every setting, once: its name, unit, default and sentence. Read from flags, else from the environment."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from syncserver.core.errors import SetupError

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


def _count(text: str) -> int:
    return _within(int(text), 1, 10_000)


def _seconds(text: str) -> float:
    return _within(float(text), 0.01, 86_400)


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
    database_connections: int = _setting("how many connections the server holds at most", 10, read=_count)
    heartbeat_s: float = _setting("seconds between signs of life on a quiet socket or stream", 15.0, read=_seconds)
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
