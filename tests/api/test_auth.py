from datetime import timedelta

import httpx
import jwt
import pytest

from syncserver.app import wiring
from tests.api.problems import problem
from tests.harness import SECRET, Live, token

ROUTES = [
    ("GET", "/api/v1/progress"),
    ("GET", "/api/v1/progress/k"),
    ("PUT", "/api/v1/progress/k"),
    ("PATCH", "/api/v1/progress/k"),
    ("DELETE", "/api/v1/progress/k"),
    ("GET", "/api/v1/changes"),
    ("POST", "/api/v1/push"),
]


def signed(secret: bytes | None = SECRET, algorithm: str = "HS256", **claims: object) -> str:
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


async def test_a_token_in_the_url_is_not_looked_at(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        problem(await http.get("/api/v1/progress", params={"token": token("ada")}), 401, "unauthorised")
