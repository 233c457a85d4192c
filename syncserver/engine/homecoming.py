"""A device comes home and tells what it read: each session is written through the one write door, and answered alone.

One after the other, as they were read: what is completed first is the first reading, and what goes on from a session
finds it as it was left.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from syncserver.core import spans
from syncserver.core.errors import DependencyFailed, RateLimited, SyncError, Unavailable
from syncserver.engine import decide, offline, weigh
from syncserver.engine.decide import Ack, Sender
from syncserver.engine.offline import Plan
from syncserver.engine.pull import Pull
from syncserver.engine.push import Push

Result = dict[str, Any]
_RESOURCE = "reading_sessions"
_REFUSED_LATER = DependencyFailed("The session that it goes on from was rejected.")


class Homecoming:
    """One batch of one sender. `take` each session in order; `results`, `ids` and `seconds` are the answer."""

    def __init__(self, push: Push, pull: Pull, sender: Sender) -> None:
        self.results: list[Result] = []
        self.ids: dict[str, str] = {}
        self._push = push
        self._pull = pull
        self._sender = sender
        self._read: list[spans.Span] = []
        self._refused: set[object] = set()
        self._halted: SyncError | None = None

    def seconds(self, now: datetime) -> int:
        """How long was read in all sessions that were taken, what they share once, and nothing that is to come."""
        return spans.seconds(spans.until(spans.union(self._read), now.replace(microsecond=0)))

    async def take(self, raw: Mapping[str, Any]) -> None:
        """Write one session; raises RateLimited where it is the first and nothing may be written just now."""
        names = {name: raw[name] for name in ("temp_id", "id") if isinstance(raw.get(name), str)}
        result = {name: value for name, value in names.items() if len(value) <= 128}  # noqa: PLR2004 - a name's worth
        try:
            planned = offline.plan(raw, self._sender.client_id)
            if planned.after is not None and planned.after in self._refused:
                raise _REFUSED_LATER
            result |= await self._written(planned)
        except RateLimited:
            raise
        except SyncError as error:
            result |= _refusal(decide.rejected(None, error), len(self.results))
        if result["status"] == "rejected":
            self._refused.add(names.get("temp_id"))
        self.results.append(result)

    async def _written(self, planned: Plan) -> Result:
        acks = await self._acks(planned)
        key = planned.id or next((a["id_map"][planned.temp_id] for a in acks if planned.temp_id in _ids(a)), None)
        if planned.temp_id is not None and key is not None:
            self.ids[planned.temp_id] = key
        refusal = _refused(acks)
        if refusal is not None:
            return {"id": key} | _refusal(refusal, len(self.results))
        self._read += planned.read
        return {"id": key} | await self._state(acks, key)

    async def _acks(self, planned: Plan) -> list[Ack]:
        """The answers to its mutations, up to one that the others cannot do without."""
        first = await self._pushed([planned.first])
        if "code" in first[0] or not planned.rest:
            return first
        return [*first, *await self._pushed(offline.following(planned, first[0]))]

    async def _pushed(self, mutations: Sequence[Mapping[str, Any]]) -> list[Ack]:
        """The answers; once something had to wait, nothing behind it overtakes it."""
        if self._halted is None:
            try:
                acks = await self._push.push(self._sender, mutations)
            except RateLimited as error:
                if not self._read and not self.results:
                    raise
                self._halted = error
            else:
                if any(ack.get("code") == Unavailable.code for ack in acks):
                    self._halted = Unavailable("The database does not answer; send it again.")
                return acks
        held = {"status": "deferred", "code": self._halted.code, "detail": self._halted.detail}
        return [{"mutation_id": mutation["mutation_id"], **held} for mutation in mutations]

    async def _state(self, acks: Sequence[Ack], key: str | None) -> Result:
        lost = [ack["conflict_id"] for ack in acks if ack.get("conflict_id")]
        result: Result = {"status": _status(acks), **({"conflict_id": lost[-1]} if lost else {})}
        listed = await self._pull.row(self._sender.owner, _RESOURCE, key) if key else None
        if listed is None:
            return result | ({"row": acks[0]["row"]} if "row" in acks[0] else {})
        row = weigh.present(self._sender.owner, self._pull.catalog[_RESOURCE], listed)
        completed = row.stored is not None and row.stored.fields["status"] == "completed"
        return result | {"row": row.row()} | ({"reading_id": key} if completed else {})


def _ids(ack: Ack) -> Mapping[str, str]:
    ids: Mapping[str, str] = ack.get("id_map", {})
    return ids


def _refused(acks: Sequence[Ack]) -> Ack | None:
    """The answer that makes the whole session one that was not taken; a session that was removed since has lost."""
    refused = [ack for ack in acks if "code" in ack and not ("row" in acks[0] and ack["code"] == "removed")]
    return refused[0] if refused else None


def _status(acks: Sequence[Ack]) -> str:
    taken = [ack for ack in acks if "code" not in ack]
    status: str = taken[-1]["status"]
    return status


def _refusal(ack: Ack, number: int) -> Result:
    """The refusal of the session at this place in the batch, with places in the request."""
    status = "deferred" if ack["status"] == "deferred" else "rejected"
    result = {"status": status, "code": ack["code"], "detail": ack["detail"]}
    errors = [{**place, "pointer": f"/sessions/{number}{_bare(place['pointer'])}"} for place in ack.get("errors", ())]
    return result | ({"errors": errors} if errors else {})


def _bare(pointer: str) -> str:
    """A place in a mutation as one in the session that it was made of."""
    return pointer.removeprefix("/data")
