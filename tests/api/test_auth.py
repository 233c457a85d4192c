import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
import websockets

from syncserver.app import wiring
from tests.api.problems import problem
from tests.harness import SECRET, Live, Serving, token
from tests.transports.sockets import HELLO

ROUTES = [
    ("GET", "/api/v1/progress"),
    ("GET", "/api/v1/progress/k"),
    ("PUT", "/api/v1/progress/k"),
    ("PATCH", "/api/v1/progress/k"),
    ("DELETE", "/api/v1/progress/k"),
    ("GET", "/api/v1/changes"),
    ("POST", "/api/v1/push"),
]


def signed(secret: Any = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


LATER = wiring.now() + timedelta(hours=1)
BAD = {
    "none": None,
    "of another kind": "Basic YWRhOmFkYQ==",
    "garbage": "Bearer garbage",
    "empty": "Bearer",
    "expired": f"Bearer {token('ada', timedelta(minutes=-5))}",
    "of another server": f"Bearer {signed(SECRET[::-1], sub='ada', exp=LATER)}",
    "unsigned": f"Bearer {signed(None, 'none', sub='ada', exp=LATER)}",
    "without an end": f"Bearer {signed(sub='ada')}",
    "without a subject": f"Bearer {signed(exp=LATER)}",
    "with an empty subject": f"Bearer {signed(sub='', exp=LATER)}",
    "with a subject that is no text": f"Bearer {signed(sub=5, exp=LATER)}",
    "with a subject that no row can have": f"Bearer {signed(sub='a' + chr(0), exp=LATER)}",
    "too long": f"Bearer {'x' * 20_000}",
}


async def test_every_route_asks_for_a_token_that_holds(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        for method, path in ROUTES:
            for name, header in BAD.items() if path == "/api/v1/progress" else [("none", None)]:
                answer = await http.request(method, path, headers={"Authorization": header} if header else {})
                document = problem(answer, 401, "unauthorised")
                assert answer.headers["www-authenticate"] == "Bearer", name
                assert header is None or header.split()[-1] not in document["detail"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/openapi.json"])
async def test_whether_it_lives_and_what_it_offers_can_be_asked_without(live: Live, path: str):
    async with httpx.AsyncClient(base_url=live.url) as http:
        assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/progress", "/api/v1/changes/stream"])
@pytest.mark.parametrize("name", ["token", "access_token"])
async def test_a_token_in_the_url_is_refused_with_a_word_why(live: Live, path: str, name: str):
    async with httpx.AsyncClient(base_url=live.url, headers=live.headers()) as http:
        key = token("ada")
        document = problem(await http.get(path, params={name: key}), 400, "malformed")
        assert "URL" in document["detail"]
        assert key not in document["detail"]


@pytest.fixture
async def by_cookie(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    """A page of the server's own, signed in by cookie."""
    async with (
        serving(cookie="__Host-token") as live,
        httpx.AsyncClient(base_url=live.url, headers={"Cookie": f"__Host-token={token('ada')}"}, timeout=20) as http,
    ):
        yield http


async def test_where_the_operator_turns_it_on_the_token_may_be_in_a_cookie(by_cookie: httpx.AsyncClient):
    own = {"Origin": str(by_cookie.base_url), "Sync-Csrf": "1"}
    body = {"percentage": 0.5}
    assert (await by_cookie.put("/api/v1/progress/moby-dick", json=body, headers=own)).status_code == 200
    assert (await by_cookie.get("/api/v1/progress/moby-dick")).json()["percentage"] == 0.5
    async with by_cookie.stream("GET", "/api/v1/changes/stream") as answer:
        assert answer.status_code == 200


async def test_with_a_cookie_no_other_page_writes_and_nothing_is_written(by_cookie: httpx.AsyncClient):
    own = str(by_cookie.base_url)
    wrong = [
        ({"Origin": "https://evil.example", "Sync-Csrf": "1"}, "forbidden_origin"),
        ({"Sync-Csrf": "1"}, "forbidden_origin"),
        ({"Origin": own, "Sync-Csrf": "1", "Sec-Fetch-Site": "cross-site"}, "forbidden_origin"),
        ({"Origin": own}, "forbidden"),
    ]
    for headers, code in wrong:
        for method in ("PUT", "DELETE"):
            answer = await by_cookie.request(method, "/api/v1/progress/moby-dick", json={}, headers=headers)
            problem(answer, 403, code)
    for path in ("/api/v1/progress", "/api/v1/changes/stream"):
        problem(await by_cookie.get(path, headers={"Sec-Fetch-Site": "cross-site"}), 403, "forbidden_origin")
    assert (await by_cookie.get("/api/v1/progress")).json()["items"] == []


async def test_a_page_that_is_let_in_may_have_its_browser_send_the_cookie(serving: Serving):
    page = "https://books.example"
    asked = {"Origin": page, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "Sync-Csrf"}
    for settings, allowed in (
        ({"cookie": "key", "origins": page}, "true"),
        ({"cookie": "key", "origins": "*"}, None),
        ({"origins": page}, None),
    ):
        async with serving(**settings) as live, httpx.AsyncClient(base_url=live.url) as http:
            answer = await http.options("/api/v1/progress/moby-dick", headers=asked)
            assert answer.status_code == 200
            assert answer.headers.get("access-control-allow-credentials") == allowed


async def test_the_document_says_that_a_cookie_counts_where_it_does(serving: Serving):
    for cookie in ("key", None):
        async with serving(cookie=cookie) as live, httpx.AsyncClient(base_url=live.url) as http:
            document = (await http.get("/api/openapi.json")).json()
            schemes = document["components"]["securitySchemes"]
            operation = document["paths"]["/api/v1/tickets"]["post"]
            assert (schemes.get("Cookie", {}).get("name"), "403" in operation["responses"]) == (cookie, bool(cookie))
            assert ({"Cookie": []} in operation["security"]) is bool(cookie)


async def test_a_socket_may_be_signed_in_by_cookie_from_a_page_that_is_let_in(serving: Serving):
    async with serving(cookie="key") as live:
        for origin, close in ((live.url, None), (None, 4503), ("https://evil.example", 4503)):
            named = {"Cookie": f"key={token('ada')}"}
            async with websockets.connect(
                live.socket_url, additional_headers=named, origin=websockets.Origin(origin) if origin else None
            ) as socket:
                with contextlib.suppress(websockets.ConnectionClosed):  # a foreign page is not even listened to
                    await socket.send(json.dumps(HELLO))
                first = json.loads(await socket.recv())
                if close is None:
                    assert first["type"] == "welcome"
                else:
                    assert (first["type"], first["code"]) == ("error", "forbidden_origin")
                    await socket.wait_closed()
                    assert socket.close_code == close


async def test_without_the_setting_no_cookie_counts(live: Live):
    async with httpx.AsyncClient(base_url=live.url, headers={"Cookie": f"__Host-token={token('ada')}"}) as http:
        problem(await http.get("/api/v1/progress"), 401, "unauthorised")
