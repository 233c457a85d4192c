"""Which writes need not be sent, because a later one that waits behind them says all that they say. Pure.

A patch that its writer called fleeting is held back while such a patch is the next write to the same row. Once the
server has taken that, both are answered; where it refuses it, what was held back goes out after all. So no write ever
gets another content, or another id: what a program finds in its store after a crash is what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from syncserver_client.model import RowId
from syncserver_client.mutation import Mutation


class Waiting(Protocol):
    """What this has to know of a write that waits. `bare`: what would stand for it was refused."""

    mutation: Mutation
    base: int | None
    bare: bool


def held(queue: Iterable[Waiting]) -> dict[str, str]:
    """By the id of each write that need not be sent now, the id of the one that stands for it; the latest first.

    `queue`: oldest first. Only the next write to the same row may stand for one: were there another between the two, it
    would have to wait as well, or what is let go after a refusal would come too late.
    """
    waiting = list(queue)
    if not any(entry.mutation.fleeting for entry in waiting):
        return {}
    named = {name for entry in waiting for name in entry.mutation.after}
    found: dict[str, str] = {}
    following: dict[RowId, Waiting] = {}
    for entry in reversed(waiting):
        mutation = entry.mutation
        if mutation.row_id is None:
            continue
        after = following.get(mutation.row_id)
        free = mutation.fleeting and not entry.bare and mutation.mutation_id not in named
        if free and after is not None and _stands_for(after, entry):
            found[mutation.mutation_id] = after.mutation.mutation_id
        following[mutation.row_id] = entry
    return found


def _stands_for(later: Waiting, earlier: Waiting) -> bool:
    """Whether the row is the same in the end if only the later one arrives, whatever others write meanwhile."""
    a, b = earlier.mutation, later.mutation
    if a.op != "patch" or b.op != "patch" or a.policy != b.policy:
        return False
    if a.updated_at is not None or b.updated_at is not None:
        return False  # who says when it was written may have made the later one the older
    knows = earlier.base is None or (later.base is not None and later.base >= earlier.base)
    return knows and says_all(b.value or {}, a.value or {})


def says_all(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether the merge patch `later`, after `earlier`, leaves nothing that `earlier` said."""
    for name, said in earlier.items():
        if name not in later:
            return False
        if isinstance(later[name], Mapping) and not (isinstance(said, Mapping) and says_all(later[name], said)):
            return False
    return True
