"""What every error over HTTP looks like."""

from typing import Any

import httpx

from syncserver.api.errors import MEDIA_TYPE


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document in an answer, held against what all of them have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "no-store" in answer.headers["cache-control"]
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= document.keys()
    assert (document["status"], document["code"]) == (status, code)
    assert all(isinstance(document[name], str) and document[name] for name in ("type", "title", "detail", "code"))
    return document


def pointers(document: dict[str, Any]) -> list[str]:
    """The places that a 422 names."""
    assert all(error.keys() == {"pointer", "detail"} and error["detail"] for error in document["errors"])
    return [error["pointer"] for error in document["errors"]]
