"""What a client may write of each resource, with a text of the test's own wherever there is room for one."""

from collections.abc import Callable, Mapping
from typing import Any


def _progress(mark: str) -> dict[str, Any]:
    return {
        "series_id": mark,
        "locator": {"href": "chapter.xhtml", "type": "application/xhtml+xml", "title": mark},
        "position": f"epubcfi(/6/4[{mark}]!/4/2)",
        "position_kind": "cfi",
        "percentage": 0.5,
        "status": "reading",
    }


SAMPLES: Mapping[str, Callable[[str], dict[str, Any]]] = {"progress": _progress}
"""One for each resource that clients write; a test sees that none is missing."""
