"""Every route of the application and every frame of the protocol, aimed at somebody else's things.

Operations come from the application's own document (another test sees that it names every route) and frames from the
protocol, so that a new one is aimed too; or, where this does not know how, fails.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from syncserver import resources
from syncserver.core import frames, protocol
from tests.e2e.homes import KEY, Home, mutation
from tests.resources import samples

METHODS = ("get", "post", "put", "patch", "delete")
NOBODYS = re.compile(r"/healthz|/readyz|/api/(docs|openapi|asyncapi).*|/api/v1/socket")
"""Answers that are the same to everybody, and the socket, which has its frames instead."""


@dataclass(frozen=True)
class Probe:
    """One request for what is another's."""

    method: str
    template: str
    url: str
    json: Any = None
    query: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.template}"


def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation that the application documents."""
    paths = app.openapi()["paths"]
    return [
        (method, path, operation)
        for path, item in paths.items()
        for method, operation in item.items()
        if method in METHODS and not NOBODYS.fullmatch(path)
    ]


def requests(app: FastAPI, of: Home) -> Iterator[Probe]:
    """Every operation, asked for this owner's things; raises KeyError for a parameter or body not known here.

    What makes a row comes last: before it, whoever asks has none.
    """
    for method, path, operation in sorted(operations(app), key=lambda found: found[0] == "put"):
        names = {**of.names, **_own(of), "key": _key(path, of)}
        given = operation.get("parameters", [])
        url = path
        for parameter in (p["name"] for p in given if p["in"] == "path"):
            url = url.replace(f"{{{parameter}}}", names[parameter])
        query = {p["name"]: names[p["name"]] for p in given if p["in"] == "query" and p["name"] == "cursor"}
        body = _body(method, path, of) if "requestBody" in operation else None
        yield Probe(method, path, url, body, query)


def _key(path: str, of: Home) -> str:
    """The key of a row of theirs, where the path is about one."""
    known = {"sessions": of.session, "session-events": of.names["event"], "readings": of.names["reading"]}
    kind = path.split("/")[3]
    return known.get(kind) or of.key(kind.replace("-", "_")) if "{key}" in path else KEY


def _own(of: Home) -> dict[str, str]:
    """Ids in their session of what a path under it may name."""
    kinds = {"node_id": "nodes", "component_id": "node_components", "relationship_id": "session_relationships"}
    return {**{name: of.key(kind).rpartition(":")[2] for name, kind in kinds.items()}, "name": "nodes"}


def _body(method: str, path: str, of: Home) -> Any:
    """A body that the route takes; for a resource's own routes, one of its rows."""
    for name in samples.written():
        if re.fullmatch(rf"/api/v1/{resources.catalog()[name].path}(/\{{\w+\}})?", path):
            return samples.fields_of(name, "mine", of.session)
    return BODIES[method, path](of)


def _given(body: Any, _: Home) -> Any:
    return body


_ACTIONS = resources.catalog()["reading_sessions"].actions
_SESSION = "/api/v1/sessions/{key}"
_NODE = f"{_SESSION}/nodes/{{node_id}}"
_COMPONENT = {"component_id": "mine", "type": "text"}
_RELATIONSHIP = {"from_node": "N001", "to_node": "N001", "type": "mine"}
_BULK = {
    "nodes": ([{"title": "mine"}], ["N001"]),
    "components": ([{**_COMPONENT, "node_id": "N001"}], ["mine"]),
    "relationships": ([_RELATIONSHIP], ["mine"]),
}
BODIES: dict[tuple[str, str], Any] = {
    ("post", f"{_SESSION}/nodes"): lambda _: {"title": "mine"},
    ("put", _NODE): lambda _: {"title": "mine"},
    ("patch", _NODE): lambda _: {"title": "mine"},
    ("post", f"{_NODE}/components"): lambda _: _COMPONENT,
    ("put", f"{_NODE}/components"): lambda _: {"components": [_COMPONENT]},
    ("patch", f"{_NODE}/components/{{component_id}}"): lambda _: {"type": "mine"},
    ("post", f"{_NODE}/components/{{component_id}}/move"): lambda _: {"position": 0},
    ("post", f"{_SESSION}/relationships"): lambda _: _RELATIONSHIP,
    ("put", f"{_SESSION}/relationships/{{relationship_id}}"): lambda _: _RELATIONSHIP,
    ("patch", f"{_SESSION}/relationships/{{relationship_id}}"): lambda _: {"type": "mine"},
    ("post", f"{_SESSION}/import"): lambda _: None,
    ("post", f"{_SESSION}/bulk"): lambda _: {name: made for name, (made, _) in _BULK.items()},
    **{("post", f"{_SESSION}/bulk/{name}"): partial(_given, made) for name, (made, _) in _BULK.items()},
    **{("delete", f"{_SESSION}/bulk/{name}"): partial(_given, gone) for name, (_, gone) in _BULK.items()},
    ("post", "/api/v1/push"): lambda of: {
        "device": {"id": "phone"},
        "client_id": "phone",
        "mutations": pushes(of),
    },
    ("post", "/api/v1/sessions"): lambda _: {"workspace": True},
    ("post", "/api/v1/verify"): lambda of: {"cursor": of.names["cursor"], "digests": {}},
    ("post", "/api/v1/conflicts/{conflict_id}/restore"): lambda _: {},
    ("post", "/api/v1/sessions/{key}/claim"): lambda _: {"token": "not the visitor's"},
    **{("post", f"/api/v1/reading-sessions/{{key}}/{op}"): lambda _: {"title": "mine"} for op in _ACTIONS},
    ("post", "/api/v1/reading-sessions/{key}/check"): lambda _: {"base": 1, "fields": {"title": "mine"}},
    ("post", "/api/v1/reading-sessions/{key}/resolve"): lambda _: {
        "policy": "client-wins",
        "fields": {"title": "mine"},
    },
    ("post", "/api/v1/conversations/{key}/messages"): lambda _: {"role": "user", "content": "mine"},
    ("post", "/api/v1/reading-sessions/sync"): lambda of: {
        "device": {"id": "phone"},
        "client_id": "phone",
        "sessions": [{"temp_id": "mine", "publication_id": "mine", "resumed_from": of.key("reading_sessions")}],
    },
}


def pushes(of: Home) -> list[dict[str, Any]]:
    """Changes and removals of rows that are another's, of every resource."""
    made = [mutation(of, name, op, KEY, "mine") for name in samples.written() for op in ("patch", "remove")]
    return [*made, {**mutation(of, "progress", "remove", of.session, "mine"), "resource": "sessions"}]


def said(of: Home, own_token: str) -> dict[str, dict[str, Any]]:
    """One frame of each type, aimed at this owner's things."""
    return {
        "hello": {
            "token": own_token,
            "device": {"id": f"phone of {of.mark}"},
            "client_id": "phone",
            "protocol": [1, 1],
        },
        "subscribe": {"resources": None, "cursor": of.names.get("cursor")},
        "unsubscribe": {},
        "push": {"mutations": pushes(of)},
        "ping": {},
        "auth": {"token": own_token},
        "verify": {"cursor": of.names.get("cursor"), "digests": {}},
        "presence": {"state": {"page": 1}},
        "broadcast": {"topic": "page", "data": str(uuid4())},
    }


def unaimed(of: Home) -> set[str]:
    """Types of frames that the protocol knows and nobody aims."""
    known = {model.model_fields["type"].default for model in protocol._TYPES.values()}
    assert known == {kind.model_fields["type"].default for kind in frames.ClientFrame.__args__}
    return known ^ set(said(of, "token"))
