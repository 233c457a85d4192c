"""Where in a publication a reader is: a Readium Locator, with whatever the reader app adds to it kept as it came."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, ConfigDict, Field

from syncserver.core import values

LOCATOR_MAX_BYTES = 32_768
_DEPTH = 16

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def storable(value: Any, depth: int = 0) -> Any:
    """JSON that jsonb can hold: no NUL anywhere, and not deeper than anything real; raises ValueError."""
    if depth > _DEPTH:
        raise ValueError(f"nested deeper than {_DEPTH} levels")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("NUL characters are not allowed")
    if isinstance(value, dict):
        for name, member in value.items():
            storable(name, depth)
            storable(member, depth + 1)
    if isinstance(value, list):
        for member in value:
            storable(member, depth + 1)
    return value


def _small(locator: "Locator") -> "Locator":
    as_json = locator.model_dump(exclude_none=True)
    storable(as_json)
    if len(orjson.dumps(as_json)) > LOCATOR_MAX_BYTES:
        raise ValueError(f"larger than {LOCATOR_MAX_BYTES} bytes")
    return locator


class Locations(values.Model):
    """Where in the resource, in as many ways as the app knows (Readium Locator)."""

    model_config = ConfigDict(extra="allow")

    fragments: list[str] | None = None
    progression: Fraction | None = None
    position: Annotated[int, Field(ge=1)] | None = None
    totalProgression: Fraction | None = None  # noqa: N815 - Readium's name


class Locator(values.Model):
    """A Readium Locator: https://readium.org/webpub-manifest/schema/locator.schema.json; what it adds is kept."""

    model_config = ConfigDict(extra="allow")

    href: Annotated[str, Field(min_length=1)]
    type: Annotated[str, Field(min_length=1)]
    title: str | None = None
    locations: Locations | None = None
    text: dict[str, str] | None = None


SmallLocator = Annotated[Locator, AfterValidator(_small)]
