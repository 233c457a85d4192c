"""Requests that the OpenAPI document allows, made from it: a route that is new is asked for without a line here."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

from tests.faults.malformed_frames import Known, mutation

Dice = random.Random
_METHODS = ("get", "put", "post", "patch", "delete")
_STAMP = "2026-11-22T08:15:00.000000Z"
_TEXTS = ("moby-dick", "5c7f2b0e-1d6a-4c1b-9b57-0e6f3f0a9d42", "f65f461473c12545", '"12"', "a")
_PARTS = 3
_DEPTH = 8


@dataclass
class Request:
    """One request before it is text: parts of its path, and all else that may be broken."""

    method: str
    path: list[str]
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return "".join(self.path) + (f"?{query}" if query else "")

    def written(self) -> bytes:
        """Its bytes, as HTTP/1.1."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: 127.0.0.1", *(f"{n}: {v}" for n, v in self.headers)]
        if self.body is not None and not any(name.lower() == "transfer-encoding" for name, _ in self.headers):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + (self.body or b"")


@dataclass(frozen=True)
class Operation:
    """One route and method of the document."""

    name: str
    method: str
    path: str
    parameters: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | None

    @property
    def waits(self) -> bool:
        """Whether its answer may rightly take long."""
        return self.path.startswith("/api/v1/changes")


class Routes:
    """All operations of an OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.operations = list(self._read())

    def _read(self) -> Iterator[Operation]:
        for path, item in self._document["paths"].items():
            for method in _METHODS:
                if method in item:
                    operation = item[method]
                    content = operation.get("requestBody", {}).get("content", {})
                    schema = content.get("application/json", {}).get("schema")
                    found = [*item.get("parameters", []), *operation.get("parameters", [])]
                    yield Operation(f"{method} {path}", method.upper(), path, found, schema)

    def valid(self, dice: Dice, operation: Operation, known: Known) -> tuple[Request, Any]:
        """A good request and the value of its body (None: it has none)."""
        request = Request(operation.method, self._path(dice, operation, known))
        request.headers.append(("Authorization", f"Bearer {known.token}"))
        for parameter in operation.parameters:
            value = self._parameter(dice, parameter, known)
            if parameter["in"] == "query" and dice.random() < 0.6:
                request.query.append((parameter["name"], quote(value)))
            elif parameter["in"] == "header" and dice.random() < 0.4:
                request.headers.append((parameter["name"], value))
        if operation.schema is None:
            return request, None
        body = self._body(dice, operation, known)
        request.body = json.dumps(body).encode()
        request.headers.append(("Content-Type", "application/json"))
        return request, body

    def _path(self, dice: Dice, operation: Operation, known: Known) -> list[str]:
        """Its parts, those in braces filled in."""
        values = {p["name"]: self._parameter(dice, p, known) for p in operation.parameters if p["in"] == "path"}
        parts = re.split(r"(\{\w+\})", operation.path)
        return [quote(values[part[1:-1]]) if part.startswith("{") else part for part in parts if part]

    def _parameter(self, dice: Dice, parameter: Mapping[str, Any], known: Known) -> str:
        name = parameter["name"].lower()
        told = {
            "cursor": known.cursor,
            "conflict_id": known.conflict,
            "session_id": known.session,
            "last-event-id": known.cursor,
            "if-none-match": f'"{known.cursor}"',
            "if-match": f'"{dice.randrange(50)}"',
            "wait": "0",
        }
        value = told.get(name)
        return value if value is not None else str(self.sample(dice, parameter.get("schema", {})))

    def _body(self, dice: Dice, operation: Operation, known: Known) -> Any:
        body = self.sample(dice, operation.schema or {})
        if not isinstance(body, dict):
            return body
        filled = {
            "mutations": [mutation(dice) for _ in range(dice.randrange(_PARTS))],
            "cursor": known.cursor,
            "token": known.token,
            "updated_at": mutation(dice)["updated_at"],
        }
        return {name: filled.get(name, value) for name, value in body.items()}

    def sample(self, dice: Dice, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that the schema allows, most often."""
        while "$ref" in schema:
            schema = self._named(schema["$ref"])
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self.sample(dice, dice.choice(schema[choice]), depth + 1)
        for given in ("enum", "examples"):
            if schema.get(given):
                return dice.choice(schema[given])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        return self._of(dice, dice.choice(kind) if isinstance(kind, list) else kind, schema, depth)

    def _of(self, dice: Dice, kind: str | None, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object" if depth < _DEPTH:
                members = schema.get("properties", {})
                needed = schema.get("required", ())
                return {
                    name: self.sample(dice, member, depth + 1)
                    for name, member in members.items()
                    if name in needed or dice.random() < 0.7
                }
            case "array" if depth < _DEPTH:
                return [self.sample(dice, schema.get("items", {}), depth + 1) for _ in range(dice.randrange(_PARTS))]
            case "integer":
                return dice.randint(schema.get("minimum", 0), min(schema.get("maximum", 100), 100))
            case "number":
                return dice.uniform(schema.get("minimum", 0), min(schema.get("maximum", 1), 1))
            case "boolean" | "null":
                return dice.choice((True, False)) if kind == "boolean" else None
            case _:
                return _text(dice, schema)

    def _named(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        named: Mapping[str, Any] = found
        return named


def _text(dice: Dice, schema: Mapping[str, Any]) -> str:
    match schema.get("format"):
        case "date-time":
            return _STAMP
        case "uuid":
            return str(UUID(int=dice.getrandbits(128), version=4))
    pattern = schema.get("pattern", "")
    fitting = [text for text in _TEXTS if re.search(pattern, text)]
    return dice.choice(fitting) if fitting else _TEXTS[0]
