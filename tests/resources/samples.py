"""Rows of every resource, made from what its model and its table say: no resource has an entry here.

A row's fields are its model's example, with a text of the test's own (a mark) wherever there is room for one. It stands
in the rows that it belongs to, its homes, and, where keys say so, in a session, its place.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import psycopg
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from syncserver import resources
from syncserver.core import within
from syncserver.engine import decide
from syncserver.storage.resource import Belongs, Fields, Resource

HOME = "moby-dick"
"""The name of the rows that sample rows belong to."""

NOWHERE = "0198c0de-0000-7000-8000-00000000c0de"
"""A session that is nobody's."""

_NUMBERS = 900_000


def every() -> list[str]:
    """All resources."""
    return list(resources.catalog())


def written() -> list[str]:
    """The resources that clients write, each after those that its rows belong to."""
    found = [resource.name for resource in resources.catalog().values() if not resource.read_only]
    return sorted(found, key=lambda name: len(homes_of(name)))


def key_of(resource: str, name: str, place: str = NOWHERE) -> str:
    """A key that a row of this resource can have, the same for the same name in the same place."""
    found = resources.catalog()[resource]
    made = uuid5(NAMESPACE_URL, name)
    if found.within is not None:
        return f"{place}:{within.numbered(1 + made.int % _NUMBERS) if found.within.numbered else made}"
    return str(made) if found.has_uuids else name


def homes_of(resource: str, place: str = NOWHERE) -> list[tuple[str, str]]:
    """Resource and key of the rows that a client has to write before one of these, in that order."""
    found: list[tuple[str, str]] = []
    for belongs in resources.catalog()[resource].belongs:
        if not resources.catalog()[belongs.resource].read_only:
            found += [*homes_of(belongs.resource, place), (belongs.resource, key_of(belongs.resource, HOME, place))]
    return list(dict.fromkeys(found))


def fields_of(resource: str, mark: str, place: str = NOWHERE) -> Fields:
    """What a client may write of a row (for a resource that none writes: what the server may have)."""
    found = resources.catalog()[resource]
    fields = _example(found)
    for name in _rooms(found, mark):
        fields[name] = mark
    for name, value in fields.items():
        if isinstance(value, dict) and _fits(found, name, titled := {**value, "title": mark}):
            fields[name] = titled
    fields |= {belongs.field: _home(found, belongs, place) for belongs in found.belongs}
    fields |= {found.within.field: place} if found.within else {}
    found.model.model_validate(fields)
    return fields


def marked(resource: str, mark: str) -> str:
    """The field that says whose text a row is: one that takes any text, and may change."""
    rooms = _rooms(resources.catalog()[resource], mark)
    assert rooms, f"{resource} has no field for a text of a test's own: its model takes none of {len(mark)} characters"
    return rooms[-1]


def insert(sql: psycopg.Connection, resource: str, owner: str, key: str, mark: str, place: str = NOWHERE) -> None:
    """Write a row by SQL, as an application or somebody at psql may, of any resource."""
    found = resources.catalog()[resource]
    fields = fields_of(resource, mark, place)
    whole = decide.validated(found, fields, frozenset(fields), datetime.now(UTC))
    row = {"owner": owner, found.key: key, **{name: value for name, value in whole.items() if value is not None}}
    names = ", ".join(row)
    sql.execute(
        f"INSERT INTO {found.table.name} ({names}) SELECT {names}"
        f" FROM jsonb_populate_record(NULL::{found.table.name}, %s)".encode(),
        [Jsonb(row)],
    )


def _example(resource: Resource) -> Fields:
    """The example in its model; where there is none, the least that it takes."""
    examples = resource.model.model_json_schema().get("examples")
    if examples:
        return dict(examples[0])
    needed = [name for name, field in resource.model.model_fields.items() if field.is_required()]
    return {name: _least(resource, name) for name in needed}


def _least(resource: Resource, name: str) -> Any:
    schema = resource.model.model_json_schema()["properties"][name]
    likely: Sequence[Any] = (*schema.get("enum", ()), "text", NOWHERE, "2026-03-01T10:00:00.000000Z", 0, True, {}, [])
    fitting = [value for value in likely if _fits(resource, name, value)]
    assert fitting, f"give the model of {resource.name} an example: nobody can guess its field {name}"
    return fitting[0]


def _rooms(resource: Resource, mark: str) -> list[str]:
    """The fields that take this text, and are free to: they name no other row, and may change."""
    taken = {*resource.fixed, resource.parent, *(belongs.field for belongs in resource.belongs)}
    taken |= {resource.within.field} if resource.within else set()
    schemas = resource.model.model_json_schema()["properties"]
    return [n for n, schema in schemas.items() if n not in taken and _is_text(schema) and _fits(resource, n, mark)]


def _is_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("anyOf", [schema])
    return any(kind.get("type") == "string" and "pattern" not in kind for kind in kinds)


def _fits(resource: Resource, name: str, value: Any) -> bool:
    field: FieldInfo | None = resource.model.model_fields.get(name)
    if field is None:
        return False
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type] # its own type
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _home(resource: Resource, belongs: Belongs, place: str) -> str:
    """How a row names what it belongs to: a session is the place itself, and what stands there goes by its own id."""
    home = resources.catalog()[belongs.resource]
    if home.read_only:
        return place
    key = key_of(home.name, HOME, place)
    return key.rpartition(":")[2] if resource.within and belongs.field in resource.within.names else key
