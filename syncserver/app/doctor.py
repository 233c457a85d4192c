"""`syncserver doctor`: row by row, what is wrong with one owner's log, its rows and a client, and what to do."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from syncserver import resources
from syncserver.app import advice, held, owning
from syncserver.app.settings import Settings
from syncserver.core.actor import user_owner
from syncserver.core.values import Digest
from syncserver.storage import belonging, constraints, diagnosis, upkeep, workspaces
from syncserver.storage.database import Database
from syncserver.storage.diagnosis import Diagnosis


@dataclass(frozen=True, slots=True)
class Report:
    """All that there is to say of one owner. `remaining` is what mending left, without it all that was found.

    `mended`: rows of which a fresh change was recorded; `repaired`: rows that were themselves set right, before that.
    """

    owner: str
    found: Diagnosis
    digests: Mapping[str, Mapping[str, Digest]]
    findings: Sequence[Mapping[str, Any]]
    mended: int | None
    repaired: int | None
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
    found, own = await _diagnosis(database, owner)
    log = _live(found)
    of_client = _of_client(client, log) if client is not None else []
    digests = {name: {"log": held.digest_of(log, name)} for name in catalog}
    for name, both in digests.items() if client is not None else ():
        both["client"] = held.digest_of(client or {}, name)
    mended, repaired, remaining = None, None, own
    if mend and own:
        repaired, mended = await _mended(database, owner)
        _, remaining = await _diagnosis(database, owner)
    return Report(owner, found, digests, [*own, *of_client], mended, repaired, [*remaining, *of_client])


async def _mended(database: Database, owner: str) -> tuple[int, int]:
    """The rows first, in a transaction of their own: they are locked before the log is, as everybody does it."""
    catalog = resources.catalog()
    async with database.transaction([owner], queue=True) as connection:
        repaired = await belonging.mend(connection, catalog, owner) + await workspaces.mend(connection, catalog, owner)
    async with database.transaction([owner], queue=True) as connection:
        return repaired, await upkeep.mend(connection, catalog, owner)


async def _diagnosis(database: Database, owner: str) -> tuple[Diagnosis, list[Mapping[str, Any]]]:
    """The log, and all that is wrong with it and with the rows."""
    catalog = resources.catalog()
    async with database.transaction([owner]) as connection:
        log = await diagnosis.of(connection, catalog, owner)
        rows = await belonging.of(connection, catalog, owner) + await workspaces.of(connection, catalog, owner)
        findings = [*log.findings, *rows, *await constraints.of(connection, catalog)]
    return log, [_finding(f.fault, f.resource, f.key, f.detail) for f in findings]


def _live(found: Diagnosis) -> held.Rows:
    """What a client holds that has fetched everything."""
    return {
        (pair.resource, pair.key): (pair.entry.offset, pair.entry.updated_at)
        for pair in found.pairs
        if pair.synced and pair.entry is not None and pair.entry.op == "put"
    }


def _of_client(client: held.Rows, log: held.Rows) -> list[Mapping[str, Any]]:
    return [_finding(*difference) for difference in held.differences(client, log)]


def _finding(fault: str, resource: str | None, key: str | None, detail: str) -> Mapping[str, Any]:
    meaning, what_to_do = advice.OF[fault]
    return {
        "fault": str(fault),
        "resource": resource,
        "key": key,
        "detail": detail,
        "meaning": meaning,
        "advice": what_to_do,
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
        "repaired": report.repaired,
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
    if report.repaired:
        yield f"Repaired: {report.repaired} rows were set right, removed or made again."
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
