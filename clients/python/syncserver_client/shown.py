"""The mirror with this client's own writes laid over it, so that an app sees at once what it wrote.

What is shown never goes back because of a write's own echo: a write stays on top until the server's row has
reached the offset of its ack. Refused, it goes at once; superseded, the winner shows in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from syncserver_client.mirror import Journal, Mirror, Remembered
from syncserver_client.model import Change, Row, RowId
from syncserver_client.mutation import Ack
from syncserver_client.overlay import Layer, Overlay
from syncserver_client.wire import canonical

REMEMBERED = 1024  # answered writes that are known again when an app sends them once more


class Recent:
    """The latest names of a row of names, so many at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Add one; the oldest makes room."""
        self._names[name] = None
        if len(self._names) > self._most:
            del self._names[next(iter(self._names))]

    def __contains__(self, name: str) -> bool:
        return name in self._names


class Shown(Mirror):
    """A mirror whose `shown` and whose news hold own pending writes. `settled` hears of layers that are done."""

    def __init__(
        self,
        remembered: Remembered | None = None,
        journal: Journal | None = None,
        layers: Sequence[Layer] = (),
        settled: Callable[[Layer], None] = lambda _: None,
    ) -> None:
        super().__init__(remembered, journal)
        self._settled = settled
        self._overlay = Overlay()
        self._seen = dict(self.rows)
        self._done = Recent(REMEMBERED)
        for layer in layers:
            self._overlay.add(layer)
        for row_id in {layer.row_id for layer in layers}:
            self._settle(row_id)
            self._look(row_id)

    @property
    def shown(self) -> Mapping[tuple[str, str], Row]:
        """What an app sees: one dict for life."""
        return self._seen

    def begin(self) -> None:
        """See Mirror."""
        self._overlay.begin()

    def show(self, received_at: datetime, synced_at: datetime | None = None) -> Sequence[Change]:
        """As a mirror; the news are of what is shown, and a row whose top stays as it was is no news."""
        server = super().show(received_at, synced_at)
        ended = self._overlay.caught_up() if synced_at is not None else set()
        news = [change for one in server for change in self._news(one, received_at)]
        for row_id in ended:  # the end of a catch-up may settle a write whose row did not move any more
            news += self._again(row_id, received_at)
        return news

    def write(self, layer: Layer, received_at: datetime) -> Sequence[Change]:
        """A write of this client: shown from now on; the news, if it makes a difference."""
        if layer.mutation_id in self._done or self._overlay.holds(layer.mutation_id):
            return ()  # the same write sent again: it is in what is shown already, wherever that went since
        self._overlay.add(layer)
        return self._again(layer.row_id, received_at)

    def answered(self, ack: Ack, received_at: datetime) -> Sequence[Change]:
        """The server answered a write; what that shows anew."""
        layer = self._overlay.answer(ack)
        if layer is None:
            return ()
        self._done.add(ack.mutation_id)
        if not self._overlay.holds(ack.mutation_id):
            self._settled(layer)
        return self._again(layer.row_id, received_at)

    def waits(self, mutation_id: str) -> bool:
        """Whether this write still lies over the server's row."""
        return self._overlay.holds(mutation_id)

    def forget(self, mutation_id: str, received_at: datetime) -> Sequence[Change]:
        """Nobody sends this write any more; what that shows anew."""
        layer = self._overlay.drop(mutation_id)
        return self._again(layer.row_id, received_at) if layer is not None else ()

    def _news(self, change: Change, received_at: datetime) -> Sequence[Change]:
        """What the server's news of a row is for the app: itself, or whatever it changes under pending writes."""
        self._settle(change.id)
        if change.id in self._overlay:
            return self._again(change.id, received_at)
        self._look(change.id)
        return (change,)

    def _again(self, row_id: RowId, received_at: datetime) -> Sequence[Change]:
        """Look at a row again; the news, if it looks otherwise than before."""
        self._settle(row_id)
        before, now = self._seen.get(row_id), self._look(row_id)
        if now is not None:
            return () if before is not None and _alike(before, now) else (Change.of(now, received_at),)
        if before is None:
            return ()
        hidden = replace(before, offset=self._shown_offset(row_id), pending=row_id in self._overlay)
        return (Change.gone(hidden, received_at),)

    def _settle(self, row_id: RowId) -> None:
        for layer in self._overlay.settle(row_id, self._shown_offset(row_id)):
            self._settled(layer)

    def _look(self, row_id: RowId) -> Row | None:
        """Bring what is shown of a row up to date."""
        row = self._overlay.over(row_id, self.rows.get(row_id))
        if row is None:
            self._seen.pop(row_id, None)
        else:
            self._seen[row_id] = row
        return row


def _alike(a: Row, b: Row) -> bool:
    """Whether an app would see no difference: while a write is pending, the offset below it is nothing to see."""
    if a.pending != b.pending or canonical(a.value) != canonical(b.value):
        return False
    return a.pending or a.offset == b.offset
