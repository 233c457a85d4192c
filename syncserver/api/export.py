"""/api/v1/sessions/{id}/export: a workspace as files that import back to the same, and as node-link JSON."""

from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from syncserver.api import describe, errors, nested, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.nested import Session
from syncserver.core.csv_rows import KINDS
from syncserver.engine.exports import Edges

_PATH = "/{key}/export"
_READ_BYTES = 65_536
_CSV = "text/csv; charset=utf-8; header=present"
_JSON = "application/json"
_GRAPH = "graph.json"
_FILES = {**{f"{name}.csv": _CSV for name in KINDS}, _GRAPH: _JSON}
_NODE = {"id": "N001", "title": "Ahab", "content": "The captain.", "metadata": {"colour": "white"}, "components": []}
_EDGE = {"source": "N001", "target": "N002", "key": "hunt", "type": "hunts", "weight": 0.5, "metadata": {}}
_ATTACHED = {
    **describe.PRIVATE,
    "Content-Disposition": {"description": "The file's name.", "required": True, "schema": {"type": "string"}},
}
_EXAMPLES = {
    "nodes": "node_id,title,content,metadata,components\r\nN001,Ahab,The captain.,{},\r\n",
    "relationships": "relationship_id,from_node,to_node,type,weight,metadata\r\nhunt,N001,N002,hunts,0.5,{}\r\n",
}
_CsvName = Annotated[Literal["nodes", "relationships"], Path(description="Which of the two files.")]
_EdgesName = Annotated[Edges, Query(description="What its edges are called: networkx before 3.6 says links.")]

router = APIRouter(prefix="/sessions", tags=["workspace export"])


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "required": list(of)}}


_GRAPH_SCHEMA = {
    "type": "object",
    "required": ["directed", "multigraph", "graph", "nodes"],
    "properties": {
        "directed": {"const": True},
        "multigraph": {"const": True},
        "graph": {"type": "object"},
        "nodes": _list(_NODE),
        "edges": _list(_EDGE),
        "links": _list(_EDGE),
    },
}
_GRAPH_EXAMPLE = {"directed": True, "multigraph": True, "graph": {}, "nodes": [_NODE], "edges": [_EDGE]}
_FILE_LIST = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type", "url"],
                "properties": {name: {"type": "string"} for name in ("name", "type", "url")},
            },
        }
    },
}


@router.get(
    _PATH,
    summary="What a workspace can be had as",
    responses={
        200: {"headers": describe.PRIVATE, "content": {_JSON: {"schema": _FILE_LIST}}},
        **errors.responses(404),
    },
)
async def listed(house: InHouse, by: By, key: Session) -> Response:
    """Its files, with the place and the type of each."""
    await nested.there(house, by, key)
    root = f"/api/v1/sessions/{key}/export"
    files = [{"name": name, "type": kind, "url": f"{root}/{name}"} for name, kind in _FILES.items()]
    return Response(orjson.dumps({"files": files}), 200, writing.PRIVATE, _JSON)


@router.get(
    _PATH + "/graph.json",
    summary="A workspace as node-link JSON",
    responses={
        200: {
            "headers": _ATTACHED,
            "content": {_JSON: {"schema": _GRAPH_SCHEMA, "example": _GRAPH_EXAMPLE}},
        },
        **errors.responses(404),
    },
)
async def graph(house: InHouse, by: By, key: Session, edges: _EdgesName = "edges") -> Response:
    """A directed multigraph of one moment, as networkx reads it: `node_link_graph(json)`."""
    await nested.there(house, by, key)
    return _sent(await house.exports.graph(by.owner, key, edges), _GRAPH, _JSON)


@router.get(
    _PATH + "/{name}.csv",
    summary="Nodes or relationships as CSV",
    response_class=Response,
    responses={
        200: {
            "headers": _ATTACHED,
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "examples": {name: {"value": example} for name, example in _EXAMPLES.items()},
                }
            },
        },
        **errors.responses(404),
    },
)
async def rows(house: InHouse, by: By, key: Session, name: _CsvName) -> Response:
    """What an import takes. Imported into an empty session, both files make the same graph."""
    await nested.there(house, by, key)
    return _sent(await house.exports.csv(by.owner, key, KINDS[name]), f"{name}.csv", _CSV)


def _sent(file: IO[bytes], name: str, kind: str) -> Response:
    length = file.seek(0, 2)
    file.seek(0)
    headers = {
        **writing.PRIVATE,
        "Content-Length": str(length),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return StreamingResponse(_parts(file), 200, headers, kind)


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(_READ_BYTES):
            yield part
