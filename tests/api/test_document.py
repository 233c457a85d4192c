"""The OpenAPI document: it names every route, and of each route every answer."""

from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute

from syncserver.api import asyncapi
from syncserver.api.document import API
from syncserver.api.errors import MEDIA_TYPE
from syncserver.app import wiring
from syncserver.transports import upgrade
from tests.harness import Live

Document = dict[str, Any]
_METHODS = {"get", "put", "post", "delete", "patch"}
_BODIES = {"post", "put", "patch", "delete"}


@pytest.fixture
async def document(live: Live) -> Document:
    async with httpx.AsyncClient() as http:
        found: Document = (await http.get(f"{live.url}/api/openapi.json")).json()
    return found


def operations(document: Document) -> dict[tuple[str, str], dict[str, Any]]:
    return {(path, method): found for path, item in document["paths"].items() for method, found in item.items()}


def resolved(document: Document, answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer
    if "$ref" in answer:
        found = document
        for part in answer["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    return found


async def test_every_route_of_the_application_is_in_it(live: Live, document: Document):
    application = wiring.application(live.parts)
    contexts = list(iter_route_contexts(application.routes))
    sockets = [c.path for c in contexts if isinstance(c.original_route, WebSocketRoute)]
    served = {(c.path_format, m.lower()) for c in contexts for m in c.methods or () if c.path not in sockets}
    assert (sockets, upgrade.PATH) == ([], asyncapi.PATH)  # the socket comes in before the routes
    assert len(served) > 20
    assert {method for _, method in served} <= _METHODS
    assert operations(document).keys() == served


def test_every_operation_has_a_name_of_its_own_and_a_summary(document: Document):
    found = operations(document).values()
    assert len({operation["operationId"] for operation in found}) == len(found)
    assert all(operation["summary"] and operation["description"] and operation["tags"] for operation in found)


def test_what_any_route_may_answer_is_said_of_every_route(document: Document):
    for (path, _), operation in operations(document).items():
        if path.startswith(API):
            assert {"400", "408", "413", "429", "503"} <= operation["responses"].keys(), path
        if "security" in operation:
            assert "401" in operation["responses"], path
        if operation.keys() & {"parameters", "requestBody"}:
            assert "422" in operation["responses"], path


def test_whoever_asks_too_often_is_told_how_long_to_wait(document: Document):
    answer = document["components"]["responses"]["Problem429"]
    assert answer["headers"]["Retry-After"]["required"]
    own = answer["content"][MEDIA_TYPE]["schema"]["allOf"][1]["properties"]
    assert own["code"] == {"enum": ["rate_limited"]}


def test_every_error_is_a_problem_document(document: Document):
    for (path, _), operation in operations(document).items():
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert resolved(document, answer)["content"].keys() == {MEDIA_TYPE}, (path, status)
            else:
                assert "$ref" not in answer


def test_only_what_needs_no_key_is_open(document: Document):
    opened = {path for (path, _), operation in operations(document).items() if "security" not in operation}
    assert {path for path in opened if path.startswith(API)} <= {"/api/v1/sessions"}
    named = {name for o in operations(document).values() for way in o.get("security", ()) for name in way}
    assert named == document["components"]["securitySchemes"].keys()


def test_every_body_has_an_example_that_its_own_schema_takes(document: Document):
    for (path, method), operation in operations(document).items():
        if "requestBody" not in operation:
            continue
        assert method in _BODIES
        kinds = operation["requestBody"]["content"]
        if "application/json" not in kinds:  # files: their example is imported by a test of its own
            assert kinds.keys() == {"multipart/form-data", "text/csv"}
            assert "example" in kinds["text/csv"]
            continue
        content = kinds["application/json"]
        schema = {**content["schema"], "components": document["components"]}
        examples = [*([content["example"]] if "example" in content else []), *content["schema"].get("examples", ())]
        assert examples, path
        for example in examples:
            jsonschema_rs.validate(schema, example)


def test_every_parameter_is_bounded(document: Document):
    for (path, _), operation in operations(document).items():
        for parameter in operation.get("parameters", ()):
            kinds = parameter["schema"].get("anyOf", [parameter["schema"]])
            for kind in kinds:
                if kind.get("type") == "string":
                    assert kind.keys() & {"maxLength", "enum", "format", "pattern"}, (path, parameter["name"])
                if kind.get("type") == "integer":
                    assert {"minimum", "maximum"} <= kind.keys(), (path, parameter["name"])


def test_every_reference_leads_somewhere(document: Document):
    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [r for member in value.values() for r in references(member)]
        return [r for member in value for r in references(member)] if isinstance(value, list) else []

    found = set(references(document))
    assert found
    for reference in found:
        resolved(document, {"$ref": reference})
