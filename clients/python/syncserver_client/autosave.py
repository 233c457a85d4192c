"""What an app says to the savers: of a reading session as it goes on, and of a node of a workspace that is edited."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal

from syncserver_client.core import Core
from syncserver_client.saver import Saver
from syncserver_client.saves import NODE, SESSION
from syncserver_client.wire import JsonObject


class _Unsaid(Enum):
    UNSAID = "unsaid"  # apart from None, which empties a field


UNSAID: Final = _Unsaid.UNSAID
_Or = Literal[_Unsaid.UNSAID]


class AutoSaver(Saver):
    """Saves a reading session. Made by `Client.autosave`."""

    def __init__(self, core: Core, session_id: str, *, quiet_s: float, most_s: float) -> None:
        super().__init__(core, SESSION, session_id, quiet_s=quiet_s, most_s=most_s)
        self.session_id = session_id

    def change(
        self,
        *,
        locator: JsonObject | _Or | None = UNSAID,
        percentage: float | _Or | None = UNSAID,
        active_seconds: int | _Or = UNSAID,
        state: Any = UNSAID,
    ) -> None:
        """Say what is so now; what is left out, or as it was, stays. Returns at once and never fails over a network.

        `active_seconds`: of the session so far. `state`: whole; what is saved of it are the members that differ.
        TypeError or ValueError for what is no JSON; Unsayable for a new member of `state` that is null; Closed after
        leaving. Ignored where the session has ended.
        """
        self._change(
            _said({"locator": locator, "percentage": percentage, "active_seconds": active_seconds, "state": state})
        )


class NodeSaver(Saver):
    """Saves a node of a session's workspace. Made by `Client.autosave_node`.

    What another device changed elsewhere in the node is joined with this one's changes, without a conflict.
    """

    def __init__(self, core: Core, key: str, *, quiet_s: float, most_s: float) -> None:
        super().__init__(core, NODE, key, quiet_s=quiet_s, most_s=most_s)
        self.key = key

    def change(
        self, *, title: str | _Or = UNSAID, content: str | _Or = UNSAID, metadata: JsonObject | _Or = UNSAID
    ) -> None:
        """Say what is so now; what is left out, or as it was, stays. Returns at once and never fails over a network.

        `content` is saved whole; `metadata` is whole, and what is saved of it are the members that differ. TypeError or
        ValueError for what is no JSON; Unsayable for a new member of `metadata` that is null; Closed after leaving.
        Ignored where the node was removed.
        """
        self._change(_said({"title": title, "content": content, "metadata": metadata}))


def _said(given: JsonObject) -> JsonObject:
    return {name: value for name, value in given.items() if value is not UNSAID}
