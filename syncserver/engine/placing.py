"""What the records of an import ask for, beside what the session holds: steps of a plan, or what is in their way.

Only rows that the records name are asked for. Whatever is written after that is met by the write itself.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from uuid import uuid4

from syncserver.core import rank, within
from syncserver.core.csv_rows import Columns
from syncserver.engine import plan
from syncserver.engine.drafts import Component, Draft
from syncserver.engine.faults import Faults
from syncserver.engine.plan import Plan, Step
from syncserver.storage import changes, graphs
from syncserver.storage.changes import Entry
from syncserver.storage.database import Database

_ENDS = ("from_node", "to_node")
_THERE = "is in the session already"


@dataclass
class Seen:
    """Ids that the files say, with the lines of the first record of each. `greatest`: the greatest number of a node."""

    nodes: dict[int, int] = field(default_factory=dict)
    relationships: dict[str, int] = field(default_factory=dict)
    components: set[str] = field(default_factory=set)
    greatest: int = 0

    def node(self, node_id: str, line: int) -> str | None:
        """One more node; what is wrong with that."""
        number = within.number(f":{node_id}")
        self.greatest = max(self.greatest, number)
        first = self.nodes.setdefault(number, line)
        return f"the same node as in line {first}" if first != line else None

    def relationship(self, relationship_id: str, line: int) -> str | None:
        """One more relationship; what is wrong with that."""
        first = self.relationships.setdefault(relationship_id, line)
        return f"the same relationship as in line {first}" if first != line else None


class Placing:
    """Lays down a plan. `replace`: rows that are there are written over. `turn` lets others have theirs.

    `unnumbered`: nodes that came without a number. `counts`: steps by resource; `new` rows, and `removed` components.
    """

    def __init__(
        self,
        database: Database,
        owner: str,
        session_id: str,
        *,
        replace: bool,
        plan: Plan,
        faults: Faults,
        seen: Seen,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._owner = owner
        self._session_id = session_id
        self._replace = replace
        self._plan = plan
        self._faults = faults
        self._seen = seen
        self._turn = turn
        self._alike: Counter[bytes] = Counter()
        self.unnumbered = 0
        self.counts: Counter[str] = Counter()

    async def nodes(self, columns: Columns, drafts: Sequence[Draft]) -> None:
        """These nodes, with their components; raises Enough, Unavailable."""
        own = [draft.own for draft in drafts if draft.own is not None]
        parts = [self._parts(draft) for draft in drafts]
        named = [name for some in parts for name, _ in some]
        entries = await self._entries([("nodes", name) for name in own] + [("node_components", n) for n in named])
        there = [name for name in own if _there(entries.get(("nodes", name)))]
        of = await self._components_of(there) if self._replace else {}
        for draft, components in zip(drafts, parts, strict=True):
            entry = entries.get(("nodes", draft.own or ""))
            if _there(entry) and not self._replace:
                self._faults.add(columns.problem(draft.record, "node_id", _THERE))
            if not draft.sound or (_there(entry) and not self._replace):
                continue
            node = draft.own or plan.yet(self.unnumbered)
            self.unnumbered += draft.own is None
            self._step(columns, draft, Step("nodes", node, "put", draft.fields, _base(entry)), entry)
            if draft.components is not None:
                self._place_components(columns, draft, node, components, entries, of.get(node, {}))
            await self._turn()

    def _place_components(
        self,
        columns: Columns,
        draft: Draft,
        node: str,
        components: Sequence[tuple[str, Component]],
        entries: Mapping[tuple[str, str], Entry],
        present: Mapping[str, int],
    ) -> None:
        """The components of a node, in order; those that it has `present` and is to have no more are removed."""
        wanted = {name for name, _ in components}
        for name, offset in present.items():
            if name not in wanted:
                self.counts["removed"] += 1
                self._plan.add(
                    (columns.kind.name, draft.record.line), Step("node_components", name, "remove", None, offset)
                )
        ranks = rank.spread(len(components))
        for number, ((name, component), place) in enumerate(zip(components, ranks, strict=True), 1):
            entry = entries.get(("node_components", name))
            reason = self._clash(component, present.get(name), entry)
            if reason:
                self._faults.add(
                    columns.problem(draft.record, "components", f"component {number}, component_id: {reason}")
                )
                continue
            data = {**component.fields, "node_id": node, "rank": place}
            self._step(columns, draft, Step("node_components", name, "put", data, _base(entry)), entry)

    def _clash(self, component: Component, present: int | None, entry: Entry | None) -> str | None:
        if _there(entry) and present is None:
            return f"{_THERE}, of another node" if self._replace else _THERE
        if component.own is None:
            return None
        if component.own in self._seen.components:
            return "there is the same one in this file already"
        self._seen.components.add(component.own)
        return None

    def _parts(self, draft: Draft) -> list[tuple[str, Component]]:
        """The components with their own ids: those that the file leaves out are made of their places."""
        return [
            (one.own or (plan.made(self._session_id, draft.own, place) if draft.own else str(uuid4())), one)
            for place, one in enumerate(draft.components or ())
        ]

    async def relationships(self, columns: Columns, drafts: Sequence[Draft]) -> None:
        """These relationships; raises Enough, Unavailable."""
        own = [draft.own or (self._occurrence(draft) if draft.sound else "") for draft in drafts]
        ends = {draft.fields[end] for draft in drafts for end in _ENDS if end in draft.fields}
        unknown = [end for end in ends if within.number(f":{end}") not in self._seen.nodes]
        entries = await self._entries([("session_relationships", n) for n in own] + [("nodes", end) for end in unknown])
        missing = {end for end in unknown if not _there(entries.get(("nodes", end)))}
        for draft, name in zip(drafts, own, strict=True):
            entry = entries.get(("session_relationships", name))
            for end in _ENDS:
                if draft.fields.get(end) in missing:
                    self._faults.add(columns.problem(draft.record, end, "there is no such node"))
            if _there(entry) and not self._replace:
                self._faults.add(columns.problem(draft.record, "relationship_id", _THERE))
            if draft.sound:
                step = Step("session_relationships", name, "put", draft.fields, _base(entry))
                self._step(columns, draft, step, entry)
            await self._turn()

    def _occurrence(self, draft: Draft) -> str:
        """The id of a relationship that comes without: made of its ends, its type, and how many are alike before it."""
        ends = [draft.fields[name] for name in ("from_node", "to_node", "type")]
        alike = blake2b(" ".join(ends).encode(), digest_size=12).digest()
        while True:
            made = plan.made(self._session_id, *ends, self._alike[alike])
            self._alike[alike] += 1
            if made not in self._seen.relationships:
                self._seen.relationships[made] = draft.record.line
                return made

    def _step(self, columns: Columns, draft: Draft, step: Step, entry: Entry | None) -> None:
        self.counts[step.resource] += 1
        self.counts["new"] += not _there(entry)
        self._plan.add((columns.kind.name, draft.record.line), step)

    # -- what the database says ----------------------------------------------

    async def _entries(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Entry]:
        """Where these stand in the log, by resource and own id."""
        if not places:
            return {}
        keys = [(self._owner, resource, f"{self._session_id}:{own}") for resource, own in places]
        async with self._database.transaction([self._owner]) as connection:
            found = await changes.entries(connection, keys)
        return {(resource, _own(key)): entry for (_, resource, key), entry in found.items()}

    async def _components_of(self, nodes: Sequence[str]) -> dict[str, dict[str, int]]:
        """Of each of these nodes the components by own id, with their offsets."""
        found: dict[str, dict[str, int]] = {}
        if nodes:
            async with self._database.transaction([self._owner]) as connection:
                keys = [f"{self._session_id}:{node}" for node in nodes]
                for node, key, offset in await graphs.components(connection, self._owner, keys):
                    found.setdefault(_own(node), {})[_own(key)] = offset
        return found


def _there(entry: Entry | None) -> bool:
    return entry is not None and entry.op == "put"


def _base(entry: Entry | None) -> int | None:
    return entry.offset if entry is not None else None


def _own(key: str) -> str:
    return key.partition(":")[2]
