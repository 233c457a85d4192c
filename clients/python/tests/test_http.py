import httpx
import pytest
from syncserver_client.errors import Fatal, Rejected, Transient
from syncserver_client.http import Http, _silence
from syncserver_client.mirror import Mirror
from syncserver_client.poll import Poller
from syncserver_client.settings import Settings
from syncserver_client.token import TokenSource

TOKEN = "t"
STAMP = "2026-01-01T00:00:00.000000Z"


class Fake:
    """Answers requests from a list, and keeps them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        return self.answers.pop(0)


@pytest.fixture
async def opened(clock):
    made = []

    def open_http(fake, token=TOKEN):
        http = Http(Settings(url="http://sync.example", device="d", resources=("a", "b")), TokenSource(token), clock)
        http._client = httpx.AsyncClient(transport=httpx.MockTransport(fake))
        made.append(http)
        return http

    yield open_http
    for http in made:
        await http.close()


def row(key, offset):
    return {"resource": "a", "key": key, "op": "put", "data": {}, "offset": offset, "updated_at": STAMP}


def page(cursor, *rows, more=False):
    return httpx.Response(200, json={"rows": rows, "cursor": cursor, "more": more, "server_time": STAMP})


async def test_polling_follows_the_cursor_and_shows_at_the_end(opened, clock):
    fake = Fake(page("c1", row("x", 1), more=True), page("c2", row("y", 2)), httpx.Response(304))
    mirror = Mirror()
    poller = Poller(opened(fake), mirror, clock)
    assert [change.key for change in await poller.catch_up()] == ["x", "y"]
    assert await poller.catch_up() == []
    first, second, third = fake.requests
    assert "cursor" not in first.url.params
    assert "If-None-Match" not in first.headers
    assert second.url.params["cursor"] == "c1"
    assert (third.url.params["resources"], third.headers["If-None-Match"]) == ("a,b", '"c2"')
    assert third.headers["Authorization"] == "Bearer t"


async def test_nothing_new_may_move_the_cursor_and_still_teaches_the_clock(opened, clock):
    date = "Thu, 01 Jan 2026 01:00:00 GMT"
    mirror = Mirror()
    http = opened(Fake(httpx.Response(204, headers={"Sync-Cursor": "c9", "Date": date})))
    await Poller(http, mirror, clock).catch_up()
    assert mirror.cursor == "c9"
    assert clock.known
    assert 3590 < clock.offset.total_seconds() < 3610


async def test_gone_means_refetch(opened, clock):
    fake = Fake(page("c1", row("x", 1)), httpx.Response(410, json={"code": "refetch"}), page("d1", row("y", 2)))
    poller = Poller(opened(fake), Mirror(), clock)
    await poller.catch_up()
    assert [(c.key, c.op) for c in await poller.catch_up()] == [("x", "remove"), ("y", "put")]
    assert "cursor" not in fake.requests[2].url.params


async def test_a_token_that_can_be_renewed_gets_one_more_try(opened):
    tokens = iter("abcd")
    fake = Fake(httpx.Response(401), httpx.Response(200, json=row("k", 1)), httpx.Response(401), httpx.Response(401))
    http = opened(fake, lambda: next(tokens))
    assert await http.get("a", "k") is not None
    with pytest.raises(Fatal):
        await http.get("a", "k")
    assert [request.headers["Authorization"][-1] for request in fake.requests] == ["a", "b", "b", "c"]


async def test_a_fixed_token_gets_none(opened):
    fake = Fake(httpx.Response(401))
    with pytest.raises(Fatal):
        await opened(fake).get("a", "k")


async def test_reading_a_row(opened):
    plain = {"progression": 0.4, "updated_at": STAMP, "device_id": "d", "offset": 4}
    fake = Fake(httpx.Response(200, json=plain), httpx.Response(404))
    http = opened(fake)
    found = await http.get("a", "a/b?")
    assert found is not None
    assert (found.id, found.offset, found.device_id) == (("a", "a/b?"), 4, "d")
    assert found.value == {"progression": 0.4, "updated_at": STAMP, "device_id": "d"}
    assert fake.requests[0].url.raw_path == b"/api/v1/a/a%2Fb%3F"
    assert await http.get("a", "k") is None


async def test_a_resource_has_its_route_by_another_spelling(opened):
    fake = Fake(httpx.Response(404))
    await opened(fake).get("reading_sessions", "a_b")
    assert fake.requests[0].url.raw_path == b"/api/v1/reading-sessions/a_b"


async def test_what_may_pass_and_what_may_not(opened):
    busy = httpx.Response(503, headers={"Retry-After": "7"})
    no = httpx.Response(422, json={"code": "invalid", "detail": "why"})
    http = opened(Fake(busy, no, httpx.Response(413), httpx.Response(200, text="<html>")))
    with pytest.raises(Transient) as passing:
        await http.push(b"{}")
    assert passing.value.retry_after_s == 7.0
    with pytest.raises(Rejected, match="invalid: why"):
        await http.push(b"{}")
    with pytest.raises(Rejected, match="too_large"):
        await http.push(b"{}")
    with pytest.raises(Transient, match="bad_frame"):
        await http.push(b"{}")


async def test_no_address_in_any_log(opened, caplog):
    caplog.set_level("DEBUG")
    http = opened(Fake(httpx.Response(404)))
    _silence()
    await http.get("a", "secret-key")
    assert "secret-key" not in caplog.text
