"""Each problem is logged once, and again only after things went well in between.

What is logged is a problem's code and a fixed sentence: never a token, a session id, a name, a key or a position.
"""

import logging

log = logging.getLogger("syncserver_client")


class Problems:
    """The problems that were already reported since the last recovery."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def report(self, code: str, sentence: str) -> None:
        """Log a warning, unless one with this code was logged since the last recovery."""
        if code not in self._reported:
            self._reported.add(code)
            log.warning("%s (%s)", sentence, code)

    def recovered(self) -> None:
        """Things go well: say so if anything had been reported, and report afresh from now on."""
        if self._reported:
            self._reported.clear()
            log.info("in sync again")
