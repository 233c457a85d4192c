import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncserver import resources
from syncserver.app import wiring
from syncserver.core import values
from tests.api.problems import pointers, problem
from tests.harness import Live

JSON = {"Content-Type": "application/json"}
PUSH = '{"device": {"id": "d"}, "client_id": "c", "mutations": %s}'


async def test_what_is_not_there_and_what_is_not_allowed_are_problems_too(live: Live, http: httpx.AsyncClient):
    problem(await http.get(f"{live.url}/nowhere"), 404, "not_found")
    problem(await http.post("/progress"), 405, "method_not_allowed")
    problem(await http.delete("/changes"), 405, "method_not_allowed")


NOT_JSON: dict[str, str | bytes] = {
    "cut short": "{",
    "no text": b'{"position": "\xff"}',
    "a lone surrogate": '{"position": "\\ud800"}',
    "a lone surrogate deep inside": '{"locator": {"href": "a", "type": "b", "more": "\\udfff"}}',
    "NaN": '{"percentage": NaN}',
    "NaN deep inside": '{"locator": {"href": "a", "type": "b", "more": NaN}}',
    "infinity": '{"percentage": -Infinity}',
    "too deep": '{"x":' + "[" * 100_000 + "]" * 100_000 + "}",
}


async def test_a_body_that_is_not_json_is_malformed(http: httpx.AsyncClient):
    for body in NOT_JSON.values():
        problem(await http.put("/progress/k", content=body, headers=JSON), 400, "malformed")
        problem(await http.post("/push", content=body, headers=JSON), 400, "malformed")
    problem(await http.get("/progress/k"), 404, "not_found")


async def test_a_body_that_is_no_object_is_invalid(http: httpx.AsyncClient):
    for body in ("[]", "null", "5", '"text"', ""):
        for method, path in (("PUT", "/progress/k"), ("POST", "/push")):
            answer = await http.request(method, path, content=body, headers=JSON)
            assert pointers(problem(answer, 422, "invalid"))[0].startswith("/body")


async def test_a_body_over_one_mebibyte_is_too_large_and_one_of_that_size_is_read(http: httpx.AsyncClient):
    most = json.dumps({"status": "finished"}).ljust(values.FRAME_BYTES)
    assert (await http.put("/progress/k", content=most, headers=JSON)).status_code == 200
    problem(await http.put("/progress/k", content=most + " ", headers=JSON), 413, "too_large")
    problem(await http.post("/push", content=most + " ", headers=JSON), 413, "too_large")


async def _pieces(size: int) -> Any:
    for _ in range(size // 65_536):
        yield b" " * 65_536


async def test_a_body_of_unknown_length_is_too_large_as_soon_as_it_is(http: httpx.AsyncClient):
    answer = await http.put("/progress/k", content=_pieces(values.FRAME_BYTES + 65_536), headers=JSON)
    problem(answer, 413, "too_large")


FIELDS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"percentage": 1.2}, 422, "invalid", "/percentage"),
    ({"percentage": "0.5"}, 422, "invalid", "/percentage"),
    ({"percentage": True}, 422, "invalid", "/percentage"),
    ({"position": "a\0b"}, 422, "invalid", "/position"),
    ({"position": "x" * 4097}, 413, "too_large", ""),
    ({"position_kind": "chapter"}, 422, "invalid", "/position_kind"),
    ({"status": "started"}, 422, "invalid", "/status"),
    ({"series_id": 5}, 422, "invalid", "/series_id"),
    ({"locator": "chapter1"}, 422, "invalid", "/locator"),
    ({"locator": {"href": "a"}}, 422, "invalid", "/locator/type"),
    ({"locator": {"href": "a", "type": "b", "x": "y" * 40_000}}, 422, "invalid", "/locator"),
    ({"updated_at": "yesterday"}, 422, "invalid", "/updated_at"),
    ({"updated_at": 5}, 422, "invalid", "/updated_at"),
    ({"base": "5"}, 422, "invalid", "/base"),
    ({"base": -1}, 422, "invalid", "/base"),
    ({"policy": "luck"}, 422, "invalid", "/policy"),
    ({"mutation_id": "1"}, 422, "invalid", "/mutation_id"),
    ({"device_id": ""}, 422, "invalid", "/device_id"),
    ({"device_id": "a\0"}, 422, "invalid", "/device_id"),
    ({"device_name": 5}, 422, "invalid", "/device_name"),
    ({"device_id": "d" * 129}, 413, "too_large", ""),
]


async def test_a_wrong_value_names_its_place_and_writes_nothing(http: httpx.AsyncClient):
    before = (await http.put("/progress/k", json={"percentage": 0.5})).json()
    for body, status, code, pointer in FIELDS:
        document = problem(await http.put("/progress/k", json=body), status, code)
        if status == 422:
            assert pointers(document) == [pointer], body
        patched = problem(await http.patch("/progress/k", json=body), status, code)
        assert pointer.rsplit("/", 1)[-1] in patched["detail"]
    assert (await http.get("/progress/k")).json() == before


async def test_a_key_that_no_row_can_have_is_invalid_whatever_is_asked(http: httpx.AsyncClient):
    for key in ("k" * 10_240, "k" * 513, "a%00b", "a%7Fb", ""):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = await http.request(method, f"/progress/{key}", json={} if method in {"PUT", "PATCH"} else None)
            assert pointers(problem(answer, 422, "invalid")) == ["/path/key"]


async def test_an_if_match_that_is_no_etag_of_a_row_is_invalid(http: httpx.AsyncClient):
    for etag in ("*", 'W/"1"', "x", '"-1"', "9" * 20, "9" * 5000, '""'):
        answer = await http.put("/progress/k", json={}, headers={"If-Match": etag})
        assert pointers(problem(answer, 422, "invalid")) == ["/header/if-match"]


_texts = st.text(max_size=30)
_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _texts | st.lists(_texts, max_size=2)
_bodies = st.dictionaries(
    st.sampled_from([*resources.catalog()["progress"].fields, "base", "policy", "updated_at", "device_id", "x"]),
    _values | st.dictionaries(st.sampled_from(["href", "type", "locations", "x"]), _values, max_size=4),
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_bodies, method=st.sampled_from(["PUT", "PATCH"]))
async def test_no_body_is_more_than_the_server_can_take(http: httpx.AsyncClient, body: dict[str, Any], method: str):
    content = json.dumps(body)
    answer = await http.request(method, "/progress/k", content=content, headers=JSON)
    assert answer.status_code in {200, 400, 404, 409, 413, 422}, (content, answer.text)
    if answer.status_code != 200:
        problem(answer, answer.status_code, answer.json()["code"])


async def test_a_fault_of_the_server_is_a_problem_that_tells_nothing(live: Live, monkeypatch: pytest.MonkeyPatch):
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(live.parts.pull, "row", broken)
    async with httpx.AsyncClient(base_url=live.url, headers=live.headers()) as http:
        answer = await http.get("/api/v1/progress/k")
    assert "secret" not in problem(answer, 500, "error")["detail"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault(live: Live):
    said: list[Any] = []
    came = iter([{"type": "http.request", "body": b'{"percentage":', "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(came)

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in live.headers().items()]
    scope = {"type": "http", "method": "PUT", "path": "/api/v1/progress/k", "raw_path": b"", "query_string": b""}
    await wiring.application(live.parts)({**scope, "headers": headers, "app": None}, receive, send)
    assert said[0]["status"] == 400
