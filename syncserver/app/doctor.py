"""`syncserver doctor`: row by row, what is wrong with one owner's log, with what a client holds, and what to do."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from syncserver import resources
from syncserver.app import held, owning
from syncserver.app.settings import Settings
from syncserver.core.actor import user_owner
from syncserver.core.values import Digest
from syncserver.storage import diagnosis, upkeep
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Diagnosis, Fault

_MEND = "`syncserver doctor --mend` records a fresh change of the row, which every device gets"
_AGAIN = (
    "if it is still so once the client has caught up, make it start without a cursor;"
    " a client that verifies is told so by the server"
)
_TRIGGERS = (
    "`ALTER TABLE .. ENABLE TRIGGER ALL`, or put the migration's back if it was dropped; then mend. A write that left"
    " its stamp as it was cannot be seen from here: if there may be such, `syncserver rotate-epoch`"
)
_ADVICE: Mapping[str, tuple[str, str]] = {
    Fault.NO_ENTRY: ("no device is ever told of this row", _MEND),
    Fault.NO_ROW: ("the row went past the triggers: devices show a row that is not there", _MEND),
    Fault.NOT_REMOVED: ("the row came past the triggers: devices were told that it is gone", _MEND),
    Fault.STAMP: ("the row was changed past the triggers: devices hold an older state of it", _MEND),
    Fault.DEVICE: ("the row was changed past the triggers: devices may hold an older state of it", _MEND),
    Fault.ABOVE_HEAD: ("devices are not told how far they are, and the next writes take the same offset", _MEND),
    Fault.OFFSET_TWICE: ("a device that holds the one may never get the other", _MEND),
    Fault.BELOW_FLOOR: ("a removal that should have been forgotten; it does no harm, and goes by itself", _MEND),
    Fault.HEAD: (
        "the owner's place in the log was set back, so offsets may have been given twice",
        "`syncserver doctor --mend` raises it; then `syncserver rotate-epoch`, if devices were connected since",
    ),
    Fault.TRIGGER: (
        "writes to this table reach no device",
        _TRIGGERS,
    ),
    held.Fault.MISSING: ("the client lacks a row", _AGAIN),
    held.Fault.TOO_MANY: ("the client shows a row that is gone", _AGAIN),
    held.Fault.ANOTHER: ("the client holds another version of the row", _AGAIN),
}
"""For each fault what it means and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that there is to say of one owner. `remaining` is what mending left, without it all that was found."""

    owner: str
    found: Diagnosis
    digests: Mapping[str, Mapping[str, Digest]]
    findings: Sequence[Mapping[str, Any]]
    mended: int | None
    remaining: Sequence[Mapping[str, Any]]


def doctor(settings: Settings, options: argparse.Namespace) -> None:
    """Say what is wrong, mend it if asked to; ends with 1 if anything is wrong in the end."""
    owner = user_owner(options.user) if options.owner is None else options.owner
    client = held.read(options.client) if options.client else None

    async def work(database: Database) -> Report:
        return await _examined(database, owner, client, mend=options.mend)

    report = owning.run(settings, work)
    print(_as_json(report) if options.json else "\n".join(_as_text(report)))
    if report.remaining:
        sys.exit(1)


async def _examined(database: Database, owner: str, client: held.Rows | None, *, mend: bool) -> Report:
    catalog = resources.catalog()
    found = await _diagnosis(database, owner)
    log = _live(found)
    own, of_client = _of_log(found), _of_client(client, log) if client is not None else []
    digests = {name: {"log": held.digest_of(log, name)} for name in catalog}
    for name, both in digests.items() if client is not None else ():
        both["client"] = held.digest_of(client or {}, name)
    mended, remaining = None, own
    if mend and own:
        async with database.transaction([owner], queue=True) as connection:
            mended = await upkeep.mend(connection, catalog, owner)
        remaining = _of_log(await _diagnosis(database, owner))
    return Report(owner, found, digests, [*own, *of_client], mended, [*remaining, *of_client])


async def _diagnosis(database: Database, owner: str) -> Diagnosis:
    async with database.transaction([owner]) as connection:
        return await diagnosis.of(connection, resources.catalog(), owner)


def _live(found: Diagnosis) -> held.Rows:
    """What a client holds that has fetched everything."""
    return {
        (pair.resource, pair.key): (pair.entry.offset, pair.entry.updated_at)
        for pair in found.pairs
        if pair.synced and pair.entry is not None and pair.entry.op == "put"
    }


def _of_log(found: Diagnosis) -> list[Mapping[str, Any]]:
    return [_finding(f.fault, f.resource, f.key, f.detail) for f in found.findings]


def _of_client(client: held.Rows, log: held.Rows) -> list[Mapping[str, Any]]:
    return [_finding(*difference) for difference in held.differences(client, log)]


def _finding(fault: str, resource: str | None, key: str | None, detail: str) -> Mapping[str, Any]:
    meaning, advice = _ADVICE[fault]
    return {
        "fault": str(fault),
        "resource": resource,
        "key": key,
        "detail": detail,
        "meaning": meaning,
        "advice": advice,
    }


def _as_json(report: Report) -> str:
    digests = {name: {whose: one.model_dump() for whose, one in both.items()} for name, both in report.digests.items()}
    shown = {
        "owner": report.owner,
        "epoch": report.found.epoch,
        "head": report.found.head,
        "floor": report.found.floor,
        "digests": digests,
        "findings": report.findings,
        "mended": report.mended,
        "remaining": report.remaining,
    }
    return orjson.dumps(shown).decode()


def _as_text(report: Report) -> Iterable[str]:
    found = report.found
    yield f"{report.owner}: epoch {found.epoch}, head {found.head}, floor {found.floor}"
    for name, both in report.digests.items():
        for whose, one in both.items():
            yield f"{name}, {whose}: {one.rows} rows, digest {one.xor}"
    yield from _listed(report.findings)
    if report.mended is not None:
        yield f"Mended: a fresh change was recorded of {report.mended} rows."
        if report.remaining:
            yield f"Still wrong: {', '.join(sorted({one['fault'] for one in report.remaining}))}."
    if not found.pairs:
        yield "This owner has no rows, and never had any that a device could know of."
    if not report.findings:
        yield "Nothing is wrong."


def _listed(findings: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Findings by fault, with what each means said once."""
    for fault, same in groupby(sorted(findings, key=lambda one: str(one["fault"])), key=lambda one: one["fault"]):
        every = list(same)
        yield f"\nBAD   {fault}: {every[0]['meaning']}"
        yield f"      What to do: {every[0]['advice']}."
        for one in every:
            place = " ".join(_printable(part) for part in (one["resource"], one["key"]) if part is not None)
            yield f"        {f'{place}: ' if place else ''}{_printable(one['detail'])}"


def _printable(text: str) -> str:
    """A key or device id may hold anything that SQL put there; a terminal would obey some of it."""
    return text if text.isprintable() else ascii(text)
