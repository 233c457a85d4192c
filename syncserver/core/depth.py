"""JSON that is not nested deeper than so many levels: what is cheap to send must not be dear to look through."""

from typing import Any

import orjson

from syncserver.core.errors import TooLarge


def loads(text: str | bytes, most: int) -> Any:
    """The value of a JSON text; raises TooLarge where it is deeper than `most`, JSONDecodeError where it is no JSON."""
    value = orjson.loads(text)
    if suspect(text, most) and deeper(value, most):
        raise TooLarge(f"The JSON is nested deeper than {most} levels.")
    return value


def suspect(text: str | bytes, most: int) -> bool:
    """Whether it may be deeper than that; most texts have so few opening brackets that they cannot."""
    opening = text.count("{") + text.count("[") if isinstance(text, str) else text.count(b"{") + text.count(b"[")
    return opening > most


def deeper(value: Any, most: int) -> bool:
    """Whether there are more than `most` levels of objects and arrays in this value, level by level."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        level = [inner for outer in level for inner in _members(outer) if isinstance(inner, dict | list)]
    return bool(level)


def _members(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value
