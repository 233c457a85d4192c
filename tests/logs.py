"""What servers log while the tests run, in this process and in those that it starts; and what no log may show.

All of it is kept in files of the run. At the end they are searched: for tokens, tickets, anything like the id of a
session, owners, where somebody reads, and lines of requests.
"""

import logging
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from syncserver.app.logging import discreet

NEVER: Mapping[str, re.Pattern[str]] = {
    "a token": re.compile(r"eyJ[\w-]{4,}|\b(?=[\w.-]*\d)[\w-]{10,}\.[\w-]{10,}\.[\w-]{20,}"),
    "a ticket": re.compile(r"ticket=(?!\[)\S"),
    "an id": re.compile(r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
    "an owner": re.compile(r"\b(?:user|session):(?!\[)[^\s\"'`<]"),
    "a position": re.compile(r"epubcfi\(|/body/\w|percentage\W{1,4}\d|otalProgression|\.xhtml|moby-dick|xpointer(?!')"),
    "a line of a request": re.compile(r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) /[\w/]*[^\s\w/.]|/api/v1/\S*\?"),
}
"""What must not be in a line of a log, by what it is. The words of positions are those that the tests write."""

_PRETENDED = ("anything", "syncserver.test")
"""Loggers of tests of the log itself, which say what nobody else may."""

_SHOWN = 20
_numbers = count(1)
_folder: Path | None = None


@contextmanager
def kept() -> Iterator[None]:
    """Keep everything from now on; the files go at the end."""
    global _folder  # noqa: PLW0603 - one run, one folder, known to whoever starts a process in it
    _folder = Path(tempfile.mkdtemp(prefix="syncserver-logs-"))
    make = logging.getLogRecordFactory()
    with (_folder / "this-process").open("a", encoding="utf-8", errors="backslashreplace") as out:
        logging.setLogRecordFactory(_heard(make, out))
        try:
            yield
        finally:
            logging.setLogRecordFactory(make)
            shutil.rmtree(_folder)
            _folder = None


def _heard(make: Any, out: IO[str]) -> Any:
    """Makes records, and keeps what the server's log would show of each: no set-up of handlers can lose one."""

    def heard(*arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = make(*arguments, **named)
        if record.levelno >= least(record.name) and record.name not in _PRETENDED:
            print(_line(record), file=out, flush=True)
        return record

    return heard


def least(name: str) -> int:
    """From which level on the server's log would take a record of this logger, where it takes most."""
    if name.startswith("syncserver"):
        return logging.DEBUG
    return logging.CRITICAL if name == "uvicorn.access" else logging.WARNING


def _line(record: logging.LogRecord) -> str:
    """Ours as it was said: nothing of ours should need to be cut. Of others, and of errors, what is left after that."""
    ours = record.name.startswith("syncserver.")
    said = record.getMessage()
    error = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
    return f"{record.name}: {said if ours else discreet(said)} {discreet(error)}"


def file() -> IO[bytes] | None:
    """A new file of the run, for the standard error of a server; None where nothing is kept."""
    return (_folder / f"process-{next(_numbers)}").open("ab") if _folder else None


def keep(log: Path) -> None:
    """Take over a log that a server wrote elsewhere."""
    if _folder and log.exists():
        shutil.copyfile(log, _folder / f"process-{next(_numbers)}")


def leaks() -> list[str]:
    """The lines of this run's files that show what they must not, each with what it is."""
    if _folder is None:
        return []
    return [leak for path in sorted(_folder.iterdir()) for leak in _in(path)]


def _in(path: Path) -> Iterator[str]:
    for line in path.read_text(errors="backslashreplace").splitlines():
        if what := [name for name, pattern in NEVER.items() if pattern.search(line)]:
            yield f"{' and '.join(what)} in {path.name}: {line[:300]}"


def complaint(found: list[str]) -> str:
    """What a run says that fails because of them."""
    more = f"\n.. and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "The log shows what it must never show:\n" + "\n".join(found[:_SHOWN]) + more
