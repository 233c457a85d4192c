"""What `backup` and `restore` do: the whole database in one file, and from it again, with a new epoch.

The secret is not in it: whoever has the file could otherwise sign tokens.
"""

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from syncserver.app import commands, databases
from syncserver.app.databases import Urls
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.storage import schema

_ADVICE = (
    "See that the database can be reached and the file is whole. In a PostgreSQL of your own only a superuser can do"
    " this: row-level security holds for the tables' owner, too."
)


def backup(settings: Settings, options: argparse.Namespace) -> None:
    """Write one consistent snapshot to a new file that only its owner may read; servers may run meanwhile."""
    file = Path(options.file)
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise SetupError(f"{file} cannot be written: {error.strerror}.", "Name a file that is not there yet.") from None
    try:
        with databases.opened(settings) as urls:
            _run(urls, "pg_dump", ["--format=custom", "--no-unlogged-table-data", f"--file={file}", urls.owner])
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    print(f"{file} holds every reader's rows: keep it as you keep the database. The secret is not in it.")


def restore(settings: Settings, options: argparse.Namespace) -> None:
    """Put the database of a backup in place of what there is, all or nothing, then migrate it and rotate its epoch."""
    file = Path(options.file)
    if not file.is_file():
        raise SetupError(f"There is no file {file}.", "Name one that `syncserver backup` wrote.")
    with databases.opened(settings) as urls:
        whole = ["--clean", "--if-exists", "--single-transaction", "--exit-on-error"]
        _run(urls, "pg_restore", [*whole, f"--dbname={urls.owner}", str(file)])
        schema.upgrade(urls.owner)
    commands.rotate_epoch(settings, options)


def _run(urls: Urls, name: str, arguments: Sequence[str]) -> None:
    """Run one of PostgreSQL's programs; raises SetupError with what it said."""
    beside = urls.psql and urls.psql.with_name(name)
    program = beside or which(name)
    if program is None:
        raise SetupError(f"There is no {name} on this machine.", "Install PostgreSQL's client programs.")
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)  # noqa: S603 - ours
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["it did not say why"]
        raise SetupError(f"{name} failed: {said[0]}", _ADVICE)
