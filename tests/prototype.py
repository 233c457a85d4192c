"""A data folder as the first start of a server leaves it, made once in a process and copied to whoever needs one.

To make a PostgreSQL and to migrate its database takes seconds; a copy of both takes a fraction of one. Tests of the
first start itself take an empty folder instead.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from syncserver.storage import embedded, schema


def lay(folder: Path) -> None:
    """Put a copy into a folder that holds no database yet."""
    subprocess.run(["cp", "-Rp", str(_made() / "postgresql"), str(folder)], check=True)


def binaries() -> embedded.Binaries:
    """Those that the server would find, or those in the folder that a run of the tests names."""
    named = os.environ.get("SYNCSERVER_TEST_POSTGRES_BIN")
    return embedded.find_binaries(Path(named) if named else None)


@cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="syncserver-prototype-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)  # as root, the database runs as another user
    server = embedded.EmbeddedPostgres(folder, binaries=binaries())
    server.start()
    try:
        schema.upgrade(server.owner_url)
    finally:
        server.stop()
    return folder
