"""Two versions side by side: what was sent, what the row holds, and who would win. Nothing is written here."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from syncserver.core import patch
from syncserver.core.errors import SyncError
from syncserver.core.resolver import Policy, Resolution
from syncserver.engine import decide
from syncserver.engine.decide import Current, Item
from syncserver.storage.changes import Entry
from syncserver.storage.resource import Fields, Resource
from syncserver.storage.rows import Listed, Stored


def sent(resource: Resource, op: str, data: Mapping[str, Any] | None) -> Fields | None:
    """The fields that a mutation brings, those of its op among them; None for a removal."""
    return None if op == "remove" else {**(data or {}), **resource.actions.get(op, {})}


def differs(
    resource: Resource, op: str, yours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None, at: datetime
) -> list[str]:
    """Which of the fields in `yours` the row's, `theirs` (None: removed), has otherwise; as they would be kept."""
    names = sorted(name for name in yours or () if name in resource.fields)
    if yours is None or theirs is None:
        return names
    target = {} if op == "put" else {name: theirs[name] for name in resource.fields if name in theirs}
    meant = patch.merged(target, yours)
    with suppress(SyncError):  # against this row it perhaps cannot even be: then it is compared as it came
        meant = decide.validated(resource, meant, frozenset(yours), at)
    return [name for name in names if meant.get(name) != theirs.get(name)]


def outcomes(item: Item, current: Current) -> dict[Policy, Resolution]:
    """What the resolver says of this write under each policy; raises what the write itself would."""
    return {
        policy: decide.decide(
            replace(item, mutation=item.mutation.model_copy(update={"policy": policy})), current
        ).resolution
        for policy in Policy
    }


def present(owner: str, resource: Resource, listed: Listed) -> Current:
    """A row that was read for a list, as a decision needs it."""
    row = orjson.loads(listed.json)
    entry = Entry(owner, resource.name, listed.key, listed.offset, "put", listed.updated_at, row["device_id"])
    fields = {name: row[name] for name in resource.fields}
    stored = Stored(listed.json, fields, listed.updated_at, row["device_id"], row.get("device_name"))
    return Current(entry, stored)
