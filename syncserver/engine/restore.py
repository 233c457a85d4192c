"""Restoring what lost: the losing version of a conflict becomes a new write, through the same door as every other.

It knows the row as it is now, so it wins. A field with a rule of its own stays: to restore is not to start again.
"""

from typing import Any

from syncserver.core.resolver import Policy
from syncserver.storage.changes import Entry
from syncserver.storage.conflicts import Kept
from syncserver.storage.resource import Resource


def mutation(conflict: Kept, present: Entry | None, resource: Resource, mutation_id: str) -> dict[str, Any]:
    """The write that makes the row, which now stands at `present`, what the loser was."""
    fields = conflict.loser["fields"]
    return {
        "mutation_id": mutation_id,
        "resource": conflict.resource,
        "key": conflict.key,
        "op": "remove" if fields is None else "put",
        "base": present.offset if present else None,
        "policy": Policy.CLIENT_WINS,  # if another write comes between, this one is the newer all the same
        **({} if fields is None else {"data": _without_ruled(fields, present, resource)}),
    }


def _without_ruled(fields: dict[str, Any], present: Entry | None, resource: Resource) -> dict[str, Any]:
    """The loser's fields; those with a rule only where there is no row that keeps them."""
    kept = resource.rules if present is not None and present.op == "put" else {}
    return {name: value for name, value in fields.items() if name not in kept}
