"""What the database itself has to hold of rows that belong to others: foreign keys, checks, columns made of others.

A restore, or somebody in a hurry, leaves them out, off, or never looked at; then rows are wrong that nobody sees.
"""

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from syncserver.storage import tables
from syncserver.storage.diagnosis import Fault, Finding
from syncserver.storage.resource import Catalog, Resource

_BESIDE = (tables.node_numbers, tables.imports)
_DEVICE = ("device_id", "device_name")
CHECKED: Mapping[str, Sequence[str]] = {
    "nodes": ("title", "content", "metadata", *_DEVICE),
    "node_components": ("rank", "type", "config", *_DEVICE),
    "session_relationships": ("type", "weight", "metadata", *_DEVICE),
    "imports": ("state",),
}
"""By table, the columns that a check of their own keeps in bounds."""

_CONSTRAINTS = sa.text("""
    SELECT x.table, x.name,
      CASE WHEN c.oid IS NULL THEN 'is not there' WHEN c.convalidated THEN 'is off' ELSE 'was never validated' END
    FROM unnest(CAST(:tables AS text[]), CAST(:names AS text[])) AS x ("table", name)
    LEFT JOIN pg_constraint c ON c.conrelid = to_regclass(x.table) AND c.conname = x.name
    WHERE c.oid IS NULL OR NOT c.convalidated OR EXISTS (
      SELECT FROM pg_trigger t WHERE t.tgconstraint = c.oid AND t.tgenabled NOT IN ('O', 'A'))
    ORDER BY 1, 2
""")
_COLUMNS = sa.text("""
    SELECT x.table, x.name, CASE WHEN x.made THEN 'is not made of others' ELSE 'does not sort bytewise' END
    FROM unnest(CAST(:tables AS text[]), CAST(:names AS text[]), CAST(:made AS bool[])) AS x ("table", name, made)
    WHERE NOT EXISTS (
      SELECT FROM pg_attribute a
      WHERE a.attrelid = to_regclass(x.table) AND a.attname = x.name
        AND CASE WHEN x.made THEN a.attgenerated = 's' ELSE a.attcollation = CAST('"C"' AS regcollation) END)
    ORDER BY 1, 2
""")
_NUMBERED = sa.text("""
    SELECT x.table, 'numbered', 'does not fire' FROM unnest(CAST(:tables AS text[])) AS x ("table")
    WHERE NOT EXISTS (
      SELECT FROM pg_trigger t
      WHERE t.tgrelid = to_regclass(x.table) AND t.tgname = 'numbered' AND t.tgenabled IN ('O', 'A'))
""")


async def of(connection: AsyncConnection, catalog: Catalog) -> list[Finding]:
    """What is missing, off or not validated, in the tables of these resources and those beside them."""
    kept = [pair for table in _tables(catalog) for pair in _expected(catalog, table)]
    columns = [(c.table.name, c.name, c.computed is not None) for c in _columns(catalog)]
    numbered = [r.table.name for r in catalog.values() if r.within is not None and r.within.numbered]
    found = [
        *await connection.execute(_CONSTRAINTS, {"tables": [t for t, _ in kept], "names": [n for _, n in kept]}),
        *await connection.execute(
            _COLUMNS,
            {
                "tables": [table for table, _, _ in columns],
                "names": [name for _, name, _ in columns],
                "made": [made for _, _, made in columns],
            },
        ),
        *await connection.execute(_NUMBERED, {"tables": numbered}),
    ]
    names = {resource.table.name: name for name, resource in catalog.items()}
    return [Finding(Fault.CONSTRAINT, f"{name} of {table} {what}", names.get(table)) for table, name, what in found]


def _tables(catalog: Catalog) -> Iterator[sa.Table]:
    yield from (resource.table for resource in catalog.values())
    yield from _BESIDE


def _expected(catalog: Catalog, table: sa.Table) -> Iterator[tuple[str, str]]:
    """The constraints that rows of this table rely on, by name."""
    yield table.name, f"{table.name}_pkey"
    yield from ((table.name, str(key.name)) for key in table.foreign_key_constraints)
    yield from ((table.name, f"{table.name}_{column}_check") for column in CHECKED.get(table.name, ()))
    if any(resource.table is table for resource in _within(catalog)):
        yield table.name, f"{table.name}_key"


def _columns(catalog: Catalog) -> Iterator[sa.Column[object]]:
    """Those that are made of others, and those that sort bytewise."""
    for resource in _within(catalog):
        for column in resource.table.columns:
            if column.computed is not None or getattr(column.type, "collation", None) == "C":
                yield column


def _within(catalog: Catalog) -> Iterator[Resource]:
    return (resource for resource in catalog.values() if resource.within is not None)
