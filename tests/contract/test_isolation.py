"""Another owner's rows are as if they were not there, at every door of every resource.

tests/e2e/test_isolation.py aims every route and frame there is; this sees that a resource's own doors hold.
"""

import pytest

from syncserver import resources
from tests.api.problems import problem
from tests.contract.owner import Owner, at, listening, place
from tests.resources import samples

WRITTEN = pytest.mark.parametrize("resource", samples.written())
EVERY = pytest.mark.parametrize("resource", samples.every())


@WRITTEN
async def test_nobody_else_reads_changes_or_hears_of_a_row(ada: Owner, eve: Owner, resource: str):
    async with listening(eve, resource) as outside:
        row = (await ada.put(resource, "a", "hers", updated_at=at(1))).json()
        route, change = ada.route(resource, "a"), {samples.marked(resource, "mark"): "taken"}
        problem(await eve.http.get(route), 404, "not_found")
        problem(await eve.http.patch(route, json=change), 404, "not_found")
        problem(await eve.http.delete(route), 404, "not_found")
        theirs = {"key": ada.key(resource, "a")}
        acks = await eve.push(
            "phone",
            {**eve.mutation(resource, "patch", "a", "taken"), **theirs},
            {**eve.mutation(resource, "remove", "a"), **theirs},
        )
        assert [(ack["status"], ack["code"]) for ack in acks] == [("rejected", "not_found")] * 2
        assert await eve.rows(resource) == []
        assert "hers" not in str(await eve.log())
        assert (await eve.http.get("/conflicts")).json()["items"] == []
        assert await outside.heard_no_more()
    put = await eve.http.put(route, json=ada.fields(resource, "taken"))
    assert put.status_code == (404 if resources.catalog()[resource].within else 200), "the same name in another house"
    assert (await ada.http.get(route)).json() == row


@EVERY
async def test_a_row_that_came_by_sql_is_its_owner_s_alone(ada: Owner, eve: Owner, by_sql, resource: str):
    key = ada.key(resource, ada.name)
    samples.insert(by_sql, resource, ada.name, key, "hers", ada.session)
    assert (await ada.http.get(place(resource, key))).status_code == 200
    problem(await eve.http.get(place(resource, key)), 404, "not_found")
    for row in (*await eve.rows(resource), *await eve.log(resource)):
        assert row.get("key", row.get(resources.catalog()[resource].key)) != key
