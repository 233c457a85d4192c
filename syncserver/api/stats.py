"""GET /api/v1/stats: time and pages per day and per publication, streaks, pace, and the time that is left."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from syncserver.api import describe, writing
from syncserver.api.auth import By, InHouse
from syncserver.core import values
from syncserver.core.statistics_bodies import Day, StatsAnswer

router = APIRouter(tags=["stats"])

_Zone = Annotated[
    values.Name,
    Query(description="The reader's time zone, by its IANA name.", examples=["Europe/Berlin"]),
]


@router.get("/stats", summary="What was read, and when", response_model=StatsAnswer, responses=describe.OK)
async def stats(
    house: InHouse,
    by: By,
    time_zone: _Zone = "UTC",
    first: Annotated[Day | None, Query(alias="from", description="The first local day.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="The last local day; today if left out.")] = None,
    publication_id: Annotated[values.Key | None, Query(description="Of this publication alone.")] = None,
) -> Response:
    """Of the last 366 days, or of `from` to `to` (both counted, at most 3,660 days). Nothing counts twice."""
    found = await house.statistics.of(by.owner, time_zone, first=first, last=last, publication_id=publication_id)
    return Response(found.model_dump_json(by_alias=True), 200, writing.PRIVATE, "application/json")
