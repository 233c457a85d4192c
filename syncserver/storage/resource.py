"""What a synced resource is: a name on the wire, a table under the change index, a model of its fields, its rules.

`Catalog` is the set of them that this server syncs; `syncserver.resources` finds it by folder.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.core import values
from syncserver.core.actor import Device
from syncserver.core.resolver import ConflictResolver, FieldPolicy, Policy, Reason, never
from syncserver.core.within import Within
from syncserver.storage.tables import UNSEEN

Fields = dict[str, Any]
_UUID: TypeAdapter[str] = TypeAdapter(values.Id)


def as_it_comes(fields: Fields, _given: frozenset[str], _at: datetime) -> Fields:
    """No rule of its own for what a write means."""
    return fields


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a row by one mutation: its fields before and after (None: no row), whose it is and who wrote.

    `told`: the row as the mutation meant it, whether or not that won. `at`: the mutation's stamp. `conflict_id` and
    `reason`: of the decision, where two versions met. `room`: whether the owner may have one more row.
    """

    owner: str
    key: str
    before: Fields | None
    after: Fields | None
    told: Fields | None
    device: Device
    at: datetime
    conflict_id: str | None = None
    policy: Policy = Policy.LAST_WRITE_WINS
    reason: Reason = Reason.FIRST
    room: bool = True


@dataclass(frozen=True, slots=True)
class Follow:
    """A write of another row that follows from one: these fields, judged as the same device's write at that time."""

    cause: Written
    resource: str
    key: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Effects:
    """What followed in the same transaction: rows changed directly (resource, owner, key), and writes yet to judge."""

    changed: Sequence[tuple[str, str, str]] = ()
    follows: Sequence[Follow] = ()


@dataclass(frozen=True, slots=True)
class Belongs:
    """Rows belong to one of another resource (its name), which `field` names, and go with it.

    `order`: they are listed by that column. `column`: the one that holds the other's key; None: that of the field.
    """

    resource: str
    field: str
    order: str
    column: str | None = None

    @property
    def home(self) -> str:
        """The column that holds the key of what a row belongs to."""
        return self.column or self.field


@dataclass(frozen=True, slots=True)
class Raised:
    """Columns that tell a row's own last write from what raised its `updated_at` afterwards.

    `stamp`: of that write, which is what decides conflicts. `since`: the offset at which it stands; null where nothing
    raised the row after it.
    """

    stamp: str
    since: str


@dataclass(frozen=True, eq=False)
class Resource:
    """One kind of synced row.

    `key` is the column that, with owner, is the primary key. `model` holds the fields a client writes; a `put` is
    validated against it whole, a `patch` after merging. `complete` fills in what follows from the other fields, given
    the names that this write has and its stamp. `filters` are the columns that a list may be filtered by, `conditions`
    lists with a name (an SQL condition on the row `t`), `heavy` the columns that lists leave out. `make_key` makes a
    key where the server has to: a client then names the row by a temporary name until it is told; None where clients
    make all keys. `read_only`: clients see it and never write it; `removable`: but they may remove it.

    `strict`: a patch over REST that says which state its writer saw yields to any other, unless it names a policy.
    `final`: a state that takes no more writes. `actions`: operations by name, each a patch laid over what comes with
    it. `silent`: a column of it changes without a doorbell. `parent`: the field that names another row of this kind,
    from which a new row takes what `inherit` gives it. `effects`: what else is written in the transaction that wrote
    these rows; `logged`: each write leaves a row of a log, too. `belongs`: without those rows, none of these is taken;
    it is listed by the first. `within`: keys are made up of a place and an own id.
    `raised`: where other rows make this one newer. `fixed`: fields that never change once a row is there.
    """

    name: str
    table: sa.Table
    key: str
    model: type[values.Model]
    policy: Policy = Policy.LAST_WRITE_WINS
    rules: Mapping[str, FieldPolicy] = field(default_factory=dict)
    filters: Sequence[str] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)
    heavy: frozenset[str] = frozenset()
    complete: Callable[[Fields, frozenset[str], datetime], Fields] = as_it_comes
    make_key: Callable[[], str] | None = None
    read_only: bool = False
    removable: bool = False
    silent: bool = False
    strict: bool = False
    final: Callable[[Mapping[str, Any]], bool] = never
    actions: Mapping[str, Fields] = field(default_factory=dict)
    parent: str | None = None
    inherit: Callable[[Fields], Fields] = dict
    effects: Callable[[AsyncConnection, Sequence[Written]], Awaitable[Effects]] | None = None
    logged: bool = False
    belongs: Sequence[Belongs] = ()
    within: Within | None = None
    raised: Raised | None = None
    fixed: frozenset[str] = frozenset()

    @cached_property
    def resolver(self) -> ConflictResolver:
        """The judge of this resource's conflicts."""
        return ConflictResolver(self.rules, self.final)

    @property
    def path(self) -> str:
        """Its place among the routes."""
        return self.name.replace("_", "-")

    @cached_property
    def has_uuids(self) -> bool:
        """Whether its keys are UUIDs."""
        return isinstance(self.table.c[self.key].type, pg.UUID)

    def canonical(self, key: str) -> str:
        """The key as it is kept; raises ValueError for what can be none of this resource."""
        if self.within is not None:
            return self.within.canonical(key)
        if not self.has_uuids:
            return key
        try:
            return _UUID.validate_python(key, strict=True)
        except ValidationError:
            raise ValueError("a UUID") from None

    def home(self, belongs: Belongs, fields: Mapping[str, Any]) -> str:
        """The key of what a row with these fields belongs to."""
        named = str(fields[belongs.field])
        if self.within is None or belongs.field not in self.within.names:
            return named
        return f"{fields[self.within.field]}:{named}"

    @property
    def makes_keys(self) -> bool:
        """Whether the server makes a key for a row that comes without one."""
        return self.make_key is not None or (self.within is not None and self.within.numbered)

    @cached_property
    def columns(self) -> Sequence[sa.Column[Any]]:
        """Every column that a client sees: all but the owner, and what is made from others for the database's use."""
        return [c for c in self.table.columns if c.name != "owner" and c.info != UNSEEN]

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
