"""What the documents say of every resource."""

from typing import Any

import httpx
import jsonschema_rs
import pytest

from syncserver import resources
from tests.harness import Live
from tests.resources import samples

EVERY = pytest.mark.parametrize("resource", samples.every())
_CONTENT = "application/json"
Document = dict[str, Any]
_OTHERWISE = {"sessions"}
"""A resource whose own route answers something else than its row."""


@pytest.fixture(scope="session")
def document(shared: Live) -> Document:
    found: Document = httpx.get(f"{shared.url}/api/openapi.json").json()
    return found


@EVERY
def test_openapi_has_its_routes_and_each_body_an_example_that_its_own_schema_takes(document: Document, resource: str):
    found = resources.catalog()[resource]
    one = document["paths"][f"/api/v1/{found.path}/{{key}}"]
    assert {"get"} | ({"put", "patch"} if not found.read_only else set()) <= one.keys()
    assert "delete" in one or (found.read_only and not found.removable)
    assert "get" in document["paths"][f"/api/v1/{found.path}"]
    for method in {"put", "patch"} & ({*one} if not found.read_only else set()):
        schema = one[method]["requestBody"]["content"][_CONTENT]["schema"]
        assert schema["examples"], method
        for example in schema["examples"]:
            jsonschema_rs.validate({**schema, "components": document["components"]}, example)


@pytest.mark.parametrize("resource", sorted({*samples.every()} - _OTHERWISE))
def test_every_field_of_a_row_has_a_type_or_says_what_it_is(document: Document, resource: str):
    found = resources.catalog()[resource]
    answer = document["paths"][f"/api/v1/{found.path}/{{key}}"]["get"]["responses"]["200"]
    properties = answer["content"][_CONTENT]["schema"]["properties"]
    assert properties.keys() == {*(column.name for column in found.columns), "offset"}
    told = {"type", "anyOf", "enum", "description"}
    vague = {name for name, schema in properties.items() if not schema.keys() & told}
    assert vague <= {name for name, field in found.model.model_fields.items() if field.annotation is Any}


@EVERY
def test_a_push_and_the_pages_name_it(document: Document, resource: str):
    assert resource in document["components"]["schemas"]["Mutation"]["properties"]["resource"]["enum"]
    assert {tag for item in document["paths"].values() for o in item.values() for tag in o["tags"]} >= {resource}


def test_the_page_of_the_documents_is_there(shared: Live):
    page = httpx.get(f"{shared.url}/api/docs")
    assert (page.status_code, "openapi.json" in page.text) == (200, True)
