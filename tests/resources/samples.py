"""What a client may write of each resource, with a text of the test's own wherever there is room for one."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from syncserver import resources


def _progress(mark: str) -> dict[str, Any]:
    return {
        "series_id": mark,
        "locator": {"href": "chapter.xhtml", "type": "application/xhtml+xml", "title": mark},
        "position": f"epubcfi(/6/4[{mark}]!/4/2)",
        "position_kind": "cfi",
        "percentage": 0.5,
        "status": "reading",
    }


def _reading_session(mark: str) -> dict[str, Any]:
    return {
        "publication_id": mark,
        "title": mark,
        "status": "paused",
        "started_at": "2026-03-01T10:00:00.000000Z",
        "last_activity": "2026-03-01T10:30:00.000000Z",
        "locator": {"href": "chapter.xhtml", "type": "application/xhtml+xml", "title": mark},
        "percentage": 0.5,
        "active_seconds": 600,
        "state": {"note": mark, "font": {"size": 12}},
    }


def _conversation(mark: str) -> dict[str, Any]:
    return {"title": mark}


def _message(mark: str) -> dict[str, Any]:
    return {"conversation_id": key_of("conversations", CONVERSATION), "role": "user", "content": f"{mark}\nand more"}


def key_of(resource: str, name: str) -> str:
    """A key that a row of this resource can have, the same for the same name."""
    return str(uuid5(NAMESPACE_URL, name)) if resources.catalog()[resource].has_uuids else name


CONVERSATION = "moby-dick"
"""The name of the one conversation that sample messages belong to."""

SAMPLES: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "progress": _progress,
    "reading_sessions": _reading_session,
    "conversations": _conversation,
    "messages": _message,
}
"""One for each resource that clients write; a test sees that none is missing."""
