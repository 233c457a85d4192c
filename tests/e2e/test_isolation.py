"""Nobody reaches into another's house: over every route and frame, and with the checks in Python switched off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver import resources
from syncserver.app import wiring
from syncserver.storage.database import Database, Turns
from tests.e2e import probes
from tests.e2e.homes import KEY, Home, furnished, mutation, owned_tables, reader, stored, visitor
from tests.e2e.probes import Probe
from tests.harness import Live, Serving, token
from tests.resources import samples
from tests.transports.sockets import Socket, raw

INTRUDER = "user:ben"
Make = Callable[[Live, str], Awaitable[Home]]


async def _ada(live: Live, mark: str) -> Home:
    return await reader(live, "ada", mark)


async def _ben(_: Live, mark: str) -> Home:
    return Home(INTRUDER, token("ben"), mark)


PAIRS = [
    pytest.param(_ada, _ben, id="a reader by a reader"),
    pytest.param(_ada, visitor, id="a reader by a visitor"),
    pytest.param(visitor, _ben, id="a visitor by a reader"),
    pytest.param(visitor, visitor, id="a visitor by a visitor"),
]


@asynccontextmanager
async def asked(live: Live, probe: Probe, token_: str) -> AsyncIterator[tuple[int, str]]:
    """The answer to a request: its status, and all that it says. Of a stream, up to where it waits."""
    headers = {"Authorization": f"Bearer {token_}"}
    async with (
        httpx.AsyncClient(base_url=live.url, headers=headers, timeout=30) as http,
        http.stream(probe.method.upper(), probe.url, params=probe.query, json=probe.json) as answer,
    ):
        said = [str(answer.headers)]
        async for line in answer.aiter_lines():
            said.append(line)
            if line in {"event: ready", "event: refetch", "event: goodbye"}:
                break
        yield answer.status_code, "\n".join(said)


def leaked(said: str, secrets: Collection[str], asked_for: str = "") -> list[str]:
    """Which of these were said, but for what whoever asked had said already."""
    return [secret for secret in secrets if secret in said and secret not in asked_for]


def fresh(home: Home) -> str:
    """A key of its own for each request, as one of them takes back the key that it is shown."""
    kind, name = home.owner.split(":")
    return token(name) if kind == "user" else home.token


def expected(probe: Probe, intruder: Home) -> set[int]:
    """The answers that give nothing away."""
    if probe.template.endswith("/claim"):
        return {403 if intruder.session else 422}
    if "cursor" in probe.query or probe.template == "/api/v1/verify":
        return {410, 200} if probe.template.endswith("/stream") else {410}
    if "{" in probe.template:
        return {200} if probe.method == "put" and _takes_any_key(probe) else {404}
    if probe.template == "/api/v1/token":
        return {204, 403}
    return {200, 201}


def _takes_any_key(probe: Probe) -> bool:
    """Whether a put there makes a row of one's own: where keys hold their session, that is another's."""
    found = [resources.catalog()[name] for name in samples.written()]
    return any(probe.template == f"/api/v1/{resource.path}/{{key}}" and not resource.within for resource in found)


@pytest.mark.parametrize(("owner", "other"), PAIRS)
async def test_every_route_answers_as_if_there_were_nothing(live: Live, sql, owner: Make, other: Make):
    home = await furnished(live, sql, await owner(live, "the mark of the house"))
    intruder = await other(live, "the other mark")
    before = stored(sql, home)
    count = 0
    for probe in probes.requests(_app(live), home):
        async with asked(live, probe, fresh(intruder)) as (status, said):
            assert status in expected(probe, intruder), f"{probe} of {other}: {status} {said}"
            assert leaked(said, home.secrets, f"{probe.url}{probe.query}{probe.json}") == [], str(probe)
            if probe.template == "/api/v1/push":
                _all_rejected(orjson.loads(said.splitlines()[-1])["acks"])
        assert stored(sql, home) == before, f"{probe} changed something"
        count += 1
    assert count >= 17 + 6 * len(samples.written()) - 6


def _all_rejected(acks: list[dict[str, Any]]) -> None:
    assert {(ack["status"], ack["code"]) for ack in acks[:-1]} == {("rejected", "not_found")}
    assert (acks[-1]["status"], acks[-1]["code"]) == ("rejected", "forbidden")


@pytest.mark.parametrize(("owner", "other"), PAIRS)
async def test_every_frame_is_answered_as_if_there_were_nothing(live: Live, sql, owner: Make, other: Make):
    home = await furnished(live, sql, await owner(live, "the mark of the house"))
    intruder = await other(live, "the other mark")
    before = stored(sql, home)
    assert probes.unaimed(home) == set(), "a frame that this does not know how to aim"
    for kind, frame in probes.said(home, intruder.token).items():
        async with entered(live, intruder, home) as socket:
            heard = [] if kind == "hello" else await told(socket, {"type": kind, **frame})
            heard += await told(socket, {"type": "ping"})
            assert leaked(str(heard), home.secrets, str(frame)) == [], kind
            if kind in {"subscribe", "verify"}:
                assert ("refetch", "owner") in [(f["type"], f.get("reason")) for f in heard], heard
            if kind == "push":
                _all_rejected(next(f for f in heard if f["type"] == "ack")["acks"])
        assert stored(sql, home) == before, f"{kind} changed something"


@asynccontextmanager
async def entered(live: Live, intruder: Home, home: Home) -> AsyncIterator[Socket]:
    """A socket of the intruder, which says that it is the other's device."""
    async with raw(live) as socket:
        hello = probes.said(home, fresh(intruder))["hello"]
        await socket.say({"type": "hello", "sent_at": "2026-11-22T08:15:00.000000Z", **hello})
        welcome = await socket.hear()
        assert welcome["type"] == "welcome"
        yield socket


async def told(socket: Socket, frame: dict[str, Any]) -> list[dict[str, Any]]:
    """All that is heard up to the answer to a ping behind this frame."""
    await socket.say(frame)
    if frame["type"] != "ping":
        await socket.say({"type": "ping"})
    heard = [await socket.hear()]
    while heard[-1]["type"] != "pong":
        heard.append(await socket.hear())
    return heard


@pytest.mark.parametrize(("owner", "other"), PAIRS)
async def test_nothing_that_happens_in_a_house_is_heard_in_another(live: Live, owner: Make, other: Make):
    home = await owner(live, "the mark of the house")
    intruder = await other(live, "the other mark")
    async with (
        entered(live, intruder, home) as outside,
        entered(live, home, home) as phone,
        raw(live) as tablet,
    ):
        await tablet.say({**_hello(home), "client_id": "tablet", "device": {"id": "tablet"}})
        for socket in (outside, phone, tablet):
            await socket.say({"type": "subscribe", "resources": None, "cursor": None})
            await socket.hear_until("ready")
            await socket.say({"type": "presence", "state": {"doing": "nothing"}})
        await phone.hear_until("presence")
        await told(outside, {"type": "ping"})

        await phone.say({"type": "presence", "state": {"doing": home.mark}})
        await phone.say({"type": "broadcast", "topic": "page", "data": home.mark})
        writes = [mutation(home, name, "put", KEY, home.mark) for name in samples.written()]
        await phone.say({"type": "push", "mutations": writes})
        heard = {kind: str(await tablet.hear_until(kind)) for kind in ("broadcast", "changes")}
        assert all(home.mark in said for said in heard.values()), "what the house itself did not hear, nobody could"

        assert leaked(str(await told(outside, {"type": "ping"})), [home.mark]) == []


def _hello(home: Home) -> dict[str, Any]:
    return {
        "type": "hello",
        "token": home.token,
        "sent_at": "2026-11-22T08:15:00.000000Z",
        "protocol": [1, 1],
    }


async def test_a_ticket_opens_the_house_it_was_given_for_and_a_list_goes_on_in_its_own(live: Live, sql):
    home = await furnished(live, sql, await _ada(live, "the mark of the house"))
    intruder = await furnished(live, sql, await reader(live, "ben", "the other mark"))
    async with raw(live) as socket:
        await socket.say(
            {**_hello(home), "token": None, "ticket": intruder.names["ticket"], "device": {"id": "x"}, "client_id": "x"}
        )
        await socket.hear_until("welcome")
        await socket.say({"type": "subscribe", "resources": None, "cursor": None})
        assert leaked(str(await socket.hear_until("changes")), [home.mark]) == []
    async with httpx.AsyncClient(base_url=live.url) as http:
        for path in (*(resources.catalog()[name].path for name in samples.written()), "conflicts"):
            page = await http.get(f"/api/v1/{path}", params={"limit": 1}, headers=home.headers)
            after = {"after": page.json()["next"]}
            beyond = await http.get(f"/api/v1/{path}", params=after, headers=intruder.headers)
            assert after["after"] is not None
            assert leaked(beyond.text, home.secrets) == []


# -- with the checks in Python switched off ----------------------------------


class Blind(Database):
    """Whatever Python believes, the database is told that the intruder is at work."""

    @asynccontextmanager
    async def transaction(self, owners: Collection[str], **how: Any) -> AsyncIterator[AsyncConnection]:
        told = Turns([INTRUDER] if owners else [])
        if isinstance(owners, Turns):
            told.wait_s, told.asks = owners.wait_s, owners.asks
        async with super().transaction(told if isinstance(owners, Turns) else list(told), **how) as connection:
            if isinstance(owners, Turns):
                owners.told = told.told
            yield connection


@pytest.mark.parametrize("owner", [_ada, visitor], ids=["a reader", "a visitor"])
async def test_with_every_check_in_python_gone_the_database_still_refuses(
    serving: Serving, sql, monkeypatch, owner: Make
):
    """A server that takes the intruder for the owner: it asks for the owner's rows, in the intruder's name."""
    async with serving() as live:
        home = await furnished(live, sql, await owner(live, "the mark of the house"))
        seen = [said async for said in _all_said(live, home, {"get"})]
        assert home.mark in str(seen), "the owner itself sees it"
        home = await furnished(live, sql, home)
    before = stored(sql, home)

    monkeypatch.setattr("syncserver.app.wiring.Database", Blind)
    async with serving() as live:
        async for probe, said in _all_said(live, home, set(probes.METHODS)):
            assert leaked(said, home.secrets, f"{probe.url}{probe.query}{probe.json}") == [], str(probe)
            assert stored(sql, home) == before, f"{probe} changed something"
        async with raw(live) as socket:
            await socket.say({**_hello(home), "client_id": "x", "device": {"id": "x"}})
            await socket.hear_until("welcome")
            for kind, frame in probes.said(home, home.token).items():
                heard = [] if kind == "hello" else await told(socket, {"type": kind, **frame})
                assert leaked(str(heard), home.secrets, str(frame)) == [], kind
    assert stored(sql, home) == before


async def _all_said(live: Live, home: Home, methods: Collection[str]) -> AsyncIterator[tuple[Probe, str]]:
    """What the owner itself is answered, by these methods."""
    for probe in probes.requests(_app(live), home):
        if probe.method in methods:
            async with asyncio.timeout(20), asked(live, probe, fresh(home)) as (_, said):
                yield probe, said


def _app(live: Live) -> Any:
    return wiring.application(live.parts)


async def test_every_table_with_an_owner_is_full_in_this_battery_and_refuses_the_intruder(
    live: Live, sql: psycopg.Connection, database
):
    """By SQL, as the server's role: whatever table there is."""
    home = await furnished(live, sql, await visitor(live, "the mark of the house"))
    for table in owned_tables(sql):
        rows = sql.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE owner = %s".encode(), [home.owner]).fetchall()
        assert rows, f"nothing of {table} is tried here"
        names = _given(sql, table)
        whole = f"SELECT {names} FROM jsonb_populate_record(NULL::{table}, %s)"
        with psycopg.connect(database.server, autocommit=True) as connection:
            connection.execute("SELECT set_config('syncserver.owners', %s::text[]::text, false)", [[INTRUDER]])
            assert connection.execute(f"SELECT FROM {table} WHERE owner = %s".encode(), [home.owner]).rowcount == 0
            for command in (
                f"UPDATE {table} SET owner = owner WHERE owner = %s",
                f"DELETE FROM {table} WHERE owner = %s",
                f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE {whole}",
            ):
                argument = psycopg.types.json.Jsonb(rows[0][0]) if command.startswith("INSERT") else home.owner
                with suppress(psycopg.errors.InsufficientPrivilege):
                    assert connection.execute(command.encode(), [argument]).rowcount == 0, command
        now = sql.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE owner = %s".encode(), [home.owner]).fetchall()
        assert now == rows, table


def _given(sql: psycopg.Connection, table: str) -> str:
    """The columns that are not computed."""
    found = sql.execute(
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        [table],
    ).fetchone()
    return str(found[0]) if found else ""
