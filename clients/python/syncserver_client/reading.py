"""The client's face for reading sessions: begin one, rest, go on here or elsewhere, end it; and save what happens.

Each of these is one mutation in the queue, and shows at once; errors are those of `Writing.enqueue`, and ValueError
for an id that is no UUID.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncserver_client.autosave import AutoSaver
from syncserver_client.core import Core
from syncserver_client.errors import Rejected
from syncserver_client.foreseen import SESSIONS
from syncserver_client.ids import uuid7
from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Mutation
from syncserver_client.wire import JsonObject


class Reading:
    """Part of `Client`."""

    _core: Core

    def begin_reading(
        self,
        publication_id: str,
        *,
        title: str | None = None,
        locator: JsonObject | None = None,
        percentage: float | None = None,
        state: Any = None,
        resumed_from: str | None = None,
    ) -> str:
        """Begin a session: its id, a UUIDv7 made here. What is left out comes from the session `resumed_from`."""
        given = {
            "title": title,
            "locator": locator,
            "percentage": percentage,
            "state": state,
            "resumed_from": resumed_from,
        }
        session_id = uuid7()
        fields = {"publication_id": publication_id, **{n: value for n, value in given.items() if value is not None}}
        self._act("put", session_id, fields)
        return session_id

    def autosave(self, session_id: str, *, quiet_s: float = 1.0, most_s: float = 10.0) -> AutoSaver:
        """What saves a session in the background, as an async context manager; one of each session at a time.

        A change is queued when nothing followed it for `quiet_s`, and `most_s` after it was made at the latest.
        ValueError for what is no UUID, and unless 0 <= quiet_s <= most_s.
        """
        return AutoSaver(self._core, str(UUID(session_id)), quiet_s=quiet_s, most_s=most_s)

    def pause_reading(self, session_id: str) -> str:
        """Rest: the mutation's id."""
        return self._act("pause", session_id)

    def resume_reading(self, session_id: str) -> str:
        """Go on, here: the id of the session to go on with.

        It is the same where this device wrote it last. Another device's is gone on from in a new one; and where it was
        gone on from already, the latest of them counts. Rejected ("final") for one that is completed.
        """
        session_id = str(UUID(session_id))
        row = self._latest(session_id)
        if row is None:
            self._act("resume", session_id)  # not known here: the server will say
            return session_id
        fields = row.value or {}
        if fields.get("status") == "completed":
            raise Rejected("final", "the session is completed: begin another one")
        if row.device_id == self._core.settings.device:
            self._act("resume", row.key)
            return row.key
        return self.begin_reading(str(fields["publication_id"]), resumed_from=row.key)

    def complete_reading(self, session_id: str) -> str:
        """The publication is read to its end: the mutation's id. The server makes the reading of it, once."""
        return self._act("complete", session_id)

    def abandon_reading(self, session_id: str) -> str:
        """It will not be gone on with: the mutation's id."""
        return self._act("abandon", session_id)

    def _act(self, op: str, session_id: str, fields: JsonObject | None = None) -> str:
        """What a saver has not queued yet comes first: after a completion nothing would be saved any more."""
        session_id = str(UUID(session_id))
        queue_unsaved = self._core.savers.get(session_id)
        if queue_unsaved is not None:
            queue_unsaved()
        mutation = Mutation(op, SESSIONS, session_id, fields)
        self._core.queue([mutation], awaited=False)
        return mutation.mutation_id

    def _latest(self, session_id: str) -> Row | None:
        """The session, or the one at the end of those that went on from it."""
        rows = self._core.mirror.shown
        row, passed = rows.get(RowId(SESSIONS, session_id)), {session_id}
        while row is not None:
            further = (row.value or {}).get("resumed_as")
            after = rows.get(RowId(SESSIONS, str(further)))
            if after is None or after.key in passed:
                break
            passed.add(after.key)
            row = after
        return row
