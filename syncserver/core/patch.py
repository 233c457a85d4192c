"""JSON merge patch (RFC 7396), but for one thing: a null at the top keeps the name, as an empty field."""

from collections.abc import Mapping
from typing import Any


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `target` with the patch laid over them."""
    fields = {**target, **{name: _merged(target.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in fields.items() if value is not None or name in target}


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept
