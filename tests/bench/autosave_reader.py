"""A reader of the measurement of saves: what they send, what comes back, and that nothing of it is lost or repeated."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.bench.figures import WrongError

STATE_BYTES = 2000


@dataclass
class Reader:
    """A reader with two devices: one saves, the other sees it."""

    token: str
    session_id: str = field(default_factory=lambda: str(uuid4()))
    sent: dict[str, tuple[int, float]] = field(default_factory=dict)
    acked_ms: list[float] = field(default_factory=list)
    seen_ms: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    seen: int = 0
    offset: int = 0

    def begun(self) -> dict[str, Any]:
        """The session's first write: an hour ago, so that its seconds are not more than the clock's."""
        state = {"turn": 0, "font": "serif", "theme": "night", "notes": ["x" * 90] * (STATE_BYTES // 100)}
        return {
            "mutation_id": str(uuid4()),
            "resource": "reading_sessions",
            "key": self.session_id,
            "op": "put",
            "data": {
                "publication_id": "moby-dick",
                "title": "Moby-Dick",
                "started_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
                "percentage": 0.0,
                "state": state,
            },
        }

    def save(self, due: float) -> dict[str, Any]:
        """The next one: what changed, as the client would send it."""
        turn = len(self.times) + 1
        mutation_id = str(uuid4())
        self.times.append(due)
        self.sent[mutation_id] = (turn, due)
        return {
            "mutation_id": mutation_id,
            "resource": "reading_sessions",
            "key": self.session_id,
            "op": "patch",
            "base": self.offset or None,
            "data": {"percentage": turn / 10_000, "active_seconds": turn, "state": {"turn": turn}},
        }

    def answer(self, acks: list[dict[str, Any]]) -> None:
        """Acks of saves; WrongError where one was not taken, or out of order."""
        now = time.monotonic()
        for ack in acks:
            turn, due = self.sent.pop(ack["mutation_id"])
            if ack["status"] not in ("applied", "merged") or ack["offset"] <= self.offset:
                raise WrongError(f"save {turn} was {ack['status']}")
            self.offset = ack["offset"]
            self.acked_ms.append(1000 * (now - due))

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Rows on the other device; one may stand for several saves, of which it is the last."""
        now = time.monotonic()
        for row in rows:
            turn = row["data"]["state"]["turn"]
            if turn < self.seen:
                raise WrongError("a device went back")
            self.seen_ms += [1000 * (now - due) for due in self.times[self.seen : turn]]
            self.seen = turn

    @property
    def done(self) -> bool:
        """Whether all that was sent came back and was seen."""
        return not self.sent and self.seen == len(self.times)
