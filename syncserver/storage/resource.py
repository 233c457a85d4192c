"""What a synced resource is: a name on the wire, a table under the change index, a model of its fields, its rules.

`Catalog` is the set of them that this server syncs; `syncserver.resources` finds it by folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from syncserver.core import values
from syncserver.core.resolver import ConflictResolver, FieldPolicy, Policy

Fields = dict[str, Any]


def as_it_comes(fields: Fields) -> Fields:
    """No rule of its own for what a write means."""
    return fields


@dataclass(frozen=True, eq=False)
class Resource:
    """One kind of synced row.

    `key` is the column that, with owner, is the primary key. `model` holds the fields a client writes; a `put` is
    validated against it whole, a `patch` after merging. `complete` fills in what follows from the other fields.
    `filters` are the columns that a list may be filtered by. `make_key` makes a key where the server has to: a client
    then names the row by a temporary name until it is told; None where clients make all keys. `read_only`: clients see
    it and never push to it; it has a door of its own.
    """

    name: str
    table: sa.Table
    key: str
    model: type[values.Model]
    policy: Policy = Policy.LAST_WRITE_WINS
    rules: Mapping[str, FieldPolicy] = field(default_factory=dict)
    filters: Sequence[str] = ()
    complete: Callable[[Fields], Fields] = as_it_comes
    make_key: Callable[[], str] | None = None
    read_only: bool = False

    @cached_property
    def resolver(self) -> ConflictResolver:
        """The judge of this resource's conflicts."""
        return ConflictResolver(self.rules)

    @cached_property
    def columns(self) -> Sequence[sa.Column[Any]]:
        """Every column that a client sees: all but the owner."""
        return [column for column in self.table.columns if column.name != "owner"]

    @cached_property
    def fields(self) -> Sequence[str]:
        """The columns that a version of the row is made of: those of the model."""
        return [name for name in self.model.model_fields if name in self.table.columns]


class Catalog(Mapping[str, Resource]):
    """The synced resources by name."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = {resource.name: resource for resource in resources}

    def __getitem__(self, name: str) -> Resource:
        return self._resources[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)

    __hash__ = object.__hash__  # one catalog is made and shared; statements are cached by it
