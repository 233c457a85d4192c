from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from syncserver.core import bodies, values
from tests.api.problems import pointers, problem


def mutation(number: int, key: str = "k", op: str = "put", data: Any = None, **more: Any) -> dict[str, Any]:
    whole = {"mutation_id": str(UUID(int=number)), "resource": "progress", "key": key, "op": op, "data": data or {}}
    return {**whole, **more}


async def pushed(http: httpx.AsyncClient, *mutations: Any, client: str = "c") -> tuple[list[values.Ack], str]:
    body = {"device": {"id": "phone", "name": "Ada's phone"}, "client_id": client, "mutations": mutations}
    answer = await http.post("/push", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    read = bodies.PushAnswer.model_validate_json(answer.content)
    return read.acks, read.cursor


async def test_each_mutation_is_answered_in_order_and_the_cursor_is_past_them(http: httpx.AsyncClient):
    acks, cursor = await pushed(
        http,
        mutation(1, "a", data={"percentage": 0.5}),
        mutation(2, "b"),
        mutation(3, "a", "patch", {"position": "p"}),
        mutation(4, "b", "remove"),
    )
    assert [(ack.mutation_id, ack.status) for ack in acks] == [(str(UUID(int=n)), "applied") for n in (1, 2, 3, 4)]
    assert cursor.endswith(f".{max(ack.offset or 0 for ack in acks)}")
    row = (await http.get("/progress/a")).json()
    assert (row["percentage"], row["position"], row["device_name"]) == (0.5, "p", "Ada's phone")
    problem(await http.get("/progress/b"), 404, "not_found")
    assert (await http.get("/changes", params={"cursor": cursor})).status_code == 204


async def test_a_wrong_one_is_rejected_and_stands_in_no_other_s_way(http: httpx.AsyncClient):
    wrong = {
        "invalid": [
            mutation(11, data={"percentage": 1.2}),
            mutation(12, op="burn"),
            mutation(13, key=""),
            {**mutation(14), "data": None},
            mutation(15, base="1"),
            {},
            {"mutation_id": 5},
        ],
        "not_found": [mutation(16, resource="nothing"), mutation(17, "none", "remove"), mutation(18, "none", "patch")],
        "too_large": [mutation(19, key="k" * 513), mutation(20, data={"position": "x" * 4097})],
    }
    flat = [(code, one) for code, ones in wrong.items() for one in ones]
    acks, _ = await pushed(http, mutation(1, "first"), *(one for _, one in flat), mutation(2, "last"))
    assert [ack.status for ack in acks] == ["applied", *["rejected"] * len(flat), "applied"]
    assert [ack.code for ack in acks[1:-1]] == [code for code, _ in flat]
    assert all(ack.detail for ack in acks[1:-1])
    assert [ack.mutation_id for ack in acks[1:3]] == [str(UUID(int=11)), str(UUID(int=12))]


async def test_a_removed_row_cannot_be_patched(http: httpx.AsyncClient):
    acks, _ = await pushed(http, mutation(1), mutation(2, op="remove"), mutation(3, op="patch"))
    assert [(ack.status, ack.code) for ack in acks] == [("applied", None), ("applied", None), ("rejected", "removed")]


async def test_an_older_write_is_superseded_with_the_winner(http: httpx.AsyncClient):
    await http.put("/progress/k", json={"percentage": 0.5, "device_id": "tablet"})
    [ack], _ = await pushed(http, mutation(1, data={"percentage": 0.1}, updated_at="2020-01-01T00:00:00Z"))
    assert (ack.status, ack.offset) == ("superseded", None)
    assert ack.row
    assert ack.row.data
    assert (ack.row.data["percentage"], ack.row.device_id) == (0.5, "tablet")
    assert ack.conflict_id


async def test_the_same_mutation_again_gets_the_first_answer_and_changes_nothing(http: httpx.AsyncClient):
    mutations = [
        mutation(1, data={"percentage": 0.5}),
        mutation(2, data={"percentage": 0.1}, updated_at="2020-01-01T00:00:00Z"),
        mutation(3, "none", "remove"),
    ]
    first, cursor = await pushed(http, *mutations)
    again, same = await pushed(http, *mutations, mutations[0])
    assert same == cursor
    assert [ack.status for ack in again] == ["duplicate"] * 4
    plain = [ack.model_dump(exclude={"status"}) for ack in first]
    assert [ack.model_dump(exclude={"status"}) for ack in again] == [*plain, plain[0]]


async def test_twice_in_one_push_is_once(http: httpx.AsyncClient):
    acks, cursor = await pushed(
        http, mutation(1), mutation(1), {**mutation(1), "mutation_id": str(UUID(int=1)).upper()}
    )
    assert [ack.status for ack in acks] == ["applied", "duplicate", "duplicate"]
    assert cursor.endswith(".1")


async def test_mutation_ids_are_each_client_s_and_each_reader_s_own(http: httpx.AsyncClient, eve: httpx.AsyncClient):
    for client, who in (("c", http), ("d", http), ("c", eve)):
        [ack], _ = await pushed(who, mutation(1), client=client)
        assert ack.status == "applied"


async def test_a_push_of_nothing_gives_the_cursor_and_over_500_is_invalid(http: httpx.AsyncClient):
    assert (await pushed(http))[0] == []
    acks, _ = await pushed(http, *[mutation(n, f"k{n}") for n in range(500)])
    assert {ack.status for ack in acks} == {"applied"}
    body = {"device": {"id": "phone"}, "client_id": "c", "mutations": [{}] * 501}
    assert pointers(problem(await http.post("/push", json=body), 422, "invalid")) == ["/body/mutations"]


async def test_a_push_without_its_sender_is_invalid(http: httpx.AsyncClient):
    whole: dict[str, Any] = {"device": {"id": "phone"}, "client_id": "c", "mutations": []}
    for name in whole:
        body = {other: value for other, value in whole.items() if other != name}
        assert pointers(problem(await http.post("/push", json=body), 422, "invalid")) == [f"/body/{name}"]
    nameless = {**whole, "device": {"id": ""}}
    assert pointers(problem(await http.post("/push", json=nameless), 422, "invalid")) == ["/body/device/id"]


async def test_a_device_whose_clock_is_far_off_is_told_so(http: httpx.AsyncClient):
    body = {"device": {"id": "phone"}, "client_id": "c", "mutations": []}
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    told = (await http.post("/push", json={**body, "sent_at": ahead})).json()
    assert 3500 < told["drift_s"] <= 3600
    for sent_at in (None, datetime.now(UTC).isoformat()):
        assert "drift_s" not in (await http.post("/push", json={**body, "sent_at": sent_at})).json()


async def test_what_waits_for_a_rejected_mutation_is_rejected_with_its_reason(http: httpx.AsyncClient):
    acks, _ = await pushed(
        http,
        mutation(1, data={"percentage": 5}),
        mutation(2, "b", after=[str(UUID(int=1))]),
        mutation(3, "c", after=[str(UUID(int=9))]),
    )
    assert [(ack.status, ack.code) for ack in acks] == [
        ("rejected", "invalid"),
        ("rejected", "dependency_failed"),
        ("deferred", "dependency_unknown"),
    ]


async def test_what_is_wrong_is_told_with_its_places(http: httpx.AsyncClient):
    await pushed(http, mutation(1))
    acks, _ = await pushed(http, mutation(2, data={"percentage": 5}), mutation(3, op="patch", data={"status": "lost"}))
    assert [[place.pointer for place in ack.errors or ()] for ack in acks] == [["/data/percentage"], ["/data/status"]]
