"""Own writes that the server's log has not shown yet, as layers over its rows: pure, no I/O.

A layer goes when its write was refused, or when the row has reached the offset of its ack. Layers of a row go from
the bottom only: one that still waits below one that is done would otherwise show through for a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from syncserver_client.model import Row, RowId
from syncserver_client.mutation import Ack
from syncserver_client.wire import JsonObject


@dataclass(slots=True, eq=False)
class Layer:
    """One write. `offset`: where the server has it, once it was acked; `winner`: the row that won instead of it."""

    mutation_id: str
    row_id: RowId
    op: str
    value: JsonObject | None
    updated_at: datetime
    device_id: str
    offset: int | None = None
    winner: Row | None = None
    covered: bool = False  # acked before the catch-up under way began: at its end the server has shown it

    def over(self, row: Row | None) -> Row | None:
        """The row as it looks with this write done."""
        if self.winner is not None:
            won = self.winner
            return replace(won, offset=row.offset if row else 0, pending=True) if won.op == "put" else None
        if self.op == "remove" or (self.op == "patch" and row is None):
            return None  # a patch of nothing cannot work, the server will say so
        value = self.value if self.op == "put" or row is None else merged(row.value or {}, self.value or {})
        offset = row.offset if row else 0
        return Row(*self.row_id, "put", value, offset, self.updated_at, self.device_id, self.mutation_id, pending=True)


class Overlay:
    """The layers of all rows, by row and in the order of the writes."""

    def __init__(self) -> None:
        self._layers: dict[RowId, list[Layer]] = {}
        self._by_id: dict[str, Layer] = {}

    def __contains__(self, row_id: RowId) -> bool:
        return row_id in self._layers

    def holds(self, mutation_id: str) -> bool:
        """Whether this write still lies on its row."""
        return mutation_id in self._by_id

    def add(self, layer: Layer) -> None:
        """Lay a write on top."""
        self._layers.setdefault(layer.row_id, []).append(layer)
        self._by_id[layer.mutation_id] = layer

    def answer(self, ack: Ack) -> Layer | None:
        """The server's answer to a write; its layer, if it has one. A refused one's is gone with this."""
        layer = self._by_id.get(ack.mutation_id)
        if layer is None:
            return None
        layer.winner, layer.offset = ack.row, ack.row.offset if ack.row is not None else ack.offset
        if ack.refused or layer.offset is None:
            self.drop(ack.mutation_id)
        return layer

    def drop(self, mutation_id: str) -> Layer | None:
        """Take a layer away, wherever it lies."""
        layer = self._by_id.pop(mutation_id, None)
        if layer is not None:
            layers = self._layers[layer.row_id]
            layers.remove(layer)
            if not layers:
                del self._layers[layer.row_id]
        return layer

    def begin(self) -> None:
        """A catch-up begins: at its end the server has shown every write that was acked by now."""
        for layer in self._by_id.values():
            layer.covered = layer.offset is not None

    def caught_up(self) -> set[RowId]:
        """The catch-up ended; the rows of layers that this settles."""
        done = {layer.row_id for layer in self._by_id.values() if layer.covered}
        for layer in self._by_id.values():
            layer.offset = 0 if layer.covered else layer.offset
        return done

    def settle(self, row_id: RowId, shown: int) -> list[Layer]:
        """The row has reached the offset `shown`: take away what it shows by itself, from the bottom up."""
        gone: list[Layer] = []
        for layer in self._layers.get(row_id, ()):
            if layer.offset is None or layer.offset > shown:
                break
            gone.append(layer)
        for layer in gone:
            self.drop(layer.mutation_id)
        return gone

    def over(self, row_id: RowId, row: Row | None) -> Row | None:
        """The row with all its layers on it."""
        for layer in self._layers.get(row_id, ()):
            row = layer.over(row)
        return row


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> JsonObject:
    """What the server makes of a patch: RFC 7396, but a null at the top empties a field that the row has."""
    whole = dict(target)
    for name, value in patch.items():
        whole[name] = _merge(target.get(name), value)
        if value is None and name not in target:
            del whole[name]
    return whole


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    whole = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = _merge(whole.get(name), value)
    return whole
