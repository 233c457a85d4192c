"""Reading sessions over REST: each operation, what it answers, and who hears of it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from syncserver.core import clock, reading_bodies
from tests.api.problems import pointers, problem
from tests.devices import Device, device
from tests.harness import Live, token

SESSIONS = "/reading-sessions"
PAGE = {"href": "c1.xhtml", "type": "application/xhtml+xml", "locations": {"position": 7}}


async def begun(http: httpx.AsyncClient, device_id: str = "phone", **fields: Any) -> dict[str, Any]:
    body = {"publication_id": "moby", "device_id": device_id, **fields}
    answer = await http.post(SESSIONS, json=body)
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


async def told(http: httpx.AsyncClient, key: str, op: str, **body: Any) -> httpx.Response:
    return await http.post(f"{SESSIONS}/{key}/{op}", json=body or None)


async def read(http: httpx.AsyncClient, key: str) -> dict[str, Any]:
    answer = await http.get(f"{SESSIONS}/{key}")
    assert answer.status_code == 200, answer.text
    row: dict[str, Any] = answer.json()
    return row


async def test_a_session_is_begun_under_the_client_s_id_or_one_that_the_server_makes(http: httpx.AsyncClient):
    key = str(uuid4())
    answer = await http.post(SESSIONS, json={"id": key.upper(), "publication_id": "moby", "device_id": "phone"})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1{SESSIONS}/{key}")
    assert answer.headers["sync-status"] == "applied"
    row = answer.json()
    assert (row["id"], row["status"], row["device_id"]) == (key, "active", "phone")
    assert answer.headers["etag"] == f'"{row["offset"]}"'
    assert await read(http, key) == row

    made = await begun(http)
    assert UUID(made["id"]).hex != UUID(key).hex
    assert (await begun(http))["id"] != made["id"]


@pytest.mark.parametrize("own", [True, False], ids=["the client's id", "the server's"])
async def test_to_begin_it_again_with_the_same_mutation_gives_the_same_answer(http: httpx.AsyncClient, own: bool):
    body = {"publication_id": "moby", "mutation_id": str(uuid4()).upper()} | ({"id": str(uuid4())} if own else {})
    first, again = [await http.post(SESSIONS, json=body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["location"]) == (first.json(), first.headers["location"])
    assert (first.headers["sync-status"], again.headers["sync-status"]) == ("applied", "duplicate")
    assert len((await http.get(SESSIONS)).json()["items"]) == 1


async def test_the_mutation_of_another_write_makes_no_session(http: httpx.AsyncClient):
    used = str(uuid4())
    await http.put("/progress/moby", json={"mutation_id": used})
    answer = await http.post(SESSIONS, json={"publication_id": "moby", "mutation_id": used})
    assert pointers(problem(answer, 422, "invalid")) == ["/mutation_id"]


async def test_an_id_that_is_there_already_is_written_as_by_put_and_nothing_is_lost(http: httpx.AsyncClient):
    row = await begun(http, percentage=0.5, updated_at="2026-03-01T12:00:00Z")
    old = {"id": row["id"], "publication_id": "emma", "device_id": "tablet", "updated_at": "2026-03-01T11:00:00Z"}
    document = problem(await http.post(SESSIONS, json=old), 409, "superseded")
    assert (document["row"]["data"]["publication_id"], document["differs"]) == ("moby", ["publication_id"])
    assert document["yours"] == {"publication_id": "emma"}
    lost = (await http.get(f"/conflicts/{document['conflict_id']}")).json()
    assert lost["loser"]["fields"]["publication_id"] == "emma"
    assert (await read(http, row["id"]))["publication_id"] == "moby"


async def test_it_is_paused_resumed_and_given_up_on_its_own_device(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    for op, status in (("pause", "paused"), ("resume", "active"), ("abandon", "abandoned"), ("resume", "active")):
        answer = await told(http, key, op, device_id="phone", percentage=0.25, state={"op": op})
        assert (answer.status_code, answer.headers["sync-status"]) == (200, "applied"), answer.text
        row = answer.json()
        assert (row["id"], row["status"], row["percentage"], row["state"]) == (key, status, 0.25, {"op": op})
        assert answer.headers["etag"] == f'"{row["offset"]}"'
    types = [e["type"] for e in (await http.get("/session-events")).json()["items"]]
    assert types == ["resumed", "abandoned", "resumed", "paused", "created"]


async def test_an_action_without_a_body_is_taken_and_twice_is_once(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    assert (await http.post(f"{SESSIONS}/{key}/pause")).json()["status"] == "paused"
    body = {"mutation_id": str(uuid4())}
    first, again = [await told(http, key, "abandon", **body) for _ in range(2)]
    assert (first.json(), again.headers["sync-status"]) == (again.json(), "duplicate")


async def test_what_is_not_there_can_be_neither_paused_nor_resumed_nor_completed(
    http: httpx.AsyncClient, eve: httpx.AsyncClient
):
    key, gone = (await begun(http))["id"], (await begun(http))["id"]
    assert (await http.delete(f"{SESSIONS}/{gone}")).status_code == 204
    known = {"base": 1, "fields": {}, "policy": "client-wins"}
    for op in ("pause", "resume", "abandon", "complete", "check", "resolve"):
        problem(await told(eve, key, op, **known), 404, "not_found")
        problem(await told(http, str(uuid4()), op, **known), 404, "not_found")
        assert (await told(http, gone, op, **known)).status_code == 404
        assert pointers(problem(await told(http, "moby", op, **known), 422, "invalid")) == ["/path/key"]


async def test_on_another_device_a_new_session_goes_on_from_it(http: httpx.AsyncClient):
    former = await begun(http, title="Moby-Dick", locator=PAGE, percentage=0.3, state={"zoom": 2})
    body = {"device_id": "tablet", "mutation_id": str(uuid4())}
    answer = await told(http, former["id"], "resume", **body)
    assert answer.status_code == 201
    new = answer.json()
    assert answer.headers["location"] == f"/api/v1{SESSIONS}/{new['id']}"
    assert new["id"] != former["id"]
    assert (new["resumed_from"], new["status"], new["device_id"]) == (former["id"], "active", "tablet")
    for name in ("publication_id", "title", "locator", "percentage", "state"):
        assert new[name] == former[name]
    left = await read(http, former["id"])
    assert (left["status"], left["resumed_as"]) == ("paused", new["id"])
    incomplete = (await http.get(SESSIONS, params={"incomplete": "true"})).json()["items"]
    assert [row["id"] for row in incomplete] == [new["id"]]

    again = await told(http, former["id"], "resume", **body)
    assert (again.status_code, again.json(), again.headers["sync-status"]) == (201, new, "duplicate")


async def test_the_new_session_may_have_an_id_and_fields_of_its_own(http: httpx.AsyncClient):
    former, key = await begun(http, percentage=0.3), str(uuid4())
    answer = await told(http, former["id"], "resume", id=key, device_id="tablet", percentage=0.1, title="Emma")
    assert (answer.status_code, answer.json()["id"], answer.json()["percentage"]) == (201, key, 0.1)
    assert answer.json()["title"] == "Emma"
    wrong = await told(http, key, "resume", id="emma", device_id="phone")
    assert pointers(problem(wrong, 422, "invalid")) == ["/id"]


async def test_a_session_that_went_on_elsewhere_is_gone_on_from_anew_on_its_first_device(http: httpx.AsyncClient):
    former = await begun(http)
    elsewhere = (await told(http, former["id"], "resume", device_id="tablet")).json()
    back = await told(http, former["id"], "resume", device_id="phone")
    assert (back.status_code, back.json()["resumed_from"]) == (201, former["id"])
    assert back.json()["id"] not in {former["id"], elsewhere["id"]}


async def test_a_completed_session_resumed_is_the_beginning_of_another_reading(http: httpx.AsyncClient):
    former = await begun(http, title="Moby-Dick", locator=PAGE, percentage=0.9, state={"font": "serif"})
    await told(http, former["id"], "complete", device_id="phone")
    answer = await told(http, former["id"], "resume", device_id="phone")
    assert answer.status_code == 201
    new = answer.json()
    assert (new["title"], new["state"], new["resumed_from"]) == ("Moby-Dick", {"font": "serif"}, former["id"])
    assert [new[name] for name in ("percentage", "start_percentage", "locator", "start_locator")] == [0, 0, None, None]
    assert (await read(http, former["id"]))["status"] == "completed"
    await told(http, new["id"], "complete")
    assert [r["ordinal"] for r in (await http.get("/readings")).json()["items"]] == [2, 1]


async def test_to_complete_it_gives_the_reading_and_twice_the_same_from_any_device(http: httpx.AsyncClient):
    key = (await begun(http, percentage=0.5, state={"font": "serif"}))["id"]
    first = await told(http, key, "complete", device_id="phone", percentage=0.99)
    assert (first.status_code, first.headers["sync-status"]) == (200, "applied")
    reading = first.json()
    assert (reading["session_id"], reading["ordinal"], reading["publication_id"]) == (key, 1, "moby")
    assert (reading["session"]["percentage"], reading["session"]["state"]) == (0.99, {"font": "serif"})
    assert first.headers["etag"] == f'"{reading["offset"]}"'
    for body in ({}, {"device_id": "tablet"}, {"device_id": "tablet", "percentage": 0.1}, {"device_id": "phone"}):
        again = await told(http, key, "complete", **body)
        assert (again.status_code, again.json()) == (200, reading)
        assert again.headers["sync-status"] == "duplicate"
    progress = (await http.get("/progress/moby")).json()
    assert (progress["status"], progress["percentage"]) == ("finished", 0.99)


async def test_the_reading_is_there_when_its_session_is_gone_and_then_neither(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    reading = (await told(http, key, "complete")).json()
    assert (await http.delete(f"{SESSIONS}/{key}")).status_code == 204
    assert (await told(http, key, "complete", percentage=0.5)).json() == reading
    assert (await told(http, key, "complete")).json() == reading
    assert (await http.delete(f"/readings/{key}")).status_code == 204
    assert (await told(http, key, "complete")).status_code == 404


async def test_nothing_is_written_to_a_completed_session(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    await told(http, key, "complete")
    for op in ("pause", "abandon"):
        document = problem(await told(http, key, op), 409, "superseded")
        assert (document["yours"]["status"], document["differs"]) == (
            {"pause": "paused"}.get(op, "abandoned"),
            ["status"],
        )
    problem(await http.patch(f"{SESSIONS}/{key}", json={"title": "x"}), 409, "superseded")


async def test_a_completion_that_gives_way_is_answered_with_the_session_that_stands(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    answer = await told(http, key, "complete", device_id="tablet", policy="server-wins", base=0)
    assert problem(answer, 409, "superseded")["row"]["data"]["status"] == "active"
    problem(await http.get(f"/readings/{key}"), 404, "not_found")


# -- updates that say what their writer saw --------------------------------------


async def test_an_update_of_the_state_that_is_stored_is_taken(http: httpx.AsyncClient):
    row = await begun(http, state={"font": "serif", "zoom": 1})
    key = row["id"]
    by_base = await http.patch(f"{SESSIONS}/{key}", json={"state": {"zoom": 2}, "base": row["offset"]})
    assert by_base.json()["state"] == {"font": "serif", "zoom": 2}
    by_etag = await http.patch(
        f"{SESSIONS}/{key}", json={"state": {"font": None}}, headers={"If-Match": by_base.headers["etag"]}
    )
    assert by_etag.json()["state"] == {"zoom": 2}
    seen = by_etag.json()["updated_at"]
    by_stamp = await http.patch(f"{SESSIONS}/{key}", json={"percentage": 0.5, "seen_updated_at": seen})
    assert (by_stamp.status_code, by_stamp.json()["percentage"]) == (200, 0.5)
    neither = await http.patch(f"{SESSIONS}/{key}", json={"percentage": 0.6})
    assert neither.json()["percentage"] == 0.6


@pytest.mark.parametrize("how", ["base", "if-match", "seen_updated_at"])
async def test_an_update_of_another_state_is_refused_with_both_versions(http: httpx.AsyncClient, how: str):
    row = await begun(http, title="Moby", percentage=0.2, state={"font": "serif", "zoom": 1})
    await http.patch(f"{SESSIONS}/{row['id']}", json={"percentage": 0.7, "device_id": "phone"})
    stored = await read(http, row["id"])
    body: dict[str, Any] = {"title": "Moby", "percentage": 0.4, "state": {"zoom": 2}, "device_id": "tablet"}
    headers = {"If-Match": f'"{row["offset"]}"'} if how == "if-match" else {}
    sent = {"base": row["offset"]} if how == "base" else {"seen_updated_at": row["updated_at"]} if not headers else {}
    answer = await http.patch(f"{SESSIONS}/{row['id']}", json=body | sent, headers=headers)
    document = problem(answer, 409, "superseded")
    assert document["yours"] == {"title": "Moby", "percentage": 0.4, "state": {"zoom": 2}}
    assert document["row"]["data"]["percentage"] == 0.7
    assert document["differs"] == ["percentage", "state"]
    now = await read(http, row["id"])
    kept = ("percentage", "state", "title", "device_id")
    assert [now[name] for name in kept] == [stored[name] for name in kept]
    restored = await http.post(f"/conflicts/{document['conflict_id']}/restore")
    assert (restored.json()["percentage"], restored.json()["state"]) == (0.4, {"font": "serif", "zoom": 2})


async def test_an_update_that_names_a_policy_is_judged_by_that(http: httpx.AsyncClient):
    row = await begun(http)
    await http.patch(f"{SESSIONS}/{row['id']}", json={"percentage": 0.7, "device_id": "phone"})
    body = {"percentage": 0.4, "base": row["offset"], "device_id": "tablet", "policy": "last-write-wins"}
    assert (await http.patch(f"{SESSIONS}/{row['id']}", json=body)).json()["percentage"] == 0.4


async def test_a_stamp_is_the_same_however_it_is_written(http: httpx.AsyncClient):
    row = await begun(http)
    seen = clock.read(row["updated_at"]).isoformat()
    assert seen != row["updated_at"]
    answer = await http.patch(f"{SESSIONS}/{row['id']}", json={"title": "x", "seen_updated_at": seen})
    assert answer.status_code == 200
    for wrong in ("yesterday", 5, "2026-03-01T12:00:00"):
        answer = await http.patch(f"{SESSIONS}/{row['id']}", json={"seen_updated_at": wrong})
        assert pointers(problem(answer, 422, "invalid")) == ["/seen_updated_at"]


async def test_a_conflict_of_any_resource_says_what_was_sent_and_where_it_differs(http: httpx.AsyncClient):
    new = {"percentage": 0.5, "series_id": "s", "updated_at": "2026-03-01T12:00:00Z", "device_id": "phone"}
    await http.put("/progress/k", json=new)
    old = {"percentage": 1, "series_id": "s", "device_id": "tablet", "updated_at": "2026-03-01T11:00:00Z", "more": 1}
    document = problem(await http.put("/progress/k", json=old), 409, "superseded")
    assert document["yours"] == {"percentage": 1, "series_id": "s", "more": 1}
    assert document["differs"] == ["percentage"]
    gone = await http.delete("/progress/k", params={"updated_at": "2026-03-01T11:00:00Z", "device_id": "tablet"})
    document = problem(gone, 409, "superseded")
    assert (document["yours"], document["differs"]) == (None, [])
    await http.delete("/progress/k")
    document = problem(await http.put("/progress/k", json=old), 409, "superseded")
    assert (document["row"]["data"], document["differs"]) == (None, ["percentage", "series_id"])


async def test_the_mutation_of_another_resource_s_write_is_answered_as_that_was(http: httpx.AsyncClient):
    key, used = (await begun(http))["id"], str(uuid4())
    await http.put("/progress/k", json={"device_id": "phone", "updated_at": "2026-03-01T12:00:00Z"})
    old = {"mutation_id": used, "device_id": "tablet", "updated_at": "2026-03-01T11:00:00Z"}
    problem(await http.put("/progress/k", json=old), 409, "superseded")
    for answer in (
        await http.patch(f"{SESSIONS}/{key}", json={**old, "title": "x", "state": {"a": 1}}),
        await told(http, key, "complete", **old),
        await told(http, key, "pause", **old),
    ):
        assert problem(answer, 409, "superseded")["row"]["resource"] == "progress"


# -- checking and resolving ----------------------------------------------------------


async def checked(http: httpx.AsyncClient, key: str, **body: Any) -> reading_bodies.ConflictInfo:
    answer = await told(http, key, "check", **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return reading_bodies.ConflictInfo.model_validate_json(answer.content)


def won(info: reading_bodies.ConflictInfo) -> tuple[str, str, str]:
    return info.outcome.last_write_wins, info.outcome.server_wins, info.outcome.client_wins


async def test_to_check_an_update_says_who_would_win_and_writes_nothing(http: httpx.AsyncClient):
    row = await begun(http, percentage=0.2, updated_at="2026-03-01T12:00:00Z")
    mine = {"fields": {"percentage": 0.4, "publication_id": "moby"}, "device_id": "tablet"}
    known = await checked(http, row["id"], base=row["offset"], **mine)
    assert (known.conflict, known.differs, won(known)) == (False, ["percentage"], ("yours",) * 3)
    seen = await checked(http, row["id"], seen_updated_at=row["updated_at"], **mine)
    assert seen == known

    unknown = await checked(http, row["id"], base=row["offset"] - 1, **mine)
    assert (unknown.conflict, won(unknown)) == (True, ("yours", "stored", "yours"))
    assert unknown.yours == mine["fields"]
    assert unknown.row.data is not None
    assert (unknown.row.data["percentage"], unknown.row.offset) == (0.2, row["offset"])
    older = await checked(http, row["id"], base=0, updated_at="2026-03-01T11:00:00Z", **mine)
    assert won(older) == ("stored", "stored", "yours")
    assert await read(http, row["id"]) == row
    assert (await http.get("/conflicts")).json()["items"] == []


async def test_what_is_completed_wins_over_every_policy(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    await told(http, key, "complete")
    row = await read(http, key)
    info = await checked(http, key, base=row["offset"], fields={"percentage": 0.4})
    assert (info.conflict, won(info)) == (True, ("stored",) * 3)


@pytest.mark.parametrize(
    ("policy", "stamp", "winner"),
    [
        ("client-wins", "2026-03-01T11:00:00Z", "yours"),
        ("server-wins", "2026-03-01T13:00:00Z", "stored"),
        ("last-write-wins", "2026-03-01T13:00:00Z", "yours"),
        ("last-write-wins", "2026-03-01T11:00:00Z", "stored"),
    ],
)
async def test_to_resolve_writes_by_the_policy_and_says_who_won(
    http: httpx.AsyncClient, policy: str, stamp: str, winner: str
):
    row = await begun(http, percentage=0.2, updated_at="2026-03-01T12:00:00Z")
    body = {"fields": {"percentage": 0.4}, "base": 0, "device_id": "tablet", "updated_at": stamp}
    expected = await checked(http, row["id"], **body)
    answer = await told(http, row["id"], "resolve", policy=policy, **body)
    assert answer.status_code == 200, answer.text
    found = reading_bodies.ConflictResolved.model_validate_json(answer.content)
    assert found.won == winner == getattr(expected.outcome, policy.replace("-", "_"))
    assert found.row.data is not None
    stands = 0.4 if winner == "yours" else 0.2
    assert found.row.data["percentage"] == (await read(http, row["id"]))["percentage"] == stands
    lost = (await http.get(f"/conflicts/{found.conflict_id}")).json()["loser"]["fields"]["percentage"]
    assert {stands, lost} == {0.2, 0.4}


async def test_a_wrong_value_names_its_place(http: httpx.AsyncClient):
    key = (await begun(http))["id"]
    good = {"policy": "client-wins", "fields": {"percentage": 0.5}, "base": 1}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"policy": "luck"}, "/policy"),
        ({"policy": None}, "/policy"),
        ({"fields": 5}, "/fields"),
        ({"fields": {"percentage": 2}}, "/fields/percentage"),
        ({"fields": {"title": "a\0"}}, "/fields/title"),
        ({"base": "1"}, "/base"),
        ({"base": -1}, "/base"),
        ({"seen_updated_at": "now"}, "/seen_updated_at"),
        ({"device_id": ""}, "/device_id"),
        ({"device_name": 5}, "/device_name"),
        ({"updated_at": 5}, "/updated_at"),
    ]
    for bad, place in wrong:
        assert pointers(problem(await told(http, key, "resolve", **good | bad), 422, "invalid")) == [place], bad
        if place != "/policy":
            assert pointers(problem(await told(http, key, "check", **good | bad), 422, "invalid")) == [place], bad
    assert pointers(problem(await told(http, key, "check", fields={}), 422, "invalid")) == ["/base"]
    assert pointers(problem(await told(http, key, "resolve", policy="client-wins"), 422, "invalid")) == ["/fields"]


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"percentage": 1.5}, 422, "/percentage"),
    ({"active_seconds": -1}, 422, "/active_seconds"),
    ({"started_at": "2026"}, 422, "/started_at"),
    ({"status": "lost"}, 422, "/status"),
    ({"title": "a\x07"}, 422, "/title"),
    ({"locator": {"href": "a"}}, 422, "/locator/type"),
    ({"state": "x" * 70_000}, 422, "/state"),
    ({"state": {"a": "\0"}}, 422, "/state"),
    ({"resumed_from": "me"}, 422, "/resumed_from"),
    ({"base": True}, 422, "/base"),
    ({"mutation_id": 5}, 422, "/mutation_id"),
    ({"mutation_id": "x\0"}, 422, "/mutation_id"),
    ({"device_id": 5}, 422, "/device_id"),
    ({"title": "x" * 1025}, 413, ""),
]


async def test_every_bad_body_has_its_answer_and_changes_nothing(http: httpx.AsyncClient):
    row = await begun(http, "http")
    for bad, status, place in BAD:
        asked = [await http.post(SESSIONS, json={"publication_id": "moby", **bad})]
        asked.append(await http.patch(f"{SESSIONS}/{row['id']}", json=bad))
        if "status" not in bad:  # an action brings its own
            asked += [await told(http, row["id"], op, **bad) for op in ("pause", "complete", "abandon", "resume")]
        for answer in asked:
            document = problem(answer, status, "invalid" if status == 422 else "too_large")
            if status == 422:
                assert pointers(document) == [place], bad
    for bad_id in (5, "", "moby", f"{uuid4()} "):
        answer = await http.post(SESSIONS, json={"publication_id": "moby", "id": bad_id})
        assert pointers(problem(answer, 422, "invalid")) == ["/id"]
    assert pointers(problem(await http.post(SESSIONS, json={}), 422, "invalid")) == ["/publication_id"]
    for op in ("pause", "resume", "check", "sync"):
        url = f"{SESSIONS}/sync" if op == "sync" else f"{SESSIONS}/{row['id']}/{op}"
        problem(await http.post(url, content="{", headers={"Content-Type": "application/json"}), 400, "malformed")
        assert problem(await http.post(url, content="[]", headers={"Content-Type": "application/json"}), 422, "invalid")
    assert await read(http, row["id"]) == row
    assert len((await http.get(SESSIONS)).json()["items"]) == 1


# -- live ---------------------------------------------------------------------------------


async def heard(other: Device, wanted: set[tuple[str, str]]) -> None:
    """Wait until the device was told of all of these: resource and status (of what has none, its key)."""
    async with asyncio.timeout(20):
        while wanted:
            frame = await other.hear()
            rows = frame["rows"] if frame["type"] == "changes" else []
            for row in rows:
                wanted -= {(row["resource"], (row["data"] or {}).get("status") or row["key"])}


async def test_what_is_done_over_rest_is_heard_live_on_another_device(live: Live, http: httpx.AsyncClient):
    async with device(live.socket_url, token("ada"), "tablet") as tablet:
        await tablet.say("subscribe", resources=["reading_sessions", "readings", "progress"], cursor=None)
        assert (await tablet.hear())["type"] == "ready"
        key = (await begun(http))["id"]
        await heard(tablet, {("reading_sessions", "active")})
        await told(http, key, "pause", device_id="phone")
        await heard(tablet, {("reading_sessions", "paused")})
        await told(http, key, "resume", device_id="phone")
        await heard(tablet, {("reading_sessions", "active")})
        new = (await told(http, key, "resume", device_id="e-reader")).json()
        await heard(tablet, {("reading_sessions", "paused"), ("reading_sessions", "active")})
        await told(http, new["id"], "complete", device_id="e-reader")
        await heard(tablet, {("reading_sessions", "completed"), ("readings", new["id"]), ("progress", "finished")})
