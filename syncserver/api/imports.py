"""/api/v1/sessions/{id}/import: files of nodes and of relationships, taken whole or not at all."""

from typing import Annotated, Any, Literal
from uuid import uuid4

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from syncserver.api import describe, errors, nested, writing
from syncserver.api.auth import By, InHouse
from syncserver.api.nested import Session
from syncserver.api.uploads import Uploads
from syncserver.core import values
from syncserver.core.errors import Invalid, Unavailable
from syncserver.core.import_bodies import ImportAnswer
from syncserver.engine.imports import Asked
from syncserver.storage.imports import Name

_PATH = "/{key}/import"
_WAIT_MAX_S = 50
_FILE = {"type": "string", "format": "binary"}
_NODES = 'node_id,title,content,metadata,components\r\nN001,Ahab,The captain.,"{""colour"": ""white""}",\r\n'
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"nodes": _FILE, "relationships": _FILE},
                "minProperties": 1,
                "additionalProperties": False,
            },
            "encoding": {"nodes": {"contentType": "text/csv"}, "relationships": {"contentType": "text/csv"}},
        },
        "text/csv": {"schema": {"type": "string"}, "example": _NODES},
    },
}
_LOCATION = {"Location": {"description": "The import.", "required": True, "schema": {"type": "string"}}}
_Wait = Annotated[float, Query(ge=0, le=_WAIT_MAX_S, description="Seconds to wait for its end.")]
_Existing = Annotated[
    Literal["refuse", "replace"],
    Query(description="Of rows that are in the session: refuse them as errors, or write them over."),
]
_DryRun = Annotated[bool, Query(description="Only tell what would be.")]
_Id = Annotated[values.Id | None, Query(description="A UUID that you make: with it, a retry does nothing twice.")]
_ImportId = Annotated[values.Id, Path(description="The import's id.", json_schema_extra={"format": "uuid"})]
_DeviceId = Annotated[str, Query(min_length=1, max_length=128, description="Which device sends it.")]

router = APIRouter(prefix="/sessions", tags=["workspace import"])


@router.post(
    _PATH,
    summary="Import nodes and relationships",
    response_model=ImportAnswer,
    responses={
        200: {"description": "All of it was imported.", "headers": {**describe.PRIVATE, **_LOCATION}},
        202: {
            "model": ImportAnswer,
            "description": "It is under way; ask at its place.",
            "headers": {**describe.PRIVATE, **_LOCATION},
        },
        **errors.responses(404, 429),
    },
    openapi_extra={"requestBody": _BODY},
)
async def begin(
    request: Request,
    house: InHouse,
    by: By,
    key: Session,
    existing: _Existing = "refuse",
    dry_run: _DryRun = False,
    wait: _Wait = 20,
    import_id: _Id = None,
    device_id: _DeviceId = writing.HTTP_DEVICE,
) -> Response:
    """CSV files, of which each row is taken or none. One that was refused is answered with 422; `report` says why.

    One that failed is answered with 503, its `report` says whether to try again. `nodes` has the columns node_id,
    title, content, metadata and components, `relationships` relationship_id, from_node, to_node, type, weight and
    metadata, in any order. What a file leaves out is made or has its default.
    """
    await nested.there(house, by, key)
    name = Name(by.owner, key, import_id or str(uuid4()))
    uploads = Uploads(request, most_bytes=house.imports.import_bytes, within_s=house.limits.body_s)
    asked = Asked(replace=existing == "replace", dry_run=dry_run)
    await house.imports.begin(writing.sender(by, device_id, None), name, asked, uploads.received)
    report = await house.imports.told(name, wait)
    match report["state"]:
        case "done" | "running":
            return _answer(report, 200 if report["state"] == "done" else 202, located=True)
        case "refused" | "cancelled":
            return errors.problem(Invalid(report["detail"] or _counted(report)), report=report)
        case _:
            return errors.problem(Unavailable(report["detail"]), report=report)


@router.get(
    _PATH + "/{import_id}",
    summary="How an import stands",
    response_model=ImportAnswer,
    responses={**describe.OK, **errors.responses(404)},
)
async def told(house: InHouse, by: By, key: Session, import_id: _ImportId, wait: _Wait = 0) -> Response:
    """What has become of it, and how far it is. It is remembered as long as answers to writes are."""
    return _answer(await house.imports.told(Name(by.owner, key, import_id), wait), 200)


@router.delete(
    _PATH + "/{import_id}",
    summary="Cancel an import",
    status_code=204,
    responses={204: {"description": "It ends.", "headers": describe.PRIVATE}, **errors.responses(404)},
)
async def cancel(house: InHouse, by: By, key: Session, import_id: _ImportId) -> Response:
    """Nothing of it is kept. One that is over stays as it is."""
    await house.imports.cancel(Name(by.owner, key, import_id))
    return Response(None, 204, writing.PRIVATE)


def _answer(report: dict[str, Any], status: int, *, located: bool = False) -> Response:
    place = f"/api/v1/sessions/{report['session_id']}/import/{report['import_id']}"
    headers = {**writing.PRIVATE, **({"Location": place} if located else {})}
    return Response(orjson.dumps(report), status, headers, "application/json")


def _counted(report: dict[str, Any]) -> str:
    number = f"More than {len(report['errors'])}" if report["more_errors"] else str(len(report["errors"]))
    return f"{number} errors: nothing was imported."
