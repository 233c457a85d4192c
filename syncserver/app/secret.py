"""The secret that signs tokens: made at the first run, readable by its owner alone (mode 0600)."""

import os
import secrets
from pathlib import Path

from syncserver.core.errors import SetupError

_BYTES = 48


def load(folder: Path) -> bytes:
    """The secret of this data folder, made if there is none; raises SetupError where others could read it."""
    path = folder / "secret"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(path)
        mode = path.stat().st_mode & 0o777
        found = path.read_bytes().strip()
    except OSError as error:
        raise SetupError(
            f"The secret in the data folder cannot be used: {error.strerror}.",
            "Name a folder that this user may write, with --data-dir or SYNCSERVER_DATA_DIR.",
        ) from None
    if mode & 0o077:
        raise SetupError("The secret can be read by others.", f"chmod 600 {path}")
    if len(found) < _BYTES:
        raise SetupError("The secret is cut short.", f"Remove {path} and mint new tokens.")
    return found


def _make(path: Path) -> None:
    """Write a new secret whole or not at all, unless there is one: two first runs at once agree on one."""
    if path.exists():
        return
    fresh = path.with_name(f".secret-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_urlsafe(_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # the other one was first
    finally:
        fresh.unlink()
