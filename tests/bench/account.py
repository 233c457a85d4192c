"""The account of a run, exact and pure: what was written and acked, what each device heard, and what it holds at last.

Due to a device is each change (a write that took an offset) of its reader's rows. The log keeps one entry a row, so
a device that is behind may hear of a change through a later one of the same row: that is `folded`. Due = delivered +
folded + lost. `repeated`: an offset twice on one device; `out of order`: a smaller offset after a greater one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from syncserver_client import Ack, Change, Row

from syncserver.core import clock
from tests.bench.fold import Judged, Placed, Story, difference, fold

Rows = Mapping[str, Row]


@dataclass(slots=True)
class Write:
    """One write of an app. `timed`: its device was live from the call to the ack, so that its delay means something."""

    device: str
    key: str
    sent_at: float
    made_at: datetime
    timed: bool
    sent: dict[str, Any] = field(default_factory=dict)
    ack: Ack | None = None
    again: Ack | None = None
    doubled: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A change as a device's app got it, at `at`; live without a break since `live_since`, None while catching up."""

    change: Change
    at: float
    live_since: float | None


@dataclass(slots=True)
class Ledger:
    """All that is known of one reader. `heard` by device; `held` at the end by device, and by "server".

    `placed`: what was written past the server, by key. `glimpsed`: rows that short-lived clients held.
    """

    reader: str
    writes: list[Write] = field(default_factory=list)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    held: dict[str, Rows] = field(default_factory=dict)
    placed: dict[str, list[Placed]] = field(default_factory=dict)
    glimpsed: list[Row] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The newest offset that an ack told of, or that was placed."""
        acked = [Judged(write.device, write.sent, write.ack).at for write in self.writes if write.ack is not None]
        return max(chain(acked, (one.at for states in self.placed.values() for one in states)), default=0)


@dataclass(slots=True)
class Report:
    """The sums over all readers, and in words each thing that is wrong."""

    writes: int = 0
    doubled: int = 0
    resent: int = 0
    unanswered: int = 0
    rejected: int = 0
    superseded: int = 0
    overtaken: int = 0
    conflicts_won: int = 0
    conflicts_lost: int = 0
    changes: int = 0
    due: int = 0
    delivered: int = 0
    folded: int = 0
    lost: int = 0
    repeated: int = 0
    out_of_order: int = 0
    verdicts: int = 0
    differing: int = 0
    delays: list[float] = field(default_factory=list)
    stamp_error_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything that must be nothing is nothing."""
        faults = self.lost + self.repeated + self.out_of_order + self.verdicts + self.differing
        return not (faults + self.unanswered + self.rejected + self.overtaken or self.wrong)

    def delay_s(self, share: float) -> float | None:
        """The delay that this share of the deliveries did not exceed."""
        if not self.delays:
            return None
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def audit(ledgers: Iterable[Ledger]) -> Report:
    """Go through the books of all readers."""
    report = Report()
    for ledger in ledgers:
        _Audit(ledger, report).run()
    return report


class _Audit:
    """One reader's books against the pure resolver's answer."""

    def __init__(self, ledger: Ledger, report: Report) -> None:
        self._ledger = ledger
        self._report = report
        self._stories: dict[str, Story] = {}
        self._makers: dict[int, Write] = {}

    def run(self) -> None:
        rows: dict[str, list[Judged]] = defaultdict(list)
        for write, judged in self._answered():
            rows[write.key].append(judged)
            if judged.accepted:
                self._makers[judged.at] = write
        placed = self._ledger.placed
        self._stories = {key: fold(rows.get(key, ()), placed.get(key, ())) for key in rows.keys() | placed.keys()}
        for key, story in self._stories.items():
            self._judge(key, story)
        self._numbered()
        for device, heard in self._ledger.heard.items():
            self._order(device, heard)
            self._cover(device, heard)
            self._delays(device, heard)
        for row in self._ledger.glimpsed:
            self._true("of a visitor", row)
        for holder, held in self._ledger.held.items():
            self._compare(holder, held)

    def _wrong(self, sentence: str) -> None:
        self._report.wrong.append(f"{self._ledger.reader}: {sentence}")

    def _answered(self) -> Iterator[tuple[Write, Judged]]:
        """The writes that the server judged; the others are faults of their own."""
        report = self._report
        for write in self._ledger.writes:
            report.writes += 1
            if write.ack is None:
                report.unanswered += 1
                self._wrong(f"{write.key}: a write of device {write.device} was never answered")
            elif write.ack.status == "rejected":
                report.rejected += 1
                self._wrong(f"{write.key}: write {write.ack.mutation_id} was rejected: {write.ack.detail}")
            else:
                judged = Judged(write.device, write.sent, write.ack)
                self._sums(write, judged)
                yield write, judged

    def _sums(self, write: Write, judged: Judged) -> None:
        report, ack = self._report, judged.ack
        stamp_error = abs((clock.read(write.sent["updated_at"]) - write.made_at).total_seconds())
        report.stamp_error_s = max(report.stamp_error_s, stamp_error)
        report.resent += ack.status == "duplicate"
        report.superseded += not judged.accepted
        if ack.row is not None and ack.row.device_id == write.device:
            report.overtaken += 1
            self._wrong(f"{write.key}: write {ack.mutation_id} was overtaken by a later one of its own device")
        report.doubled += write.doubled
        if write.doubled and not _same_answer(ack, write.again):
            report.verdicts += 1
            self._wrong(f"{write.key}: write {ack.mutation_id}, sent twice, was answered differently the second time")

    def _judge(self, key: str, story: Story) -> None:
        self._report.conflicts_won += story.won
        self._report.conflicts_lost += story.lost
        self._report.changes += len(story.states)
        self._report.verdicts += len(story.differing)
        for sentence in story.differing:
            self._wrong(f"{key}: {sentence}")

    def _numbered(self) -> None:
        """Offsets have no gap and each belongs to one write: so no change came from elsewhere, none went away."""
        offsets = sorted(offset for story in self._stories.values() for offset in story.states)
        if offsets != list(range(1, len(offsets) + 1)):
            self._report.differing += 1
            self._wrong(f"the offsets of {len(offsets)} changes are not 1 to {len(offsets)}: {_gaps(offsets)}")

    def _order(self, device: str, heard: list[Heard]) -> None:
        seen: set[int] = set()
        for one in heard:
            offset = one.change.offset
            if offset in seen:
                self._report.repeated += 1
                self._wrong(f"{one.change.key}: device {device} heard offset {offset} twice")
            elif seen and offset < max(seen):
                self._report.out_of_order += 1
                self._wrong(f"{one.change.key}: device {device} heard offset {offset} after {max(seen)}")
            seen.add(offset)
            self._true(device, _as_row(one.change))

    def _true(self, device: str, row: Row) -> None:
        """What came with an offset is the row's state at that offset."""
        story = self._stories.get(row.key, Story())
        state = story.states.get(row.offset)
        unlike = "no write made it" if state is None else difference(state, row)
        if unlike:
            self._report.differing += 1
            self._wrong(f"{row.key}: device {device} heard offset {row.offset}: {unlike}")

    def _cover(self, device: str, heard: list[Heard]) -> None:
        """Each change reached the device, by itself or through a later one of its row."""
        offsets = {one.change.offset for one in heard}
        newest: dict[str, int] = {}
        for one in heard:
            newest[one.change.key] = max(one.change.offset, newest.get(one.change.key, 0))
        for key, story in self._stories.items():
            delivered = len(offsets & story.states.keys())
            lost = [offset for offset in story.states if offset > newest.get(key, 0)]
            self._report.due += len(story.states)
            self._report.delivered += delivered
            self._report.lost += len(lost)
            self._report.folded += len(story.states) - delivered - len(lost)
            if lost:
                self._wrong(f"{key}: device {device} heard nothing after {newest.get(key, 0)}, due was {max(lost)}")

    def _delays(self, device: str, heard: list[Heard]) -> None:
        """From the call on one live device to the delivery on another that was live all the while."""
        for one in heard:
            write = self._makers.get(one.change.offset)
            if write is None or not write.timed or write.device == device:
                continue
            if one.live_since is not None and one.live_since <= write.sent_at:
                self._report.delays.append(one.at - write.sent_at)

    def _compare(self, holder: str, held: Rows) -> None:
        """What somebody holds at last is the resolver's answer, row by row, and nothing else."""
        for key in sorted(held.keys() | self._stories.keys()):
            final = self._stories[key].final if key in self._stories else None
            unlike = difference(final, held.get(key)) if final is not None else "no write made it"
            if unlike:
                self._report.differing += 1
                self._wrong(f"{key}: {holder} differs at the end: {unlike}")


def _as_row(change: Change) -> Row:
    return Row(change.resource, change.key, change.op, change.value, change.offset, change.updated_at, change.device_id)


def _same_answer(first: Ack, second: Ack | None) -> bool:
    if second is None or second.status != "duplicate":
        return False
    return (first.offset, first.row, first.conflict_id) == (second.offset, second.row, second.conflict_id)


def _gaps(offsets: list[int]) -> str:
    missing = sorted(set(range(1, max(offsets, default=0) + 1)) - set(offsets))
    return f"missing {missing[:5]}"
