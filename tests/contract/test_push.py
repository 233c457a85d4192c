"""What a push says of each mutation, of every resource."""

import pytest

from syncserver import resources
from tests.contract.owner import Owner, at
from tests.resources import samples
from tests.transports.sockets import pushed

WRITTEN = pytest.mark.parametrize("resource", samples.written())


@WRITTEN
async def test_what_is_sent_again_gets_its_first_answer_over_whichever_transport(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    sent = [
        ada.mutation(resource, "put", "a", "first", updated_at=at(1)),
        ada.mutation(resource, "patch", "a", "second", updated_at=at(2)),
        ada.mutation(resource, "put", "b", "third", updated_at=at(3)),
        ada.mutation(resource, "remove", "b", updated_at=at(4)),
    ]
    first = await ada.push("phone", *sent)
    assert {ack["status"] for ack in first} <= {"applied", "merged"}, first
    row = (await ada.http.get(ada.route(resource, "a"))).json()
    assert (row[mark], row["offset"]) == ("second", first[1]["offset"])
    log = await ada.log()

    again = [{**ack, "status": "duplicate"} for ack in first]
    assert await ada.push("phone", *sent) == again
    async with ada.device("phone") as phone:
        assert await pushed(phone, *sent) == again
    assert await ada.log() == log


@WRITTEN
async def test_what_is_wrong_is_rejected_with_its_place_and_stands_in_no_other_s_way(ada: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    good = ada.mutation(resource, "put", "a", "mark")
    whole = {**ada.mutation(resource, "put", "b", "mark"), "data": {**ada.fields(resource, "mark"), mark: 7}}
    some = {**ada.mutation(resource, "patch", "a", "mark"), "data": {mark: 7}}
    acks = await ada.push(
        "phone",
        good,
        whole,
        some,
        {**ada.mutation(resource, "put", "b", "mark"), "key": "\x01"},
        {**ada.mutation(resource, "put", "b", "mark"), "op": "replace"},
        {**ada.mutation(resource, "put", "b", "mark"), "data": None},
    )
    assert acks[0]["status"] == "applied"
    assert {(ack["status"], ack["code"]) for ack in acks[1:]} == {("rejected", "invalid")}
    places = [[error["pointer"] for error in ack["errors"]] for ack in acks[1:]]
    assert places == [[f"/data/{mark}"], [f"/data/{mark}"], ["/key"], ["/op"], ["/data"]]
    unknown = [ada.mutation(resource, op, "nothing", None if op == "remove" else "mark") for op in ("patch", "remove")]
    assert [ack["code"] for ack in await ada.push("phone", *unknown)] == ["not_found"] * 2
    assert [row[resources.catalog()[resource].key] for row in await ada.rows(resource)] == [ada.key(resource, "a")]


@WRITTEN
async def test_a_temporary_name_becomes_a_key_where_the_server_makes_them(ada: Owner, resource: str):
    found = resources.catalog()[resource]
    begun = {**ada.mutation(resource, "put", "a", "first"), "key": {"temp": "new"}}
    changed = {**ada.mutation(resource, "patch", "a", "second"), "key": {"temp": "new"}}
    acks = await ada.push("phone", begun, changed)
    if not found.makes_keys:
        assert acks[0]["errors"] == [{"pointer": "/key", "detail": "a text"}]
        assert acks[1]["code"] in {"invalid", "dependency_failed"}
        return
    assert [ack["status"] for ack in acks] == ["applied"] * 2, acks
    [row] = await ada.rows(resource)
    assert [ack["id_map"] for ack in acks] == [{"new": row[found.key]}] * 2
    assert await ada.push("phone", begun, changed) == [{**ack, "status": "duplicate"} for ack in acks]
    assert await ada.rows(resource) == [row]
