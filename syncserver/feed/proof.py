"""Whether the doorbell works: it is rung under a name of our own, and how long it takes to be heard is measured."""

import asyncio
from uuid import uuid4

CHANNEL = "syncserver_proof"
"""The notify channel on which every process rings for itself; it hears the others' too, and lets them pass."""


class Proof:
    """One process's own doorbell. `begin` gives what to ring with; `heard` waits until it has come back."""

    def __init__(self) -> None:
        self._name = uuid4().hex
        self._rung = 0
        self._heard = asyncio.Event()

    def begin(self) -> str:
        """The payload to ring with on CHANNEL; whatever is still on its way from before does not count."""
        self._rung += 1
        self._heard.clear()
        return f"{self._name}.{self._rung}"

    def ring(self, payload: str) -> None:
        """A doorbell on CHANNEL was heard."""
        if payload == f"{self._name}.{self._rung}":
            self._heard.set()

    async def heard(self) -> None:
        """Wait until the one that began last has been heard."""
        await self._heard.wait()
