"""Run inside Schemathesis, as its hooks: the key that each request carries, another where the last was given up."""

import os
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import schemathesis

from syncserver.app import wiring
from syncserver.engine import tokens
from tests.harness import SECRET

URL, ACTOR = os.environ["ASKED_URL"], os.environ["ASKED_AS"]
_SESSION = "/api/v1/sessions/{key}"
_READING = {"/api/v1/reading-sessions/{key}", "/api/v1/session-events/{key}", "/api/v1/readings/{key}"}
_REMOVAL = ("DELETE", "/api/v1/progress/{key}")
_LONG_AGO = "1999-01-01T00:00:00Z"
_GIVE_UP = {("DELETE", "/api/v1/token"), ("DELETE", _SESSION)}
_TIMES = 20
_kept: list[dict[str, str]] = []
_there: dict[str, tuple[str, int]] = {}
_http = httpx.Client(base_url=f"{URL}/api/v1", timeout=30)


def _begun() -> dict[str, str]:
    answer = httpx.post(f"{URL}/api/v1/sessions")
    answer.raise_for_status()
    session: dict[str, str] = answer.json()
    return session


def _signed_in() -> dict[str, str]:
    return {"token": tokens.mint(SECRET, ACTOR, wiring.now(), timedelta(hours=1))}


def _key() -> dict[str, str]:
    if not _kept:
        _kept.append(_begun() if ACTOR == "visitor" else _signed_in())
    return _kept[0]


@schemathesis.auth(refresh_interval=None)
class Key:
    """The actor's bearer token."""

    def get(self, _case: Any, _context: Any) -> str:
        return _key()["token"]

    def set(self, case: Any, data: str, _context: Any) -> None:
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Where a session may be named, one that is there: a made-up id would only ever be unknown."""
    if _talks(case) and case.meta.phase.name != "stateful" and _is_id(case):
        case.path_parameters["key"] = _talked(case.operation.path)
    if _reads(case) and case.meta.phase.name != "stateful" and _is_id(case):
        case.path_parameters["key"] = _read(case.operation.path)
    if (case.method, case.operation.path) == _REMOVAL and case.path_parameters["key"].isalnum():
        key = case.path_parameters["key"] = uuid4().hex
        _http.put(f"/progress/{key}", json={"updated_at": _LONG_AGO}, headers=_headers())
    if not case.operation.path.startswith(_SESSION) or case.meta.phase.name == "stateful" or not _is_id(case):
        return
    if case.operation.path.endswith("/claim"):
        session = _begun()
        case.path_parameters["key"] = session["session_id"]
        if isinstance(case.body, dict) and isinstance(case.body.get("token"), str):
            case.body["token"] = session["token"]
    elif ACTOR == "visitor":
        case.path_parameters["key"] = _key()["session_id"]


def _talks(case: Any) -> bool:
    """Whether a conversation is named, or a message."""
    path: str = case.operation.path
    return path.startswith(("/api/v1/conversations/{key}", "/api/v1/messages/{key}"))


def _talked(path: str) -> str:
    """A conversation, or a message of one."""
    with httpx.Client(base_url=f"{URL}/api/v1", headers={"Authorization": f"Bearer {_key()['token']}"}) as http:
        home = http.post("/conversations", json={"title": "On Ahab"}).json()["id"]
        if path.startswith("/api/v1/conversations"):
            return str(home)
        words = http.post(f"/conversations/{home}/messages", json={"role": "user", "content": "Hi"})
        return str(words.json()["id"])


def _reads(case: Any) -> bool:
    """Whether a reading session is named, or what is made of one; one that was removed by then cannot be."""
    return case.operation.path.startswith("/api/v1/reading-sessions/{key}") or case.operation.path in _READING


def _read(path: str) -> str:
    """The key of what is asked for: a session, an event or a reading; another after some time, as they wear out."""
    kind = path.split("/")[3]
    key, times = _there.get(kind, ("", 0))
    if times == 0:
        key, times = _made(kind), _TIMES
    _there[kind] = (key, times - 1)
    return key


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {_key()['token']}"}


def _made(kind: str) -> str:
    headers = _headers()
    session = str(_http.post("/reading-sessions", json={"publication_id": "moby"}, headers=headers).json()["id"])
    if kind == "readings":
        _http.post(f"/reading-sessions/{session}/complete", headers=headers).raise_for_status()
    if kind == "session-events":
        events = _http.get("/session-events", params={"session_id": session}, headers=headers)
        return str(events.json()["items"][0]["id"])
    return session


def _is_id(case: Any) -> bool:
    try:
        return bool(str(UUID(case.path_parameters["key"])) == case.path_parameters["key"])
    except (ValueError, AttributeError, TypeError, KeyError):
        return False


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """A key that was given up by this very request is not shown again."""
    if (case.method, case.operation.path) in _GIVE_UP and response.status_code == 204:
        _kept.clear()
        _there.clear()
    if case.method == "DELETE" and _reads(case) and response.status_code == 204:
        _there.pop(case.operation.path.split("/")[3], None)
