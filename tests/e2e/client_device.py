"""The whole client but for its tasks and its network: one run of the program, from the opening of its store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from syncserver_client.core import Core
from syncserver_client.model import Change, Row
from syncserver_client.session import Step
from syncserver_client.settings import Settings
from syncserver_client.socket import Limits

from tests.e2e.client_model import ModelServer

FAR = 1e9  # seconds on the outbox's clock by which everything is due again


class Device:
    """One run of the client: from the opening of its store to its end, however that comes."""

    def __init__(self, store: Path, server: ModelServer, skew: timedelta) -> None:
        self._server = server
        chosen = Settings(
            url="http://model", device="phone", store=store, now=lambda: server.now() + skew, verify_after_s=FAR
        )
        self.core = Core(chosen, "no token")
        self.folded = seen(self.core.mirror.shown)
        self.core.fanout.publish = self._publish  # type: ignore[method-assign] # all news, not only the latest

    def _publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.op == "remove":
                self.folded.pop(change.id, None)
            else:
                self.folded[change.id] = (change.value, change.pending)

    def meet(self) -> None:
        """What hello teaches."""
        sent_at = self.core.clock.raw()
        self.core.clock.synchronise(sent_at, self.core.clock.raw(), self._server.now())

    def take(self, step: Step) -> None:
        self.core._take(replace(step, acks=()))
        self.core.outbox.answer(step.acks, 0.0)

    def batch(self, most: int) -> list[bytes]:
        entries = self.core.outbox.batch(FAR, Limits(mutations=most))
        self.core.outbox.sent(entries, due=2 * FAR)
        return [entry.body for entry in entries]

    def die(self) -> None:
        """As a kill would leave it: what was not committed is gone."""
        store = self.core.memory._store
        assert store is not None
        store._waiting.clear()
        store.close()


def seen(rows: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], Any]:
    return {row_id: (row.value, row.pending) for row_id, row in rows.items()}
