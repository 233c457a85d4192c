"""What browsers hear: which pages may read an answer, and what a page may do with it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from syncserver.api.browsers import Secured
from tests.harness import Live, Serving

BOOKS = "https://books.example"
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(origins=BOOKS) as live, _client(live) as client:
        yield client


def _client(live: Live) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=live.url, headers=live.headers(), timeout=30)


def secure(answer: httpx.Response) -> bool:
    return SECURITY.items() <= answer.headers.items() and "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/healthz", "/api/v1/progress", "/api/v1/progress/none", "/nowhere", "/api/v1/changes"]
)
async def test_every_answer_has_the_headers_of_security(http: httpx.AsyncClient, path: str):
    assert secure(await http.get(path))


async def test_so_has_an_answer_to_a_fault_of_ours(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    async with serving(origins=BOOKS) as live, _client(live) as http:
        monkeypatch.delattr(live.parts.house, "pull")
        answer = await http.get("/api/v1/progress", headers={"Origin": BOOKS})
    assert answer.status_code == 500
    assert secure(answer)
    assert answer.headers["access-control-allow-origin"] == BOOKS


async def test_a_stream_has_them_too_and_flows(http: httpx.AsyncClient):
    async with http.stream("GET", "/api/v1/changes/stream") as answer:
        assert secure(answer)
        async for chunk in answer.aiter_text():
            if "event: ready" in chunk:
                break


async def test_over_tls_the_browser_is_told_to_stay_there(http: httpx.AsyncClient):
    answer = await http.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_route_s_own_policy_stands():
    sent = []

    async def page(_scope: object, _receive: object, send: object) -> None:
        headers = [(b"Content-Security-Policy", b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]

    async def send(message: object) -> None:
        sent.append(message)

    await Secured(page)({"type": "http"}, None, send)  # type: ignore[arg-type]
    headers = sent[0]["headers"]  # type: ignore[index]
    assert [value for name, value in headers if name.lower() == b"content-security-policy"] == [b"default-src 'self'"]


async def test_a_page_that_is_let_in_may_read_and_learns_what_it_needs(http: httpx.AsyncClient):
    answer = await http.get("/api/v1/changes", headers={"Origin": BOOKS})
    assert answer.headers["access-control-allow-origin"] == BOOKS
    assert {"ETag", "Sync-Cursor", "Sync-Status", "Retry-After"} <= {
        name.strip() for name in answer.headers["access-control-expose-headers"].split(",")
    }


async def test_an_error_may_be_read_too(http: httpx.AsyncClient):
    answer = await http.get("/api/v1/progress", headers={"Origin": BOOKS, "Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, BOOKS)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://books.example"])
async def test_another_page_may_not(http: httpx.AsyncClient, origin: str):
    answer = await http.get("/api/v1/changes", headers={"Origin": origin})
    asked = await http.options("/api/v1/push", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    for one in (answer, asked):
        assert "access-control-allow-origin" not in one.headers


async def test_it_may_send_what_it_has_to(http: httpx.AsyncClient):
    wanted = "authorization,content-type,if-match,if-none-match,last-event-id"
    answer = await http.options(
        "/api/v1/progress/k",
        headers={
            "Origin": BOOKS,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": wanted,
        },
    )
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, BOOKS)
    assert set(wanted.split(",")) <= allowed
    assert "access-control-allow-credentials" not in answer.headers


async def test_where_nobody_is_named_nobody_else_may_read(live: Live):
    async with _client(live) as http:
        answer = await http.get("/api/v1/changes", headers={"Origin": BOOKS})
    assert "access-control-allow-origin" not in answer.headers


async def test_where_all_are_named_all_may(serving: Serving):
    async with serving(origins="*") as live, _client(live) as http:
        answer = await http.get("/api/v1/changes", headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
