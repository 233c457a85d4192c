"""What became of writes, for an app that did not wait for them; with a store, those of earlier runs too."""

from __future__ import annotations

from collections.abc import Callable

from syncserver_client.mutation import Ack
from syncserver_client.watch import Watch


class AckWatch:
    """An async iterator of acks, for one task. One counts as heard when the next is asked for.

    So an app that is killed while it looks at one gets it again from its store, in the next run.
    """

    def __init__(self, acks: Watch[Ack], heard: Callable[[str], None]) -> None:
        self._acks = acks
        self._heard = heard
        self._taken: str | None = None

    def __aiter__(self) -> AckWatch:
        return self

    async def __anext__(self) -> Ack:
        taken, self._taken = self._taken, None
        if taken is not None:
            self._heard(taken)
        ack = await anext(self._acks)
        self._taken = ack.mutation_id
        return ack
