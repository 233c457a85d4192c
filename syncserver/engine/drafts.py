"""A record of an import as the rows that it asks for: checked by the resources' own models, written nowhere yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from syncserver.core import protocol
from syncserver.core.records import Record
from syncserver.storage.resource import Catalog, Fields, Resource

Wrong = tuple[str, str]
"""A column, and what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component that a node is to have. `own`: its own id, where the file says one."""

    own: str | None
    fields: Fields


@dataclass(frozen=True, slots=True)
class Draft:
    """What one record asks for. `own`: the row's own id, where the file says one. `line`: where it begins.

    `components`: of a node, all that it is to have, in order; None: the file says nothing of them. `sound`: nothing is
    wrong with it.
    """

    record: Record
    own: str | None
    fields: Fields
    components: Sequence[Component] | None = None
    sound: bool = True


class Drafts:
    """Makes them, for rows of one session."""

    def __init__(self, catalog: Catalog, session_id: str) -> None:
        self._catalog = catalog
        self._session_id = session_id

    def node(self, record: Record, values: Mapping[str, Any]) -> tuple[Draft, list[Wrong]]:
        """A node with its components, and all that is wrong with it."""
        fields = {name: values[name] for name in ("title", "content", "metadata") if name in values}
        wrong = self._wrong(self._catalog["nodes"], fields)
        if "components" not in values:
            return Draft(record, values.get("node_id"), fields), wrong
        components: list[Component] = []
        for number, said in enumerate(values["components"], 1):
            own = {name: said[name] for name in ("type", "config") if name in said}
            for place, sentence in self._wrong(self._catalog["node_components"], {"node_id": "N001", **own}):
                wrong.append(("components", f"component {number}, {place}: {sentence}"))
            components.append(Component(said.get("component_id"), own))
        return Draft(record, values.get("node_id"), fields, components), wrong

    def relationship(self, record: Record, values: Mapping[str, Any]) -> tuple[Draft, list[Wrong]]:
        """A relationship, and all that is wrong with it."""
        fields = {name: value for name, value in values.items() if name != "relationship_id"}
        return Draft(record, values.get("relationship_id"), fields), self._wrong(
            self._catalog["session_relationships"], fields
        )

    def _wrong(self, resource: Resource, fields: Fields) -> list[Wrong]:
        try:
            resource.model.model_validate({"session_id": self._session_id, **fields})
        except ValidationError as error:
            return [_said(place, sentence) for place, sentence in protocol.places(error)]
        return []


def _said(place: tuple[int | str, ...], sentence: str) -> Wrong:
    inner = protocol.pointer(place[1:])
    plain = sentence.removeprefix("Value error, ")
    return str(place[0]), f"{inner}: {plain}" if inner else plain
