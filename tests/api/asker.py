"""Run inside Schemathesis, as its hooks: the key that each request carries, another where the last was given up."""

import os
import re
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
_PROGRESS = "/api/v1/progress/{key}"
_IN_A_WORKSPACE = re.compile(r"/api/v1/sessions/\{key\}/(nodes|relationships|bulk|import|export)\b")
_IMPORT = "/api/v1/sessions/{key}/import"
_FILE = "title\nAhab\n"
_WRITES = {"PUT", "PATCH", "DELETE"}
_OWN = {"nodes": "N001", "node-components": "c", "session-relationships": "r"}
_PARTS = {"node_id": ("N[0-9]{3,}", "N001"), "component_id": ("[^/]+", "c"), "relationship_id": ("[^/]+", "r")}
_LONG_AGO = "1999-01-01T00:00:00Z"
_GIVE_UP = {("DELETE", "/api/v1/token"), ("DELETE", _SESSION)}
_TIMES = 20
_kept: list[dict[str, str]] = []
_there: dict[str, tuple[str, int]] = {}
_claimed: list[str] = []
_laid: set[str] = set()
"""Sessions whose rows are all there."""

_imported: dict[str, str] = {}
"""Of each session, one import."""

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
    if case.meta.phase.name != "stateful":
        _named(case)
    if _IN_A_WORKSPACE.match(case.operation.path):
        return
    if not case.operation.path.startswith(_SESSION) or case.meta.phase.name == "stateful" or not _is_id(case):
        return
    if case.operation.path.endswith("/claim"):
        session = _begun()
        case.path_parameters["key"] = session["session_id"]
        if isinstance(case.body, dict) and isinstance(case.body.get("token"), str):
            case.body["token"] = session["token"]
    elif ACTOR == "visitor":
        case.path_parameters["key"] = _key()["session_id"]


def _named(case: Any) -> None:
    """Whatever else may be named, one that is there."""
    if _talks(case) and _is_id(case):
        case.path_parameters["key"] = _talked(case.operation.path)
    if _reads(case) and _is_id(case):
        case.path_parameters["key"] = _read(case.operation.path)
    if case.operation.path == _PROGRESS and _is_a_name(case):
        case.path_parameters["key"] = _got_to()
    _in_a_workspace(case)


def _got_to() -> str:
    """The key of a progress that is there, another for every request; it is long ago, so that any write wins."""
    key = uuid4().hex
    _http.put(f"/progress/{key}", json={"updated_at": _LONG_AGO}, headers=_headers()).raise_for_status()
    return key


def _in_a_workspace(case: Any) -> None:
    """Where a node, a component, a relationship or an import is named, one that is there."""
    kind = _kind_of(case)
    if kind is not None and _is_a_name(case):
        session = _workspace()
        case.path_parameters["key"] = f"{session}:{_OWN[kind]}"
        if isinstance(case.body, dict) and "session_id" in case.body and case.meta.generation.mode.is_positive:
            case.body["session_id"] = session
    elif _IN_A_WORKSPACE.match(case.operation.path) and _is_id(case):
        session = case.path_parameters["key"] = _workspace()
        for name, (pattern, own) in _PARTS.items():
            if re.fullmatch(pattern, str(case.path_parameters.get(name, ""))):
                case.path_parameters[name] = own
        if _is_uuid(case.path_parameters.get("import_id")):
            case.path_parameters["import_id"] = _import_of(session)
        if case.operation.path == _IMPORT and case.meta.phase.name == "examples":
            case.query = {**(case.query or {}), "existing": "replace"}  # the node of the example is there


def _kind_of(case: Any) -> str | None:
    """The kind of a row that is named by its whole key."""
    kind = case.operation.path.removeprefix("/api/v1/").removesuffix("/{key}")
    return kind if kind in _OWN and case.operation.path.endswith("/{key}") else None


def _workspace() -> str:
    """A session of the actor's with two nodes, a component and a relationship."""
    session = _key()["session_id"] if ACTOR == "visitor" else _claimed_one()
    if session not in _laid:
        _lay(session)
        _laid.add(session)
    return session


def _claimed_one() -> str:
    if not _claimed:
        begun = _begun()
        claim = {"token": begun["token"]}
        _http.post(f"/sessions/{begun['session_id']}/claim", json=claim, headers=_headers()).raise_for_status()
        _claimed.append(begun["session_id"])
    return _claimed[0]


def _lay(session: str) -> None:
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("nodes", "N001", {}),
        ("nodes", "N002", {}),
        ("node_components", "c", {"node_id": "N001", "type": "text"}),
        ("session_relationships", "r", {"from_node": "N001", "to_node": "N002", "type": "knows"}),
    ]
    writes = [
        {"mutation_id": str(uuid4()), "resource": resource, "key": f"{session}:{own}", "op": "put", "data": data}
        for resource, own, data in rows
    ]
    body = {"device": {"id": "asker"}, "client_id": "asker", "mutations": writes}
    _http.post("/push", json=body, headers=_headers()).raise_for_status()


def _import_of(session: str) -> str:
    """The id of an import into this session that is over."""
    if session not in _imported:
        chosen = str(uuid4())
        headers = {**_headers(), "Content-Type": "text/csv"}
        place = f"/sessions/{session}/import"
        _http.post(place, params={"import_id": chosen}, content=_FILE, headers=headers).raise_for_status()
        _imported[session] = chosen
    return _imported[session]


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
    return _is_uuid((case.path_parameters or {}).get("key"))


def _is_uuid(text: Any) -> bool:
    try:
        return bool(str(UUID(text)) == text)
    except (ValueError, AttributeError, TypeError):
        return False


def _is_a_name(case: Any) -> bool:
    """Whether the key could be a row's: what breaks the rules on purpose is left as it is."""
    return re.fullmatch(r"[\w.~:-]{1,128}", str(case.path_parameters["key"])) is not None


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """A key that was given up by this very request is not shown again, and what may have gone is laid anew."""
    if response.status_code < 300 and _may_unlay(case):
        _laid.clear()
    if (case.method, case.operation.path) in _GIVE_UP and response.status_code == 204:
        _kept.clear()
        _there.clear()
    if case.method == "DELETE" and _reads(case) and response.status_code == 204:
        _there.pop(case.operation.path.split("/")[3], None)


def _may_unlay(case: Any) -> bool:
    """Whether a node, a component or a relationship may have gone with it, or to another place."""
    path: str = case.operation.path
    named = _kind_of(case) is not None or _IN_A_WORKSPACE.match(path) is not None
    return named and (case.method in _WRITES or path.endswith(("/move", "/import")))
