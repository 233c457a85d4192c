"""What a device read while it was away, told all at once over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from syncserver.core import clock, reading_bodies
from tests.api.problems import pointers, problem
from tests.devices import device
from tests.harness import Live, token

SYNC = "/reading-sessions/sync"
EVENING = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
Session = dict[str, Any]


def at(minutes: float) -> str:
    return clock.write(EVENING + timedelta(minutes=minutes))


def session(name: str, *intervals: tuple[float, float], **fields: Any) -> Session:
    own = {"temp_id": name, "publication_id": "moby", "intervals": [[at(a), at(b)] for a, b in intervals]}
    return {**own, **fields}


def batch(*sessions: Any, client: str = "tablet/app") -> dict[str, Any]:
    return {"device": {"id": "tablet", "name": "Ada's tablet"}, "client_id": client, "sessions": sessions}


async def synced(http: httpx.AsyncClient, *sessions: Any, client: str = "tablet/app") -> reading_bodies.OfflineAnswer:
    answer = await http.post(SYNC, json=batch(*sessions, client=client))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return reading_bodies.OfflineAnswer.model_validate_json(answer.content)


def statuses(answer: reading_bodies.OfflineAnswer) -> list[str]:
    return [result.status for result in answer.results]


async def row(http: httpx.AsyncClient, key: str | None) -> dict[str, Any]:
    answer = await http.get(f"/reading-sessions/{key}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_session_is_answered_in_order_under_the_id_that_it_got(http: httpx.AsyncClient):
    own = str(uuid4())
    answer = await synced(
        http,
        session("one", (0, 10), (20, 30), percentage=0.2, title="Moby-Dick", state={"a": None, "zoom": 2}),
        {**session("", (40, 45), publication_id="emma", status="paused"), "temp_id": None, "id": own},
        session("three", (50, 60), publication_id="walden", status="completed", percentage=1.0),
    )
    assert statuses(answer) == ["applied"] * 3
    assert [r.temp_id for r in answer.results] == ["one", None, "three"]
    one, two, three = (r.id for r in answer.results)
    assert (two, answer.ids) == (own, {"one": one, "three": three})
    assert [r.reading_id for r in answer.results] == [None, None, three]
    first = await row(http, one)
    assert (first["active_seconds"], first["started_at"], first["last_activity"]) == (1200, at(0), at(30))
    assert (first["title"], first["state"]) == ("Moby-Dick", {"a": None, "zoom": 2})
    assert first["device_name"] == "Ada's tablet"
    assert answer.results[0].row is not None
    assert answer.results[0].row.data == {name: value for name, value in first.items() if name != "offset"}
    assert (await row(http, own))["status"] == "paused"
    reading = (await http.get(f"/readings/{three}")).json()
    assert (reading["active_seconds"], reading["finished_at"]) == (600, at(60))
    assert answer.totals.active_seconds == 1200 + 300 + 600


async def test_the_same_batch_again_changes_nothing(http: httpx.AsyncClient):
    sessions = [session("one", (0, 10), (20, 30), status="completed"), session("two", (5, 25), publication_id="emma")]
    first = await synced(http, *sessions)
    cursor = (await http.get("/changes")).json()["cursor"]
    again = await synced(http, *sessions)
    assert statuses(again) == ["duplicate"] * 2
    assert (again.ids, again.totals) == (first.ids, first.totals)
    assert again.totals.active_seconds == 30 * 60, "what both share counts once"
    assert [r.row for r in again.results] == [r.row for r in first.results]
    assert [r.reading_id for r in again.results] == [r.reading_id for r in first.results]
    assert (await http.get("/changes", params={"cursor": cursor})).status_code == 204


async def test_more_of_the_same_session_later_keeps_its_id_and_counts_only_what_is_new(http: httpx.AsyncClient):
    first = await synced(http, session("one", (0, 10), percentage=0.2, state={"a": 1}, status="paused"))
    later = await synced(http, session("one", (0, 10), (20, 30), percentage=0.4, state={"b": 2}))
    assert later.ids == first.ids
    assert later.results[0].status in {"applied", "merged"}
    found = await row(http, first.ids["one"])
    assert (found["percentage"], found["state"], found["active_seconds"]) == (0.4, {"b": 2}, 1200)
    assert (found["status"], found["started_at"], found["last_activity"]) == ("active", at(0), at(30))
    ended = await synced(http, session("one", (0, 10), (20, 30), percentage=0.5, status="completed", updated_at=at(31)))
    assert ended.results[0].reading_id == first.ids["one"]
    assert (await http.get(f"/readings/{first.ids['one']}")).json()["active_seconds"] == 1200
    assert (await http.get("/conflicts")).json()["items"] == []
    other = await synced(http, session("one", (0, 10)), client="phone/app")
    assert other.ids["one"] != first.ids["one"], "each client's names are its own"


async def test_one_may_go_on_from_another_of_the_batch_or_from_one_that_is_there(http: httpx.AsyncClient):
    begun = (await http.post("/reading-sessions", json={"publication_id": "moby", "percentage": 0.1})).json()
    answer = await synced(
        http,
        session("one", (0, 10), (20, 30), title="Moby-Dick", percentage=0.3, state={"zoom": 2}),
        session("two", (40, 50), (60, 70), resumed_from={"temp": "one"}, percentage=0.4, status="completed"),
        session("three", (80, 90), resumed_from=begun["id"]),
    )
    assert statuses(answer) == ["applied"] * 3
    one, two, three = [await row(http, result.id) for result in answer.results]
    assert (one["resumed_as"], one["status"]) == (two["id"], "paused")
    assert (two["resumed_from"], two["title"], two["state"]) == (one["id"], "Moby-Dick", {"zoom": 2})
    assert (two["start_percentage"], two["percentage"], two["active_seconds"]) == (0.3, 0.4, 1200)
    assert (three["resumed_from"], three["percentage"]) == (begun["id"], 0.1)
    assert (await http.get(f"/readings/{two['id']}")).json()["active_seconds"] == 2400


async def test_one_that_comes_before_what_it_goes_on_from_is_deferred_and_taken_later(http: httpx.AsyncClient):
    two, one = session("two", (20, 30), resumed_from={"temp": "one"}), session("one", (0, 10))
    answer = await synced(http, two, one)
    assert statuses(answer) == ["deferred", "applied"]
    assert (answer.results[0].code, answer.totals.active_seconds) == ("dependency_unknown", 600)
    again = await synced(http, two)
    assert statuses(again) == ["applied"]
    assert (await row(http, again.ids["two"]))["resumed_from"] == answer.ids["one"]


async def test_a_wrong_one_is_rejected_alone_with_its_places(http: httpx.AsyncClient):
    answer = await synced(
        http,
        session("one", (0, 10)),
        session("two", (10, 20), percentage=2),
        session("three", (20, 10)),
        {"temp_id": "four", "intervals": []},
        {},
        session("five", (30, 40), resumed_from={"temp": "two"}),
        session("six", (40, 50), title="x" * 1025),
        session("seven", (50, 60)),
    )
    assert statuses(answer) == ["applied", *["rejected"] * 6, "applied"]
    codes = [result.code for result in answer.results]
    assert codes == [None, "invalid", "invalid", "invalid", "invalid", "dependency_failed", "too_large", None]
    places = [[e.pointer for e in result.errors or []] for result in answer.results[1:5]]
    assert places == [[f"/sessions/{p}"] for p in ("1/percentage", "2/intervals/0", "3/publication_id", "4/id")]
    assert [result.temp_id for result in answer.results[1:5]] == ["two", "three", "four", None]
    assert (set(answer.ids), answer.totals.active_seconds) == ({"one", "seven"}, 1200)
    again = await synced(http, session("two", (10, 20), percentage=2), session("two", (10, 20), percentage=0.2))
    assert statuses(again) == ["rejected", "applied"], "mended, it is taken under the same name"


async def test_each_is_resolved_against_what_is_stored(http: httpx.AsyncClient):
    key = str(uuid4())
    body = {"id": key, "publication_id": "moby", "percentage": 0.5, "device_id": "phone", "updated_at": at(60)}
    begun = (await http.post("/reading-sessions", json=body)).json()
    offline = {**session("", (0, 10), (20, 30), percentage=0.2), "temp_id": None, "id": key}
    lost = await synced(http, offline)
    assert (statuses(lost), lost.results[0].id) == (["superseded"], key)
    assert lost.results[0].row is not None
    assert lost.results[0].row.data is not None
    assert lost.results[0].row.data["percentage"] == 0.5
    record = (await http.get(f"/conflicts/{lost.results[0].conflict_id}")).json()
    assert record["loser"]["fields"]["percentage"] == 0.2
    offset = (await row(http, key))["offset"]
    assert statuses(await synced(http, {**offline, "base": begun["offset"] - 1, "policy": "server-wins"})) == [
        "superseded"
    ]
    known = await synced(http, {**offline, "base": offset, "policy": "server-wins", "title": "Moby"})
    assert statuses(known) == ["applied"]
    assert ((await row(http, key))["percentage"], (await row(http, key))["title"]) == (0.2, "Moby")
    forced = await synced(http, {**offline, "percentage": 0.1, "policy": "client-wins"})
    assert forced.results[0].status in {"applied", "merged"}
    assert (await row(http, key))["percentage"] == 0.1


async def test_one_that_was_removed_since_stays_removed(http: httpx.AsyncClient):
    answer = await synced(http, session("one", (0, 10)))
    await http.delete(f"/reading-sessions/{answer.ids['one']}")
    later = await synced(http, session("one", (0, 10), (20, 30)))
    assert statuses(later) == ["superseded"]
    assert later.results[0].row is not None
    assert (later.results[0].row.op, later.ids) == ("remove", answer.ids)


async def test_no_time_is_counted_that_is_still_to_come(http: httpx.AsyncClient):
    now = datetime.now(UTC)
    stamps = [clock.write(now + timedelta(minutes=minutes)) for minutes in (-10, 600)]
    raw = {**session("one"), "intervals": [stamps]}
    answer = await synced(http, raw)
    assert 600 <= answer.totals.active_seconds < 700
    found = await row(http, answer.ids["one"])
    assert 600 <= found["active_seconds"] < 700
    assert found["last_activity"] < clock.write(now + timedelta(minutes=2))


BAD: list[tuple[Any, int, str]] = [
    ({"sessions": [{}] * 101}, 413, ""),
    ({"sessions": 5}, 422, "/sessions"),
    ({"sessions": [5]}, 422, "/sessions/0"),
    ({"sessions": None}, 422, "/sessions"),
    ({"device": {"id": ""}}, 422, "/device/id"),
    ({"device": "tablet"}, 422, "/device"),
    ({"client_id": ""}, 422, "/client_id"),
    ({"client_id": "x" * 129}, 413, ""),
]


async def test_a_body_that_is_no_batch_has_its_answer(http: httpx.AsyncClient):
    for changed, status, place in BAD:
        answer = await http.post(SYNC, json={**batch(session("one", (0, 10))), **changed})
        document = problem(answer, status, "invalid" if status == 422 else "too_large")
        if status == 422:
            assert pointers(document) == [place]
    problem(await http.post(SYNC, content=" " * 1_100_000), 413, "too_large")
    assert (await synced(http)).results == []
    assert (await http.get("/reading-sessions")).json()["items"] == []


async def test_a_session_of_another_reader_is_nobody_s_here(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    answer = await synced(http, session("one", (0, 10), state={"mine": True}))
    theirs = await synced(
        eve, {**session("", (0, 5)), "temp_id": None, "id": answer.ids["one"]}, session("one", (0, 5))
    )
    assert statuses(theirs) == ["applied"] * 2
    assert (await row(http, answer.ids["one"]))["state"] == {"mine": True}
    assert (await row(eve, answer.ids["one"]))["state"] is None
    assert theirs.ids["one"] != answer.ids["one"]


async def test_what_came_home_is_heard_live_on_another_device(live: Live, http: httpx.AsyncClient):
    async with device(live.socket_url, token("ada"), "phone") as phone:
        await phone.say("subscribe", resources=["reading_sessions", "readings"], cursor=None)
        assert (await phone.hear())["type"] == "ready"
        answer = await synced(http, session("one", (0, 10), (20, 30), status="completed"))
        told: set[tuple[str, str]] = set()
        while ("readings", answer.ids["one"]) not in told:
            frame = await phone.hear()
            told |= {(r["resource"], r["key"]) for r in frame.get("rows", ())}
        assert ("reading_sessions", answer.ids["one"]) in told
