import logging
import re
from collections.abc import Iterator

import pytest

from syncserver.app.logging import configure
from syncserver.core.errors import SetupError


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging is the process's own: give it back."""
    names = (None, "uvicorn", "uvicorn.access", "alembic", "sqlalchemy")
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    root, held = logging.getLogger(), logging.getLogger().handlers[:]
    yield
    root.handlers[:] = held
    for logger, level in before:
        logger.setLevel(level)


def test_a_line_goes_to_standard_error_with_time_level_and_name(capsys: pytest.CaptureFixture[str]):
    configure("info")
    logging.getLogger("syncserver.test").info("began")
    logging.getLogger("syncserver.test").debug("too small")
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \S+ INFO    syncserver\.test: began\n", said.err)


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning", "error"])
def test_the_level_is_one_of_four_in_any_case(level: str):
    configure(level)
    assert logging.getLogger().level == getattr(logging, level.upper())


@pytest.mark.parametrize("level", ["", "loud", "critical", "10"])
def test_any_other_level_is_refused_with_those_there_are(level: str):
    with pytest.raises(SetupError) as refused:
        configure(level)
    assert "debug, info, warning, error" in refused.value.advice


def test_request_lines_which_hold_keys_are_never_logged(capsys: pytest.CaptureFixture[str]):
    configure("debug")
    logging.getLogger("uvicorn.access").error("GET /api/v1/progress/moby-dick")
    assert capsys.readouterr().err == ""
