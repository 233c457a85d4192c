"""Catching up by asking: pages over HTTP into the mirror, shown when the last one has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from syncserver_client.clock import Clock
from syncserver_client.http import Http, RefetchNeeded
from syncserver_client.mirror import Mirror
from syncserver_client.model import Change


class Poller:
    """The fallback's eyes. The mirror is the same one that the socket fills, and so is its cursor.

    `keep` is called after each page.
    """

    def __init__(self, http: Http, mirror: Mirror, clock: Clock, keep: Callable[[], None] = lambda: None) -> None:
        self._keep = keep
        self._http = http
        self._mirror = mirror
        self._clock = clock

    async def catch_up(self, wait_s: int = 0) -> Sequence[Change]:
        """Fetch until nothing is left; all the news. Transient or Fatal if not; pages that came are kept.

        `wait_s`: how long the server may wait for the first of them.
        """
        self._mirror.begin()
        more = True
        while more:
            try:
                page = await self._http.changes(self._mirror.cursor, wait_s)
            except RefetchNeeded:
                self._mirror.refetch()
                continue
            self._mirror.hold(page.rows, page.cursor)
            self._keep()
            more, wait_s = page.more, 0
        # "Nothing new" names no time; it was true a moment ago by the corrected clock.
        now = self._clock.now()
        return self._mirror.show(now, page.server_time or now)
