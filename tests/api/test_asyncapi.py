"""The AsyncAPI document: every frame is in it with an example, and every code that a socket is closed with."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest

from syncserver.api import asyncapi, asyncapi_page
from syncserver.api.frame_examples import EXAMPLES
from syncserver.core import frames, protocol, values
from syncserver.core.errors import SyncError
from tests.harness import Live

Document = dict[str, Any]
ROOT = Path(__file__).parents[2]
EVERY = {frame.__name__ for frame in (*frames.CLIENT_FRAMES, *frames.SERVER_FRAMES)}


@pytest.fixture
def document() -> Document:
    return asyncapi.document("127.0.0.1:8000")


def followed(document: Document, reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


async def test_the_server_gives_the_document_with_its_own_address(live: Live, document: Document):
    async with httpx.AsyncClient(base_url=live.url) as http:
        given = (await http.get("/api/asyncapi.json")).json()
    assert given["asyncapi"] == "3.0.0"
    assert given["servers"]["here"]["host"] == f"127.0.0.1:{live.port}"
    assert given["channels"] == document["channels"]


def test_every_frame_is_a_message_with_an_example(document: Document):
    assert set(document["components"]["messages"]) == EVERY == {frame.__name__ for frame in EXAMPLES}
    assert set(document["channels"]["socket"]["messages"]) == EVERY
    for name, message in document["components"]["messages"].items():
        payload = {**followed(document, message["payload"]["$ref"]), "components": document["components"]}
        [example] = message["examples"]
        jsonschema_rs.validate(payload, example["payload"])
        assert message["summary"]
        assert not jsonschema_rs.is_valid(payload, {"type": "nonsense"}), name
        assert not jsonschema_rs.is_valid(payload, {**example["payload"], "type": "nonsense"}), name


@pytest.mark.parametrize("frame", frames.CLIENT_FRAMES, ids=asyncapi.kind)
def test_the_example_of_a_client_frame_is_read_by_the_server(frame: type[values.Model]):
    assert isinstance(protocol.parse(orjson.dumps(EXAMPLES[frame])), frame)


@pytest.mark.parametrize("frame", frames.SERVER_FRAMES, ids=asyncapi.kind)
def test_the_example_of_a_server_frame_is_one_of_its_model(frame: type[values.Model]):
    read = frame.model_validate(EXAMPLES[frame])
    assert read.model_fields_set >= frame.model_fields.keys() - {"token_expires_at", "drift_s", "retry_after_s"}


def test_every_frame_is_in_an_operation_of_its_direction(document: Document):
    heard: set[str] = set()
    said: set[str] = set()
    for operation in document["operations"].values():
        names = {reference.rsplit("/", 1)[1] for reference in references(operation["messages"])}
        answers = {reference.rsplit("/", 1)[1] for reference in references(operation.get("reply", {}).get("messages"))}
        {"receive": heard, "send": said}[operation["action"]].update(names)
        said |= answers
    assert heard == {frame.__name__ for frame in frames.CLIENT_FRAMES}
    assert said == {frame.__name__ for frame in frames.SERVER_FRAMES}


def test_every_reference_leads_to_what_it_should(document: Document):
    for reference in set(references(document)):
        assert followed(document, reference)
    of_channel = [r for o in document["operations"].values() for r in references(o["messages"])]
    assert all(reference.startswith("#/channels/socket/messages/") for reference in of_channel)


def test_every_code_that_a_socket_is_closed_with_is_explained():
    def tree(root: type[SyncError]) -> Iterator[type[SyncError]]:
        yield root
        for error in root.__subclasses__():
            yield from tree(error)

    assert {error.close for error in tree(SyncError)} <= asyncapi.CLOSE_CODES.keys()
    listed = re.findall(
        r"\b(1\d{3}|4[05]\d{2})\b", (ROOT / "docs" / "api.md").read_text().partition("\nClose codes.")[2]
    )
    assert set(map(int, listed[: len(asyncapi.CLOSE_CODES)])) == asyncapi.CLOSE_CODES.keys()


async def test_the_page_shows_every_frame_and_runs_nothing(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        answer = await http.get("/api/asyncapi")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy == asyncapi_page.POLICY
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "<script" not in answer.text
    assert not re.findall(r"(?:src|href)='(?!asyncapi\.json|docs|#)", answer.text)
    for frame in (*frames.CLIENT_FRAMES, *frames.SERVER_FRAMES):
        assert f"<h3 id='{frame.__name__}'>{asyncapi.kind(frame)} (" in answer.text
    targets = set(re.findall(r"href='#([^']+)'", answer.text))
    assert targets <= set(re.findall(r"id='([^']+)'", answer.text))


def test_what_a_document_holds_is_text_on_the_page(document: Document):
    document["info"]["title"] = "<b>&"
    assert "&lt;b&gt;&amp;" in asyncapi_page.page(document)
