"""What gets into the log: our own lines at the level that was set, and of nobody's lines what is a reader's own."""

import asyncio
import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from syncserver.app import wiring
from syncserver.app.logging import configure, discreet
from syncserver.core.errors import SetupError
from syncserver.engine import tokens
from syncserver.storage.database import Database, RefusedError
from tests.harness import SECRET, Live, Urls, token
from tests.transports.sockets import HELLO, greeted, pushed, put, raw

LIBRARIES = ("uvicorn", "uvicorn.error", "websockets", "websockets.server", "httpx", "sqlalchemy.engine", "anything")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging is the process's own: give it back."""
    names = [None, "syncserver", *(name for name in logging.root.manager.loggerDict)]
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
    assert logging.getLogger("syncserver").level == getattr(logging, level.upper())


@pytest.mark.parametrize("level", ["", "loud", "critical", "10"])
def test_any_other_level_is_refused_with_those_there_are(level: str):
    with pytest.raises(SetupError) as refused:
        configure(level)
    assert "debug, info, warning, error" in refused.value.advice


def test_request_lines_which_hold_keys_are_never_logged(capsys: pytest.CaptureFixture[str]):
    configure("debug")
    logging.getLogger("uvicorn.access").error("GET /api/v1/progress/moby-dick")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_of_libraries_only_warnings_are_taken_whatever_the_level(level: str, capsys: pytest.CaptureFixture[str]):
    configure(level)
    for name in LIBRARIES:
        logging.getLogger(name).info("GET /api/v1/changes/stream?ticket=abc")
        logging.getLogger(name).debug("< TEXT hello")
    assert capsys.readouterr().err == ""
    logging.getLogger("uvicorn.error").error("it broke")
    assert "it broke" in capsys.readouterr().err


KEY = token("gooseberry")
SESSION = uuid4()
VISITOR = tokens.mint_session(SECRET, SESSION, wiring.now())


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {KEY}", KEY),
        (f"bad token {KEY[:60]} here", KEY[:60]),
        (f'{{"token": "{VISITOR}"}}', VISITOR),
        ("GET /stream?ticket=R0YLEG7OWJR95O3-Mn3k HTTP/1.1", "R0YLEG7OWJR95O3"),
        ("?cursor=ab.cd.12&resources=progress", "ab.cd.12"),
        (f"owner session:{SESSION} is gone", str(SESSION)),
        (f"DELETE /api/v1/sessions/{SESSION}", str(SESSION)),
        (f"DELETE /api/v1/sessions/{SESSION.hex}", SESSION.hex),
        ("GET /api/v1/progress/moby-dick?x=1", "moby-dick"),
        ("user:gooseberry has no row", "gooseberry"),
        ("('user:gooseberry', 'moby-dick')", "gooseberry"),
        ('invalid input syntax for type uuid: "moby-dick"', "moby-dick"),
        ("it failed\nDETAIL:  Key (owner, key)=(ada, moby-dick) already exists.", "moby-dick"),
        ('x\nCONTEXT:  unnamed portal parameter $1 = "moby-dick"\n[SQL: SELECT 1]', "moby-dick"),
        ("x\nLINE 1: SELECT 'moby-dick'::int\n               ^", "moby-dick"),
    ],
    ids=lambda _: "",
)
def test_what_came_too_far_is_left_out_of_the_line(text: str, secret: str, capsys: pytest.CaptureFixture[str]):
    configure("info")
    logging.getLogger("anything").warning("it said: %s", text)
    said = capsys.readouterr().err
    assert "it said" in said
    assert secret not in said


def test_what_does_no_harm_stays():
    line = "a client's rows differ from the log: progress 3 of 5; 12:30:45; port 8000; SQLSTATE 23505; user: none"
    assert discreet(line) == line


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["ada", "Ada-1", "a@b.example"]))
def test_no_token_gets_through_whatever_stands_around_it(before: str, after: str, user: str):
    key = tokens.mint(SECRET, user, wiring.now(), wiring.now() - wiring.now())
    said = discreet(f"{before} {key} {after}")
    assert key.split(".")[1] not in said
    assert key.split(".")[2] not in said


async def test_what_the_database_repeats_of_a_row_is_not_in_the_traceback(
    database: Urls, capsys: pytest.CaptureFixture[str]
):
    """PostgreSQL repeats it to a role that row-level security does not hold, as an operator's may be."""
    configure("debug")
    owner = Database(database.owner)
    wrong = sa.text(
        "INSERT INTO reading_progress (owner, publication_id, percentage, position, position_kind, updated_at)"
        " VALUES (:owner, :key, 7, :position, 'cfi', now())"
    )
    row = {"owner": "user:gooseberry", "key": "moby-dick", "position": "first\n\nsecond"}
    try:
        async with owner.transaction([]) as connection:
            await connection.execute(wrong, row)
    except RefusedError:
        logging.getLogger("syncserver").exception("it broke")
    await owner.close()
    said = capsys.readouterr().err
    assert "violates check constraint" in said
    assert not [word for word in ("gooseberry", "moby", "first\n", "second", "DETAIL") if word in said]


async def test_at_every_level_a_busy_server_logs_nothing_of_its_readers(live: Live, capsys: pytest.CaptureFixture[str]):
    configure("debug")
    logging.getLogger("syncserver").debug("begun")
    key, cut = token("gooseberry"), token("gooseberry")[:-3]
    ticket = await live.parts.house.tickets.issue(await live.parts.keys.by_token(key))
    async with greeted(live, token=key) as socket, raw(live) as other:
        await pushed(socket, put("moby-dick", data={"percentage": 0.5, "position": "chapter-9"}), put("", data=1))
        await other.say({**HELLO, "token": cut})
        assert await other.closed() == 4501
    async with raw(live) as socket:
        await socket.raw.send(b"\xff\xfe")
        await socket.raw.send('{"type": "hello", "token": "' + key)
        assert await socket.closed() == 4500
    async with httpx.AsyncClient(base_url=live.url) as http:
        with suppress(httpx.ReadTimeout):
            await http.get("/api/v1/changes/stream", params={"ticket": ticket}, timeout=0.2)
        await http.get("/api/v1/changes/stream", params={"ticket": ticket, "cursor": "moby"})
        await http.get("/api/v1/progress", params={"token": key})
        for path in ("/api/v1/progress/moby-dick", f"/api/v1/sessions/{SESSION}/validate", "/api/v1/nothing/moby-dick"):
            await http.get(path, headers={"Authorization": f"Bearer {VISITOR}"})
    await _rubbish(live)
    said = capsys.readouterr().err
    assert "begun" in said
    secrets = (key, cut, key.split(".")[2], VISITOR, str(SESSION), ticket, "gooseberry", "moby", "chapter-9")
    assert not [secret for secret in secrets if secret in said]


async def _rubbish(live: Live) -> None:
    """A request that is none, as far as a server reads it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(b"GET /api/v1/progress/moby-dick?ticket=gooseberry HTTP/9.9\r\nHost moby\r\n\r\n")
    await reader.read()
    writer.close()


def test_an_exception_of_somebody_else_s_is_cut_too():
    stream = io.StringIO()
    configure("info")
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    try:
        raise ValueError(f"no such owner: session:{SESSION}")  # noqa: TRY301 - somebody else's
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    handler.setStream(sys.stderr)
    assert "no such owner: session:[left out]" in stream.getvalue()
