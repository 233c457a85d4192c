"""What is logged and how: one line each, never a token, a session id, a name or a position."""

import logging
import logging.config

from syncserver.core.errors import SetupError

_LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log to standard error from `level` up; raises SetupError for a level that is none."""
    if level.lower() not in _LEVELS:
        raise SetupError("There is no such log level.", f"Use one of {', '.join(_LEVELS)}.")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level.upper(), "handlers": ["stderr"]},
            # Request lines hold keys of rows, and uvicorn's own lines say nothing that ours do not.
            "loggers": {
                "uvicorn": {"level": "WARNING"},
                "uvicorn.access": {"level": "CRITICAL"},
                "alembic": {"level": "WARNING"},
                "sqlalchemy": {"level": "WARNING"},
            },
        }
    )
