"""What the client knows: the mirror, own writes over it, and the store that keeps both beyond this run, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from syncserver_client import foreseen
from syncserver_client.kept_mirror import MirrorJournal, remembered
from syncserver_client.kept_queue import UNHEARD, KeptQueue
from syncserver_client.mirror import Mirror
from syncserver_client.model import Change, Mirrored, Row
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.overlay import Layer
from syncserver_client.settings import Settings
from syncserver_client.shown import Shown
from syncserver_client.store import Store
from syncserver_client.watch import REMEMBERED
from syncserver_client.wire import optional_stamp


class Memory:
    """StoreRefused if the settings name a store that cannot be this client's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store.open(settings.store, settings.url, settings.device) if settings.store is not None else None
        self.queue = KeptQueue(self._store) if self._store is not None else None
        known = remembered(self._store) if self._store is not None else None
        journal = MirrorJournal(self._store) if self._store is not None else None
        self._shown: Shown | None = None
        if settings.optimistic:
            rows: dict[tuple[str, str], Row] = {row.id: row for row in known.rows} if known is not None else {}
            self._shown = Shown(known, journal, self._layers(rows), self._came_back)
        self.mirror = self._shown if self._shown is not None else Mirror(known, journal)

    @property
    def client_id(self) -> str:
        """Under which the server knows this client's mutations; with a store, the same for ever."""
        return self._store.client_id if self._store is not None else self._settings.client_id

    @property
    def last_stamp(self) -> datetime | None:
        """The greatest stamp that an earlier run gave."""
        return optional_stamp(self._store.facts().get("last_stamp")) if self._store is not None else None

    @property
    def most_acks(self) -> int:
        """How many unread acks are worth holding for a reader."""
        return UNHEARD if self.queue is not None else REMEMBERED

    def unheard(self) -> list[Ack]:
        """Acks that no program took so far."""
        return self.queue.unheard() if self.queue is not None else []

    def heard(self, mutation_id: str) -> None:
        """A program took this ack."""
        if self.queue is not None:
            self.queue.heard(mutation_id)
            self.queue.commit()

    def base(self, mutation: Mutation) -> int | None:
        """The offset at which the writer last saw the row, as the mutation says, or as the mirror knows."""
        if not isinstance(mutation.base, Mirrored):
            return mutation.base
        return self.mirror.base(mutation.row_id) if mutation.row_id is not None else None

    def write(self, mutation: Mutation, now: datetime) -> Sequence[Change]:
        """Show a write that was queued."""
        layer = self._layer(mutation, now, self.mirror.shown)
        return self._shown.write(layer, now) if self._shown is not None and layer is not None else ()

    def forget(self, mutation: Mutation, now: datetime) -> Sequence[Change]:
        """A write is not queued any more, and has no answer."""
        return self._shown.forget(mutation.mutation_id, now) if self._shown is not None else ()

    def answered(self, mutation: Mutation, ack: Ack, now: datetime, *, unheard: bool) -> Sequence[Change]:
        """Learn from an ack: the base of the next write, and whether this one still has to be shown."""
        offset = ack.row.offset if ack.row is not None else ack.offset
        if offset is not None and mutation.row_id is not None and not ack.refused:
            self.mirror.saw(mutation.row_id, offset)
        changes = self._shown.answered(ack, now) if self._shown is not None else ()
        if self.queue is not None:
            unshown = self._shown is not None and self._shown.waits(ack.mutation_id)
            self.queue.answered(ack, unshown=unshown, unheard=unheard)
        return changes

    def commit(self) -> None:
        """All of it is on disk, if there is a store; Fatal if that does not work."""
        if self._store is not None:
            self._store.commit()

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()

    def _layers(self, rows: Mapping[tuple[str, str], Row]) -> list[Layer]:
        """The writes of earlier runs that the mirror does not show by itself."""
        layers = []
        for kept in self.queue.unshown() if self.queue is not None else ():
            layer = self._layer(kept.mutation, kept.made_at, rows)
            if layer is not None and kept.ack is not None:
                layer.winner = kept.ack.row
                layer.offset = kept.ack.row.offset if kept.ack.row is not None else kept.ack.offset
            if layer is not None:
                layers.append(layer)
        return layers

    def _layer(self, mutation: Mutation, now: datetime, rows: Mapping[tuple[str, str], Row]) -> Layer | None:
        row_id = mutation.row_id
        if row_id is None or not self._settings.follows(mutation.resource):
            return None  # it would never be seen to come back
        outcome = foreseen.write(mutation, rows)
        if outcome is None:
            return None
        stamp = mutation.updated_at or now
        return Layer(mutation.mutation_id, row_id, *outcome, stamp, self._settings.device)

    def _came_back(self, layer: Layer) -> None:
        if self.queue is not None:
            self.queue.shown(layer.mutation_id)
