"""What the operator's commands do: serve, migrate, check, rotate-epoch, psql, token, revoke."""

import argparse
import gc
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from shutil import which
from uuid import uuid4

from syncserver import resources
from syncserver.app import databases, owning, secret, server, signing, wiring, workers
from syncserver.app.logging import configure
from syncserver.app.settings import Settings
from syncserver.core.actor import user_owner
from syncserver.core.errors import SetupError
from syncserver.storage import checks, revocations, schema, upkeep
from syncserver.storage.database import Database


def serve(settings: Settings, _: argparse.Namespace) -> None:
    """Run the server until it is asked to stop."""
    configure(settings.log_level)
    key = secret.load(settings.data_dir)
    signing.trusted(settings, key)  # before the database is started for nothing
    with ExitStack() as stack:
        listeners = stack.enter_context(server.listening(settings.host, settings.port, settings.workers))
        urls = stack.enter_context(databases.ready(settings))
        host, port = listeners[0].getsockname()[:2]

        def ready() -> None:
            print(f"syncserver is ready on http://{host}:{port} (Ctrl-C ends it)", flush=True)

        if settings.workers > 1:
            gc.collect()
            gc.freeze()  # before they are forked: no collector of theirs walks, and so copies, what they share
            workers.Workers(settings, urls.server, key, listeners).run(ready)
        else:
            parts = wiring.Parts(settings, urls.server, key)
            server.run(server.Server(wiring.application(parts), settings, started=ready), listeners[0])


def migrate(settings: Settings, _: argparse.Namespace) -> None:
    """Bring the database up to date."""
    with databases.opened(settings) as urls:
        try:
            schema.upgrade(urls.owner)
        except schema.Refused as error:
            raise SetupError(
                f"The database could not be migrated: {error}",
                "See that it can be reached, and that the role in SYNCSERVER_OWNER_URL may create tables and roles.",
            ) from None
    print(f"The database is at migration {schema.newest()}.")


def check(settings: Settings, _: argparse.Namespace) -> None:
    """Say what was found, line by line; ends with 1 if the server could not start."""
    print(f"ok    sign-in: {signing.described(settings)}")
    fatal = False
    with databases.opened(settings) as urls:
        for finding in checks.examine(urls.server, resources.catalog(), databases.connections(settings)):
            mark = "ok  " if finding.ok else "BAD " if finding.fatal else "warn"
            print(f"{mark}  {finding.subject}: {finding.detail}")
            if not finding.ok:
                print(f"      What to do: {finding.advice}")
                fatal = fatal or finding.fatal
    if fatal:
        sys.exit(1)
    print("Ready to serve.")


def rotate_epoch(settings: Settings, _: argparse.Namespace) -> None:
    """Give the log a new identity, and say what follows from it."""

    async def work(database: Database) -> str:
        async with database.transaction([]) as connection:
            return await upkeep.rotate_epoch(connection)

    epoch = owning.run(settings, work)
    print(f"The log's epoch is {epoch} now.")
    print(
        "Every device drops what it holds and fetches everything again, once: those that are connected at the next"
        " sweep of their server (seconds from now), the others when they come back."
    )
    print("Nothing is lost: what a device has not sent yet, it sends then.")


def psql(settings: Settings, options: argparse.Namespace) -> None:
    """Open psql on the database as its owner; ends as psql does."""
    with databases.opened(settings) as urls:
        program = urls.psql or which("psql")
        if program is None:
            raise SetupError("There is no psql on this machine.", "Install PostgreSQL's client programs.")
        ended = subprocess.run([program, urls.owner, *options.rest], check=False, env=os.environ)  # noqa: S603 - ours
    sys.exit(ended.returncode)


def token(settings: Settings, options: argparse.Namespace) -> None:
    """Print a token; and its id beside it, for whoever may have to take it back."""
    token_id = str(uuid4())
    print(signing.minting(settings)(options.user, wiring.now(), options.days, token_id), flush=True)
    print(
        f"To take it back: syncserver revoke --user {shlex.quote(options.user)} --token-id {token_id}", file=sys.stderr
    )


def revoke(settings: Settings, options: argparse.Namespace) -> None:
    """Take back a token, or all of a reader's; servers that run notice at once."""
    owner = user_owner(options.user)

    async def work(database: Database) -> None:
        async with database.transaction([owner]) as connection:
            if options.token_id is None:
                await revocations.revoke_all(connection, owner)
            else:
                await revocations.revoke(connection, owner, options.token_id)

    owning.run(settings, work)
    which = "Every token that was issued until now" if options.token_id is None else "The token"
    print(f"{which} is taken back; who came in with it is sent away.")
