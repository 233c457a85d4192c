"""Files of nodes and relationships, as texts, sent to a session and read from it."""

from typing import Any

import httpx

from tests.api.workspaces import Raw, Workspace

NODES = "node_id,title,content,metadata,components\r\n"
RELATIONSHIPS = "relationship_id,from_node,to_node,type,weight,metadata\r\n"


async def send(
    home: Workspace, nodes: str | None = None, relationships: str | None = None, **query: Any
) -> httpx.Response:
    """Import these files."""
    named = {"nodes": nodes, "relationships": relationships}
    files = {name: text.encode() for name, text in named.items() if text is not None}
    return await home.ask("POST", "/import", files=files, params=query)


async def taken(home: Workspace, nodes: str | None = None, relationships: str | None = None, **query: Any) -> Raw:
    """The report of an import that was taken."""
    answer = await send(home, nodes, relationships, **query)
    assert answer.status_code == 200, answer.text
    report: Raw = answer.json()
    assert report["state"] == "done"
    return report


async def refused(
    home: Workspace, nodes: str | None = None, relationships: str | None = None, **query: Any
) -> list[tuple[str, int, str | None, str]]:
    """What is wrong with an import that was refused."""
    answer = await send(home, nodes, relationships, **query)
    assert answer.status_code == 422, answer.text
    report = answer.json()["report"]
    assert (report["state"], report["rows_written"]) == ("refused", 0)
    return [(error["file"], error["line"], error["column"], error["reason"]) for error in report["errors"]]


async def exported(home: Workspace, name: str, **query: Any) -> str:
    """A file of the session."""
    answer = await home.ask("GET", f"/export/{name}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    return answer.content.decode()
