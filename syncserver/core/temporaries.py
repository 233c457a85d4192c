"""`{"$temp": name}` in a mutation's data stands for a key that the server makes: finding such names, replacing them."""

from collections.abc import Mapping
from typing import Any

_MARK = "$temp"
_NONE: frozenset[str] = frozenset()


def named(value: Any) -> frozenset[str]:
    """The temporary names anywhere in a JSON value."""
    if isinstance(value, dict):
        name = _name(value)
        if name is not None:
            return frozenset([name])
        value = value.values()
    elif not isinstance(value, list):
        return _NONE
    deeper = [part for part in value if isinstance(part, dict | list)]  # most data is flat
    return _NONE.union(*map(named, deeper)) if deeper else _NONE


def replaced(value: Any, keys: Mapping[str, str]) -> Any:
    """The value with the key in the place of each name; raises KeyError for a name without one."""
    if isinstance(value, dict):
        name = _name(value)
        return keys[name] if name is not None else {member: replaced(part, keys) for member, part in value.items()}
    return [replaced(part, keys) for part in value] if isinstance(value, list) else value


def _name(value: Mapping[str, Any]) -> str | None:
    name = value.get(_MARK)
    return name if len(value) == 1 and isinstance(name, str) else None
