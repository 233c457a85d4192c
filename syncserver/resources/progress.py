"""Reading progress: where a reader is in a publication, the reader app's own position kept byte for byte.

`furthest` stands beside the present position and only grows, so that a jump back never destroys it; a write
that knew the row (its base) may set it lower, which is how a reader starts a book again.
"""

from datetime import datetime
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.dialects import postgresql as pg

from syncserver.core import values
from syncserver.core.locator import Fraction, SmallLocator, storable
from syncserver.core.resolver import FieldPolicy
from syncserver.storage import tables
from syncserver.storage.resource import Fields, Resource

POSITION_MAX_CHARS = 4096


class Progress(values.Model):
    """What a client writes of a reading progress."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"percentage": 0.25, "position": "/body/p[12]", "position_kind": "xpointer", "status": "reading"}
            ]
        }
    )

    series_id: values.Key | None = None
    locator: SmallLocator | None = None
    position: Annotated[str, Field(max_length=POSITION_MAX_CHARS), AfterValidator(storable)] | None = None
    position_kind: Literal["xpointer", "page", "cfi", "time"] | None = None
    percentage: Fraction | None = None
    furthest: Fraction | None = None
    status: Literal["reading", "finished", "abandoned"] = "reading"


def _complete(fields: Fields, _given: frozenset[str], _at: datetime) -> Fields:
    """Where the reader is, the reader has been: the furthest position is never behind the present one."""
    reached = [place for place in (fields.get("furthest"), fields.get("percentage")) if place is not None]
    return {**fields, "furthest": max(reached, default=None)}


_table = sa.Table(
    "reading_progress",
    tables.metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("publication_id", sa.Text, primary_key=True),
    sa.Column("series_id", sa.Text),
    sa.Column("locator", pg.JSONB),
    sa.Column("position", sa.Text),
    sa.Column("position_kind", sa.Text),
    sa.Column("percentage", sa.Double),
    sa.Column("furthest", sa.Double),
    sa.Column("status", sa.Text, nullable=False, server_default="reading"),
    *tables.written(),
    tables.stamp("created_at", default=True),
    sa.Index("reading_progress_owner_series_id_idx", "owner", "series_id"),
    sa.Index("reading_progress_owner_updated_at_idx", "owner", "updated_at"),
)

RESOURCES = [
    Resource(
        name="progress",
        table=_table,
        key="publication_id",
        model=Progress,
        rules={"furthest": FieldPolicy.FURTHEST},
        filters=("series_id", "status"),
        complete=_complete,
    )
]
