"""The command line: what each command is called, and help texts for somebody who is new here."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from syncserver import __version__
from syncserver.app import backups, commands, doctor, follow, settings, signing
from syncserver.core.errors import SyncError

_WHERE = ("data_dir", *signing.SETTINGS)
_DEVICE = ("data_dir", "url", "token", *signing.SETTINGS)
_SIZE = ("workers", "database_connections")
_CHECKED = ("data_dir", "database_url", "owner_url", "postgres_bin", *_SIZE, *signing.SETTINGS)
_DATABASE = ("data_dir", "database_url", "owner_url", "postgres_bin")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; ends the process with 0, or 1 and a sentence on standard error."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is not commands.psql:
        parser.error(f"there is no {rest[0]} here; see --help")
    options.rest = rest
    try:
        options.run(settings.read(vars(options), os.environ), options)
    except SyncError as error:
        print(f"syncserver: {error.detail}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has left
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="syncserver",
        description="Keeps one reader's story in step on every device: progress goes in on one, and comes out on all.",
        epilog="Begin with `syncserver serve`, then in another terminal `syncserver tail --user ada`.",
    )
    parser.add_argument("--version", action="version", version=f"syncserver {__version__}")
    commands_ = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _serve(commands_)
    _migrate(commands_)
    _check(commands_)
    _doctor(commands_)
    _rotate_epoch(commands_)
    _backup(commands_)
    _restore(commands_)
    _psql(commands_)
    _token(commands_)
    _revoke(commands_)
    _tail(commands_)
    _put(commands_)
    return parser


_Commands = Any  # argparse gives this no public name


def _command(
    to: _Commands, name: str, run: Callable[..., None], summary: str, names: Sequence[str], more: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = to.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}".strip()
    )
    parser.set_defaults(run=run)
    settings.add_flags(parser, *names)
    return parser


def _serve(to: _Commands) -> None:
    others = {"owner_url", "url", "token"}
    every = [name for name in settings.Settings.__dataclass_fields__ if name not in others]
    more = (
        "Without a database URL it starts a PostgreSQL of its own in the data folder and keeps it up to date."
        " Each flag can also be given as the environment variable in brackets."
    )
    _command(to, "serve", commands.serve, "run the server until Ctrl-C", every, more)


def _migrate(to: _Commands) -> None:
    more = (
        "The database that comes along is migrated by `serve`; this is for one of your own,"
        " with the URL of a role that may create tables and roles."
    )
    _command(to, "migrate", commands.migrate, "bring a database's tables up to date", _DATABASE, more)


def _check(to: _Commands) -> None:
    more = "Looks at the database, the server's role, triggers and durability. Ends with 1 if something must be mended."
    _command(to, "check", commands.check, "say what is wrong with the set-up, and what to do", _CHECKED, more)


def _doctor(to: _Commands) -> None:
    more = (
        "Holds every row of one reader against the log, and what a client holds against both. Says what each finding"
        " means and what to do; ends with 1 if anything is wrong. Needs the tables' owner, as `migrate` does."
    )
    parser = _command(to, "doctor", doctor.doctor, "look for rows that devices were told wrong", _DATABASE, more)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", help="the reader, for example ada")
    whose.add_argument("--owner", help="the owner as the tables name it, for example user:ada")
    parser.add_argument(
        "--client",
        metavar="FILE",
        help="what a client holds: lines of JSON as `syncserver tail --once --json` prints them; - for standard input",
    )
    parser.add_argument("--mend", action="store_true", help="record a fresh change of each row that is wrong")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def _rotate_epoch(to: _Commands) -> None:
    more = (
        "After a backup was put back: every device fetches everything again, once. Nothing is lost: what a device has"
        " not sent yet, it sends. Servers that run notice by themselves."
    )
    summary = "make every device fetch everything again"
    _command(to, "rotate-epoch", commands.rotate_epoch, summary, _DATABASE, more)


def _backup(to: _Commands) -> None:
    more = "Servers may run meanwhile. Keep the data folder's `secret` beside it, at a place of its own."
    parser = _command(to, "backup", backups.backup, "write the whole database to a file", _DATABASE, more)
    parser.add_argument("file", metavar="FILE", help="a file that is not there yet")


def _restore(to: _Commands) -> None:
    more = (
        "Stop the servers first. What is there now is replaced, all or nothing; then every device fetches everything"
        " again, once, and sends what it had not sent."
    )
    parser = _command(to, "restore", backups.restore, "put a backup in place of the database", _DATABASE, more)
    parser.add_argument("file", metavar="FILE", help="what `syncserver backup` wrote")


def _psql(to: _Commands) -> None:
    more = (
        "Opens psql on the server's database, as the tables' owner. What you change reaches every device."
        " Other arguments are psql's own, for example -c 'SELECT ...'."
    )
    _command(to, "psql", commands.psql, "look into the database with SQL", _DATABASE, more)


def _token(to: _Commands) -> None:
    more = "The token is printed. Whoever holds it reads and writes as that user, so treat it as a password."
    parser = _command(to, "token", commands.token, "make a token for a reader", _WHERE, more)
    parser.add_argument("--user", required=True, help="the reader's name, for example ada")
    parser.add_argument("--days", type=_days, default=_days("365"), help="how long it is good for (default 365)")


def _revoke(to: _Commands) -> None:
    more = (
        "Who came in with it is sent away within a second. `syncserver token` says the id of each token that it makes."
    )
    parser = _command(to, "revoke", commands.revoke, "take back a reader's tokens", _DATABASE, more)
    parser.add_argument("--user", required=True, help="the reader's name, for example ada")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--token-id", type=_token_id, help="the id (`jti`) of one token")
    what.add_argument("--all", action="store_true", help="every token that was issued until now")


def _token_id(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _days(text: str) -> timedelta:
    return timedelta(days=float(text))


def _tail(to: _Commands) -> None:
    more = "One line for each change, with how long it took to get here. Ctrl-C ends it."
    parser = _command(to, "tail", follow.tail, "follow a reader's changes as a device would", _DEVICE, more)
    _as_device(parser, "tail")
    parser.add_argument("--resource", action="append", help="only this kind of row; may be given more than once")
    parser.add_argument("--new", action="store_true", help="leave out what is there already")
    parser.add_argument("--once", action="store_true", help="end when everything that is there was shown")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")


def _put(to: _Commands) -> None:
    more = "Only what you give is changed; the rest of the row stays."
    parser = _command(to, "put", follow.put, "write a reading progress as a device would", _DEVICE, more)
    parser.add_argument("publication", help="the publication's id, for example moby-dick")
    _as_device(parser, "terminal")
    parser.add_argument("--percentage", type=float, help="how far, from 0 to 1")
    parser.add_argument("--position", help="where, in the reader app's own words")
    parser.add_argument("--position-kind", choices=["xpointer", "page", "cfi", "time"], help="what kind of position")
    parser.add_argument("--series", dest="series_id", help="the series that the publication belongs to")
    parser.add_argument("--status", choices=["reading", "finished", "abandoned"])
    parser.add_argument(
        "--at", dest="updated_at", help="when it was read, such as 2026-11-22T08:15:00Z; now if left out"
    )


def _as_device(parser: argparse.ArgumentParser, device: str) -> None:
    parser.add_argument("--user", help="the reader; a token is made with the secret in the data folder")
    parser.add_argument("--device", default=device, help=f"the device's id (default {device})")
