"""A visitor's rows become the reader's who signs in, of every resource, and the reader's devices hear of them."""

import pytest

from syncserver import resources
from tests.api.problems import problem
from tests.contract.owner import Owner, at, claim, listening, place
from tests.resources import samples

WRITTEN = pytest.mark.parametrize("resource", samples.written())
SHARED = [name for name in samples.written() if not resources.catalog()[name].within]
"""Where keys hold their session, nobody else can have the same."""

READ_ONLY = pytest.mark.parametrize("resource", [name for name in samples.every() if name not in samples.written()])


@WRITTEN
async def test_a_visitor_s_rows_are_the_reader_s_live_and_as_they_were(ada: Owner, visitor: Owner, resource: str):
    mark = samples.marked(resource, "mark")
    put = await visitor.put(resource, "mine", "the visitor's", updated_at=at(1), device_id="phone")
    assert put.status_code == 200, put.text
    async with listening(ada, resource) as tablet:
        assert (await claim(ada, visitor))["rows"] >= 1
        heard = await tablet.until(resource, visitor.key(resource, "mine"))
    assert (heard["op"], heard["data"][mark], heard["device_id"]) == ("put", "the visitor's", "phone")
    row = (await ada.http.get(visitor.route(resource, "mine"))).json()
    assert {**row, "offset": 0} == {**put.json(), "offset": 0}
    problem(await visitor.http.get(visitor.route(resource, "mine")), 401, "claimed")


@pytest.mark.parametrize("resource", SHARED)
async def test_where_both_have_a_row_the_later_one_stays_and_the_other_is_kept(
    ada: Owner, visitor: Owner, resource: str
):
    mark = samples.marked(resource, "mark")
    await ada.put(resource, "same", "the reader's", updated_at=at(1), device_id="tablet")
    await visitor.put(resource, "same", "the visitor's", updated_at=at(2), device_id="phone")
    assert (await claim(ada, visitor))["conflicts"] >= 1
    assert (await ada.http.get(ada.route(resource, "same"))).json()[mark] == "the visitor's"
    about = {"resource": resource, "key": ada.key(resource, "same")}
    [conflict] = (await ada.http.get("/conflicts", params=about)).json()["items"]
    assert conflict["loser"]["fields"][mark] == "the reader's"


@READ_ONLY
async def test_rows_that_no_client_writes_are_claimed_too(ada: Owner, visitor: Owner, by_sql, resource: str):
    key = visitor.session
    if resource != "sessions":  # of those it has one: itself
        samples.insert(by_sql, resource, visitor.name, key, "mark", visitor.session)
    assert (await visitor.http.get(place(resource, key))).status_code == 200
    async with listening(ada, resource) as tablet:
        await claim(ada, visitor)
        heard = await tablet.until(resource, key)
    assert (heard["op"], heard["key"], heard["data"][resources.catalog()[resource].key]) == ("put", key, key)
