"""What is logged and how: one line each, never a token, a session id, a name or a position.

Nothing here writes such a thing. But errors repeat what they choke on, PostgreSQL's above all, and libraries log whole
requests; so those are cut, and only warnings are taken from anybody else, whatever level is set.
"""

import logging
import logging.config
import re

from syncserver.core.errors import SetupError

_LEVELS = ("debug", "info", "warning", "error")
_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_REPEATED = re.compile(
    r"\n(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE|LINE \d+):.*?"
    r"(?=\n\[SQL|\n\[parameters|\n\(Background|\n\n|\n *\|? *File |\n *\|? *Traceback |\Z)",
    re.DOTALL,
)
"""What PostgreSQL adds to an error: the row or the text that it is about."""

_SECRETS = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r'(?<=: )"(?:[^"\n]|"")*"$|(?<= value )"[^"\n]*"', '"[left out]"'),  # invalid input syntax for ..: "moby-dick"
        (r"eyJ[\w-]{4,}(?:\.[\w-]*){0,2}", "[token]"),
        (r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+", r"\1 [token]"),
        (r"(?i)\b(ticket|token|access_token|cursor|authorization|cookie)(\"?[=:] ?\"?)[^\s&\"']+", r"\1\2[left out]"),
        (r"\b(user|session):[^\s,;)\]}'\"|]+", r"\1:[left out]"),
        (r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", "[id]"),
        (r"(/api/v\d+/[a-z-]+/)[^\s?\"']+", r"\1[left out]"),
    )
)


class Discreet(logging.Formatter):
    """Leaves out of a line, and of the traceback below it, what should not have come so far."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without it."""
        return discreet(super().format(record))


def discreet(text: str) -> str:
    """The text without tokens, owners, ids, keys in paths, and what PostgreSQL repeats of a row."""
    text = _REPEATED.sub("", text)
    for pattern, put in _SECRETS:
        text = pattern.sub(put, text)
    return text


def configure(level: str) -> None:
    """Log to standard error from `level` up; raises SetupError for a level that is none."""
    if level.lower() not in _LEVELS:
        raise SetupError("There is no such log level.", f"Use one of {', '.join(_LEVELS)}.")
    ours = level.upper()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": Discreet, "format": _LINE}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            # Libraries log requests, frames, statements and addresses below a warning.
            "root": {"level": "ERROR" if ours == "ERROR" else "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "syncserver": {"level": ours},
                # Each sets its own level where it has none of its own, or is asked to by its environment.
                **{name: {"level": "WARNING"} for name in _LOUD},
                # Request lines hold keys of rows, and uvicorn's own lines say nothing that ours do not.
                "uvicorn.access": {"level": "CRITICAL"},
            },
        }
    )


_LOUD = ("uvicorn", "uvicorn.error", "websockets", "httpx", "httpcore", "asyncio", "alembic", "sqlalchemy", "psycopg")
