"""What a patch has to say to lead from one state to another: the other way round of `overlay.merged`. Pure.

A merge patch (RFC 7396) has no word for a member that is null, since null is its word for "remove": such a state is
refused with Unsayable, not saved as something else. Nulls within arrays, and those that are there already, do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncserver_client.wire import JsonObject, canonical

Shape = Mapping[str, Any]
LOCATOR: Shape = {
    "title": {},
    "locations": {"fragments": {}, "progression": {}, "position": {}, "totalProgression": {}},
    "text": {"before": {}, "highlight": {}, "after": {}},
}
"""The members that a Readium Locator may leave out."""


class Unsayable(ValueError):
    """A null, as a member of an object, that a merge patch would take for a removal; the text says where."""


def changed(before: JsonObject, after: JsonObject) -> JsonObject:
    """The patch such that `merged(before, patch)` is `after`: members that differ, down to the smallest.

    Fields (the top level) that `after` leaves out stay as they are; a null there empties the field. Unsayable.
    """
    return {
        name: _difference(before.get(name), value, f"/{name}")
        for name, value in after.items()
        if not _alike(before.get(name), value)
    }


def _difference(before: Any, after: Any, path: str) -> Any:
    if not isinstance(after, dict):
        return after
    old = before if isinstance(before, dict) else {}
    patch: JsonObject = {name: None for name in old if name not in after}
    for name, value in after.items():
        if name in old and _alike(old[name], value):
            continue
        if value is None:
            raise Unsayable(f"a merge patch cannot say null, at {path}/{name}: leave the member out")
        patch[name] = _difference(old.get(name), value, f"{path}/{name}")
    return patch


def _alike(a: Any, b: Any) -> bool:
    return canonical(a) == canonical(b)


def apart(one: JsonObject, other: JsonObject) -> bool:
    """Whether two patches of the same state say nothing different of any member, so that either may come first."""
    return all(_agree(one[name], other[name]) for name in one if name in other)


def _agree(one: Any, other: Any) -> bool:
    return _alike(one, other) or (isinstance(one, dict) and isinstance(other, dict) and apart(one, other))


def replacing(before: Any, after: Any, shape: Shape) -> Any:
    """The patch that makes `after` of whatever is there, where that has only members of `before` and of `shape`.

    For values that mean something only as a whole, such as a place: of two devices' places no mixture may come out.
    """
    if not isinstance(after, dict):
        return after
    old = before if isinstance(before, dict) else {}
    patch: JsonObject = {name: None for name in (*shape, *old) if name not in after}
    return patch | {name: replacing(old.get(name), value, shape.get(name, {})) for name, value in after.items()}


def without_nulls(value: Any) -> Any:
    """The value without members that are null, for objects in which that means the same as none."""
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(member) for name, member in value.items() if member is not None}
