"""The interface described by the server itself: documents for programs, and pages to read and to try it on.

Nothing comes from elsewhere: the files of Swagger UI are of a package that is installed with the server.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from syncserver.api import asyncapi, asyncapi_page, errors
from syncserver.core.errors import NotFound

router = APIRouter(prefix="/api", tags=["documents"])

_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self';"
    " style-src 'self'; img-src 'self' data:; connect-src 'self'"
)
"""Of the interactive page: its pictures stand in its style, and it asks this server."""
_FILES: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_START = "start.js"
_SCRIPT = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_PAGE = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>syncserver: the interface</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. The document itself: <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/{_START}"></script>
</body>
</html>
"""
_A_DAY = {"Cache-Control": "public, max-age=86400"}
_FRESH = {"Cache-Control": "no-cache"}


@router.get("/openapi.json", summary="This document")
async def openapi(request: Request) -> dict[str, Any]:
    """OpenAPI 3.1: every route over HTTP."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/docs", summary="This document as a page", response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """Read it, and try it: "Authorize" takes a token."""
    return HTMLResponse(_PAGE, headers={**_FRESH, "Content-Security-Policy": _POLICY})


@router.get(
    "/docs/{file}",
    summary="A file of that page",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in _FILES.values()}}, **errors.responses(404)},
)
async def file(file: Annotated[str, Path(max_length=64, description="Its name.", examples=[_START])]) -> Response:
    """Scripts and styles."""
    if file == _START:
        return Response(_SCRIPT, headers=_A_DAY, media_type="text/javascript")
    if file not in _FILES:
        raise NotFound("There is no such file.")
    found = resources.files("fastapi_offline") / "static" / file
    return FileResponse(str(found), headers=_A_DAY, media_type=_FILES[file])


@router.get("/asyncapi.json", summary="The socket's document")
async def asyncapi_document(request: Request) -> dict[str, Any]:
    """AsyncAPI 3.0: every frame."""
    return asyncapi.document(request.url.netloc)


@router.get("/asyncapi", summary="The socket's document as a page", response_class=HTMLResponse)
async def asyncapi_html(request: Request) -> HTMLResponse:
    """Read it."""
    page = asyncapi_page.page(asyncapi.document(request.url.netloc))
    return HTMLResponse(page, headers={**_FRESH, "Content-Security-Policy": asyncapi_page.POLICY})
