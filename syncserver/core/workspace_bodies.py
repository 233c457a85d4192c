"""What requests about a workspace hold beside the fields of rows."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from syncserver.core import within
from syncserver.core.sequence import Spot
from syncserver.core.values import Model

COMPONENTS_MAX = 500
POSITION_MAX = 1_000_000

OwnId = Annotated[str, Field(pattern=f"^{within.NAMED.pattern}$")]


class SpotBody(Model):
    """Where in a sequence a component is to stand: one of these, or none for the end."""

    position: Annotated[int, Field(ge=0, le=POSITION_MAX)] | None = Field(
        default=None, description="From 0; past the end is the end."
    )
    before: OwnId | None = Field(default=None, description="The component that it stands before.")
    after: OwnId | None = Field(default=None, description="The component that it stands after.")

    @model_validator(mode="after")
    def one_place(self) -> Self:
        """Of several, which would it be?"""
        if sum(place is not None for place in (self.position, self.before, self.after)) > 1:
            raise ValueError("one of position, before and after")
        return self

    @property
    def said(self) -> bool:
        """Whether it names a place."""
        return any(place is not None for place in (self.position, self.before, self.after))

    def spot(self, place: str) -> Spot:
        """The same, neighbours by the keys that they have in this session."""
        before, after = (own and f"{place}:{own}" for own in (self.before, self.after))
        return Spot(self.position, before, after)


class SequenceBody(Model):
    """The components that a node is to have, in order; each has its fields, and `component_id` if it has one."""

    components: Annotated[list[dict[str, Any]], Field(max_length=COMPONENTS_MAX)]
