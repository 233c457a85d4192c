"""Rows that all stand in one row of another kind, their place: own ids are unique only there.

A key is `<place>:<own id>`. Where a row names another of the same place, it does so by that one's own id.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from syncserver.core import values
from syncserver.core.errors import Invalid

_PLACE: TypeAdapter[str] = TypeAdapter(values.Id)
NUMBERED = re.compile("[N](?:[0-9]{3}|[1-9][0-9]{3,8})")
NUMBER_MAX = 999_999_999
NAMED = re.compile("[A-Za-z0-9._~-]{1,64}")


@dataclass(frozen=True)
class Within:
    """How the keys of such rows are made up.

    `field` names the place, a UUID. `own`: what an own id looks like; `such`: in words. `names`: the fields that name
    another row of the same place. `numbered`: own ids that the server makes are numbers, past all that were before.
    """

    field: str
    own: re.Pattern[str]
    such: str
    names: tuple[str, ...] = ()
    numbered: bool = False

    def canonical(self, key: str) -> str:
        """The key as it is kept; raises ValueError."""
        place, _, own = key.partition(":")
        try:
            place = _PLACE.validate_python(place, strict=True)
        except ValidationError:
            raise ValueError(f"a UUID, a colon and {self.such}") from None
        if not self.own.fullmatch(own) or own == numbered(0):
            raise ValueError(f"a UUID, a colon and {self.such}")
        return f"{place}:{own}"

    def placed(self, fields: Mapping[str, Any]) -> str:
        """The place that a new row says it is in; raises Invalid."""
        try:
            return _PLACE.validate_python(fields.get(self.field), strict=True)
        except ValidationError:
            raise _wrong(self.field, "the UUID of the row that it stands in") from None

    def local(self, key: str, fields: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
        """Fields of a row with this key, others of its place by their own ids; `whole`: the place among them.

        A row whose key is yet to be made (an empty one) says itself where it stands. Raises Invalid for another place
        than the key's.
        """
        place = key.partition(":")[0] or self.placed(fields)
        if self.field in fields and self.placed(fields) != place:
            raise _wrong(self.field, "not that of the key")
        own = {name: _own(fields[name], place, name) for name in self.names if name in fields}
        return {**fields, **own, **({self.field: place} if whole else {})}


def _own(name: Any, place: str, field: str) -> Any:
    """The own id behind a key of the same place; anything else as it is."""
    if not isinstance(name, str) or ":" not in name:
        return name
    of, _, own = name.partition(":")
    if of.lower() != place:
        raise _wrong(field, "of another place")
    return own


def numbered(number: int) -> str:
    """The own id with this number."""
    return f"N{number:03}"


def number(key: str) -> int:
    """The number in a key whose own id is numbered."""
    return int(key.partition(":N")[2])


def _wrong(field: str, sentence: str) -> Invalid:
    return Invalid(f"/data/{field}: {sentence}", [{"pointer": f"/data/{field}", "detail": sentence}])
