"""An owner with everything that an owner can have, in every table; and what it looks like in the database."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import psycopg

from syncserver.core.actor import session_owner
from tests.harness import Live, token
from tests.resources import samples

KEY = samples.HOME
"""A key that anybody may have: books have the same names in every house."""

_PASSING = {"notes", "presences"}
"""Tables from which the server itself takes rows as time goes by."""


@dataclass
class Home:
    """One owner, its token, and what others might get hold of: names of its things, and marks in what it wrote."""

    owner: str
    token: str
    mark: str
    session: str = ""
    names: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def secrets(self) -> list[str]:
        """What nobody else may ever be shown."""
        return [self.mark, self.token, *self.names.values()]

    def key(self, resource: str, name: str = KEY) -> str:
        """The key that its row of this name has."""
        return samples.key_of(resource, name, self.session)


def mutation(of: Home, resource: str, op: str, name: str, mark: str, **more: Any) -> dict[str, Any]:
    """A write of this owner's row, whoever sends it."""
    data = {"data": samples.fields_of(resource, mark, of.session)} if op != "remove" else {}
    made = {"mutation_id": str(uuid4()), "resource": resource, "key": of.key(resource, name), "op": op}
    return {**made, **data, **more}


async def visitor(live: Live, mark: str) -> Home:
    async with httpx.AsyncClient(base_url=live.url) as http:
        made = (await http.post("/api/v1/sessions")).json()
    return Home(session_owner(UUID(made["session_id"])), made["token"], mark, made["session_id"])


async def reader(live: Live, name: str, mark: str) -> Home:
    """A signed-in reader, who was a visitor before."""
    came = await visitor(live, mark)
    home = Home(f"user:{name}", token(name), mark, came.session)
    async with httpx.AsyncClient(base_url=live.url, headers=home.headers) as http:
        claimed = await http.post(f"/api/v1/sessions/{came.session}/claim", json={"token": came.token})
        assert claimed.status_code == 200, claimed.text
    return home


async def furnished(live: Live, sql: psycopg.Connection, home: Home) -> Home:
    """The same, with rows of every resource, a conflict, a ledger, a ticket and all else."""
    async with httpx.AsyncClient(base_url=live.url, headers=home.headers, timeout=30) as http:
        for name in samples.written():
            await _conflict(http, home, name, KEY)
            await _conflict(http, home, name, "walden")
        await _finished(http, home, "moby-dick")
        events = (await http.get("/api/v1/session-events")).json()["items"]
        home.names["event"] = events[0]["id"]
        home.names["conflict_id"] = (await http.get("/api/v1/conflicts")).json()["items"][0]["id"]
        home.names["ticket"] = (await http.post("/api/v1/tickets")).json()["ticket"]
        home.names["cursor"] = (await http.get("/api/v1/changes")).json()["cursor"]
    sql.execute(
        "INSERT INTO temporary_keys VALUES (%s, 'client', 'name', 'progress', 'key', now()) ON CONFLICT DO NOTHING",
        [home.owner],
    )
    sql.execute(
        "INSERT INTO revocations VALUES (%s, 'lost', NULL, now() + interval '1 day') ON CONFLICT DO NOTHING",
        [home.owner],
    )
    sql.execute(
        "INSERT INTO node_numbers (owner, session_id, last) VALUES (%s, %s, 7) ON CONFLICT DO NOTHING",
        [home.owner, home.session],
    )
    home.names["import_id"] = str(uuid4())
    sql.execute(
        "INSERT INTO imports (owner, id, session_id, state) VALUES (%s, %s, %s, 'done')",
        [home.owner, home.names["import_id"], home.session],
    )
    sql.execute(
        "INSERT INTO presences (owner, connection, process, device_id, device_name, since, seen_at)"
        " VALUES (%s, gen_random_uuid(), gen_random_uuid(), 'phone', %s, now(), now())",
        [home.owner, home.mark],
    )
    home.names["session_id"] = home.session
    return home


async def _finished(http: httpx.AsyncClient, home: Home, name: str) -> None:
    """A reading session that is over, and its reading."""
    session = home.key("reading_sessions", f"{name} of {home.mark}")
    url = f"/api/v1/reading-sessions/{session}"
    times = {"started_at": "2026-03-01T10:00:00.000000Z", "last_activity": "2026-03-01T10:30:00.000000Z"}
    body = {**samples.fields_of("reading_sessions", home.mark), **times, "device_name": home.mark}
    body["status"] = "completed"
    assert (await http.put(url, json=body)).status_code in {200, 409}, "the second time, it is over already"
    home.names["reading"] = session


async def _conflict(http: httpx.AsyncClient, home: Home, resource: str, key: str) -> None:
    for device, at in (("phone", "2026-03-01T12:00:00Z"), ("tablet", "2026-03-01T11:00:00Z")):
        sent = {
            "device": {"id": f"{device} of {home.mark}", "name": home.mark},
            "client_id": device,
            "mutations": [mutation(home, resource, "put", key, f"{home.mark} {device}", updated_at=at)],
        }
        answer = await http.post("/api/v1/push", json=sent)
        assert answer.json()["acks"][0]["status"] in {"applied", "superseded", "merged"}, answer.text


def owned_tables(sql: psycopg.Connection) -> list[str]:
    found = sql.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner'"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()
    return [name for (name,) in found]


def stored(sql: psycopg.Connection, home: Home) -> dict[str, list[bytes]]:
    """Every row of this owner, of every table, but for what passes by itself."""
    return {
        table: sorted(
            orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
            for (row,) in sql.execute(
                f"SELECT to_jsonb(t) - 'last_accessed' FROM {table} t WHERE owner = %s".encode(), [home.owner]
            )
        )
        for table in owned_tables(sql)
        if table not in _PASSING
    }
