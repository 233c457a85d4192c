"""Run inside Schemathesis, as its hooks: the key that each request carries, another where the last was given up."""

import os
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import schemathesis

from syncserver.app import wiring
from syncserver.engine import tokens
from tests.harness import SECRET

URL, ACTOR = os.environ["ASKED_URL"], os.environ["ASKED_AS"]
_SESSION = "/api/v1/sessions/{key}"
_GIVE_UP = {("DELETE", "/api/v1/token"), ("DELETE", _SESSION)}
_kept: list[dict[str, str]] = []


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
    if not case.operation.path.startswith(_SESSION) or case.meta.phase.name == "stateful" or not _is_id(case):
        return
    if case.operation.path.endswith("/claim"):
        session = _begun()
        case.path_parameters["key"] = session["session_id"]
        if isinstance(case.body, dict) and isinstance(case.body.get("token"), str):
            case.body["token"] = session["token"]
    elif ACTOR == "visitor":
        case.path_parameters["key"] = _key()["session_id"]


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
