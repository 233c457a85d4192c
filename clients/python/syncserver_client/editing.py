"""The client's face for the workspace of a session: a node that is edited, and saved as that goes on."""

from __future__ import annotations

import re
from uuid import UUID

from syncserver_client.autosave import NodeSaver
from syncserver_client.core import Core

_NODE_ID = re.compile(r"N(?:\d{3}|[1-9]\d{3,8})", re.ASCII)


class Editing:
    """Part of `Client`."""

    _core: Core

    def autosave_node(self, session_id: str, node_id: str, *, quiet_s: float = 1.0, most_s: float = 10.0) -> NodeSaver:
        """What saves a node (such as N001) in the background, as an async context manager; one of each at a time.

        A change is queued when nothing followed it for `quiet_s`, and `most_s` after it was made at the latest.
        ValueError for ids that are none, and unless 0 <= quiet_s <= most_s.
        """
        if not _NODE_ID.fullmatch(node_id):
            raise ValueError("such as N001: that of a node")
        return NodeSaver(self._core, f"{UUID(session_id)}:{node_id}", quiet_s=quiet_s, most_s=most_s)
