"""The simulation in short: its population is the trace's, its account notices each fault, and a run is clean."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import mean, median
from typing import Any

import pytest
from syncserver_client import Ack, Change, Row

from syncserver.core import clock
from syncserver.core.resolver import Version
from tests.bench.account import Heard, Ledger, Report, Write, audit
from tests.bench.fold import EMPTY, Judged, Placed, fold
from tests.bench.launched import launched
from tests.bench.observer import Check
from tests.bench.population import DWELL_MOST_S, Book, Walk, clock_error, population
from tests.bench.simulation import Plan, Simulation

NOW = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)


# -- the population ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_readers_and_walks():
    assert population(50, 7, NOW) == population(50, 7, NOW)
    assert population(50, 7, NOW) != population(50, 8, NOW)
    reader = population(1, 7, NOW)[0]
    one, other = Walk(reader), Walk(reader)
    assert [one.session() for _ in range(20)] == [other.session() for _ in range(20)]


def test_a_reader_is_the_same_in_a_larger_population():
    assert population(3, 7, NOW) == population(30, 7, NOW)[:3]


def test_readers_have_as_many_devices_as_in_the_trace():
    counts = Counter(len(reader.devices) for reader in population(5000, 1, NOW))
    shares = [round(counts[number] / 5000, 2) for number in (1, 2, 3, 4)]
    assert all(abs(share - wanted) <= 0.02 for share, wanted in zip(shares, (0.45, 0.35, 0.15, 0.05), strict=True))


def test_clocks_are_off_by_seconds_some_by_an_hour_a_few_by_an_era():
    rng = Random(1)
    errors = [abs(clock_error(rng, NOW)) for _ in range(20_000)]
    hours = sum(timedelta(minutes=50) < error < timedelta(minutes=70) for error in errors)
    eras = sum(error > timedelta(days=9000) for error in errors)
    assert abs(hours / 20_000 - 0.02) < 0.003
    assert abs(eras / 20_000 - 0.005) < 0.0015
    assert sum(error < timedelta(seconds=10) for error in errors) == 20_000 - hours - eras


def test_pages_are_looked_at_as_long_as_in_the_trace():
    walk = Walk(population(1, 3, NOW)[0])
    dwells = [walk.dwell_s() for _ in range(20_000)]
    assert 65 < median(dwells) < 71  # e ** 4.215 is 67.7
    assert max(dwells) == DWELL_MOST_S


def test_pages_turn_as_in_the_trace():
    walk, book = Walk(population(1, 3, NOW)[0]), Book("long", 100_000)
    turns = Counter(walk.turn(book, 50_000) - 50_000 for _ in range(20_000))
    assert abs(turns[1] / 20_000 - 0.74) < 0.01
    assert abs(turns[-1] / 20_000 - 0.08) < 0.01


def test_a_turn_stays_in_the_book():
    walk, book = Walk(population(1, 3, NOW)[0]), Book("short", 2)
    assert {walk.turn(book, page) for page in (1, 2) for _ in range(200)} == {1, 2}


def test_a_session_is_16_pages_in_the_median():
    sessions = [Walk(reader).session().pages for reader in population(4000, 2, NOW)]
    assert 15 <= median(sessions) <= 17
    assert min(sessions) >= 1


def test_one_write_in_fifty_is_sent_twice():
    walk = Walk(population(1, 3, NOW)[0])
    assert 0.017 < mean(walk.doubled() for _ in range(20_000)) < 0.023


def test_the_last_page_finishes_the_book_and_a_new_beginning_sets_furthest_back():
    walk = Walk(population(1, 3, NOW)[0])
    session = walk.session()
    last = walk.step(session, session.book.pages, known=True)
    anew = walk.step(session, 1, known=True, anew=True)
    assert (last.fields["status"], last.fields["percentage"]) == ("finished", 1.0)
    assert (anew.op, anew.fields["status"], anew.fields["furthest"]) == ("put", "reading", 0.0)


def test_a_row_that_was_never_seen_is_not_patched():
    walk = Walk(population(1, 3, NOW)[0])
    assert {walk.step(walk.session(), 1, known=False).op for _ in range(100)} == {"put"}


# -- the fold ---------------------------------------------------------------------------------------------------------


def stamp(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sent(percentage: float, at_s: float, base: int | None = None, op: str = "put", **fields: Any) -> dict[str, Any]:
    return {
        "op": op,
        "data": {"percentage": percentage, **fields},
        "updated_at": clock.write(stamp(at_s)),
        "base": base,
    }


def row(offset: int, percentage: float, at_s: float, device: str, furthest: float) -> Row:
    value = {**EMPTY, "percentage": percentage, "furthest": furthest}
    return Row("progress", "book", "put", value, offset, stamp(at_s), device)


def applied(offset: int, conflict: str | None = None, status: str = "applied") -> Ack:
    return Ack("m", status, offset=offset, conflict_id=conflict)


def test_a_refused_write_is_judged_against_the_row_that_its_ack_shows():
    story = fold(
        [
            Judged("b", sent(0.1, 10), Ack("m", "superseded", row=row(1, 0.2, 20, "a", 0.2), conflict_id="c")),
            Judged("a", sent(0.2, 20), applied(1)),
            Judged("a", sent(0.3, 30, base=1), applied(2)),
        ]
    )
    assert story.differing == []
    assert (sorted(story.states), story.lost) == ([1, 2], 1)


def test_a_refused_write_that_was_further_carries_furthest_on_at_an_offset_of_its_own():
    story = fold(
        [
            Judged("a", sent(0.2, 20), applied(1)),
            Judged("b", sent(0.9, 10), Ack("m", "superseded", row=row(2, 0.2, 20, "a", 0.9), conflict_id="c")),
            Judged("c", sent(0.5, 5), Ack("m", "superseded", row=row(2, 0.2, 20, "a", 0.9), conflict_id="d")),
        ]
    )
    assert story.differing == []
    assert story.final is not None
    assert story.final.fields == {**EMPTY, "percentage": 0.2, "furthest": 0.9}
    assert (story.final.offset, story.final.device_id) == (2, "a")


def test_a_patch_keeps_the_other_fields_and_a_base_outweighs_the_clock():
    story = fold(
        [
            Judged("a", sent(0.2, 20, position="p"), applied(1)),
            Judged("b", sent(0.1, 10, base=1, op="patch"), applied(2)),
        ]
    )
    assert story.differing == []
    assert story.final is not None
    assert story.final.fields == {**EMPTY, "percentage": 0.1, "furthest": 0.2, "position": "p"}
    assert story.final.updated_at == stamp(20) + clock.TICK


def test_a_server_that_let_the_older_write_win_is_found_out():
    story = fold([Judged("a", sent(0.2, 20), applied(1)), Judged("b", sent(0.1, 10), applied(2, conflict="c"))])
    assert len(story.differing) == 1


def test_a_state_that_was_placed_by_sql_is_what_later_writes_are_judged_against():
    placed = Version({**EMPTY, "percentage": 0.5, "furthest": 0.5, "position": "psql-1"}, stamp(30), "", 2)
    story = fold(
        [
            Judged("a", sent(0.2, 20), applied(1)),
            Judged("a", sent(0.3, 40, base=2), applied(3)),
            Judged("b", sent(0.1, 10), Ack("m", "superseded", row=row(2, 0.5, 30, "", 0.5), conflict_id="c")),
        ],
        [Placed(2, placed)],
    )
    assert story.differing == []
    assert story.states[2] == placed
    assert story.final is not None
    assert story.final.fields == {**EMPTY, "percentage": 0.3, "furthest": 0.5}


def test_an_offset_that_sql_and_a_device_both_took_is_found_out():
    placed = Version({**EMPTY, "percentage": 0.5, "furthest": 0.5}, stamp(30), "", 1)
    story = fold([Judged("a", sent(0.2, 20), applied(1))], [Placed(1, placed)])
    assert len(story.differing) > 0


# -- the account ------------------------------------------------------------------------------------------------------


def heard(offset: int, percentage: float, at_s: float, *, furthest: float | None = None) -> Heard:
    state = row(offset, percentage, at_s, "a", furthest or percentage)
    return Heard(Change.of(state, NOW), at=100.0 + offset + 0.01, live_since=50.0)


def ledger() -> Ledger:
    """Device a wrote twice, b heard both, and all hold the second."""
    writes = [
        Write("a", "book", 101.0, stamp(1), timed=True, sent=sent(0.1, 1), ack=applied(1)),
        Write("a", "book", 102.0, stamp(2), timed=True, sent=sent(0.2, 2, base=1), ack=applied(2)),
    ]
    held = {"book": row(2, 0.2, 2, "a", 0.2)}
    both = [heard(1, 0.1, 1), heard(2, 0.2, 2)]
    return Ledger("ada", writes, {"a": list(both), "b": list(both)}, {"a": held, "b": held, "server": held})


def faults(report: Report) -> dict[str, int]:
    names = ("lost", "repeated", "out_of_order", "differing", "verdicts", "rejected", "unanswered")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def test_clean_books_have_no_fault():
    report = audit([ledger(), ledger()])
    assert (report.good, report.wrong) == (True, [])
    assert (report.writes, report.changes, report.due, report.delivered, report.folded) == (4, 4, 8, 8, 0)
    assert [round(delay, 6) for delay in report.delays] == [0.01] * 4


def test_a_change_that_came_within_a_later_one_is_folded_not_lost():
    books = ledger()
    del books.heard["b"][0]
    report = audit([books])
    assert report.good
    assert (report.due, report.delivered, report.folded) == (4, 3, 1)


def test_the_last_change_missing_is_lost():
    books = ledger()
    del books.heard["b"][1]
    assert faults(audit([books])) == {"lost": 1}


def test_an_offset_twice_is_repeated_and_a_smaller_one_is_out_of_order():
    books = ledger()
    books.heard["a"].append(books.heard["a"][1])
    books.heard["b"].reverse()
    assert faults(audit([books])) == {"repeated": 1, "out_of_order": 1}


def test_one_who_holds_something_else_differs():
    books = ledger()
    books.held["b"] = {"book": row(2, 0.2, 3, "a", 0.2)}
    books.held["server"] = {}
    assert faults(audit([books])) == {"differing": 2}


def test_a_change_whose_content_is_not_that_of_its_offset_differs():
    books = ledger()
    books.heard["b"][1] = heard(2, 0.7, 2)
    assert faults(audit([books])) == {"differing": 1}


def test_an_offset_that_no_write_took_differs():
    books = ledger()
    books.writes[1].ack = applied(3)
    assert "differing" in faults(audit([books]))


def placed(offset: int, percentage: float) -> Placed:
    fields = {**EMPTY, "percentage": percentage, "furthest": percentage}
    return Placed(offset, Version(fields, stamp(offset), "", offset))


def test_a_placed_change_is_due_to_every_device():
    books = ledger()
    books.placed = {"new": [placed(3, 0.4)]}
    assert books.last == 3
    assert faults(audit([books]))["lost"] == 2
    state = replace(row(3, 0.4, 3, "", 0.4), key="new", device_id=None)
    for device in ("a", "b"):
        books.heard[device].append(Heard(Change.of(state, NOW), at=110.0, live_since=None))
        books.held[device] = {**books.held[device], "new": state}
    books.held["server"] = books.held["a"]
    assert audit([books]).good


def test_what_a_visitor_held_must_have_been_the_state_of_its_offset():
    books = ledger()
    books.glimpsed = [row(1, 0.1, 1, "a", 0.1), row(2, 0.2, 2, "a", 0.2)]
    assert audit([books]).good
    books.glimpsed = [row(1, 0.2, 1, "a", 0.2)]
    assert faults(audit([books])) == {"differing": 1}


def test_a_write_without_answer_or_refused_is_a_fault():
    books = ledger()
    books.writes.append(Write("a", "new", 103.0, stamp(3), timed=True))
    books.writes.append(replace(books.writes[0], ack=Ack("m", "rejected", code="invalid")))
    assert faults(audit([books])) == {"unanswered": 1, "rejected": 1}


def test_a_write_sent_twice_gets_the_first_answer_again():
    books = ledger()
    books.writes[0].doubled = True
    books.writes[0].again = applied(1, status="duplicate")
    assert audit([books]).good
    books.writes[0].again = applied(2, status="duplicate")
    assert faults(audit([books])) == {"verdicts": 1}


def test_what_goes_wrong_on_the_wire_is_seen():
    check = Check("ada", cursor="e.c.0")
    check.take({"type": "changes", "from": "e.c.0", "to": "e.c.2", "rows": [{"offset": 2}, {"offset": 1}]})
    check.take({"type": "changes", "from": "e.c.3", "to": "e.c.4", "rows": [{"offset": 2}]})
    assert (check.out_of_order, check.gaps, check.repeated) == (1, 1, 1)


def test_in_a_soak_the_server_may_say_that_something_is_away_but_never_ask_for_a_refetch():
    check = Check("ada", forgiving=True)
    check.take({"type": "error", "code": "unavailable"})
    check.take({"type": "goodbye", "code": 1012})
    assert check.gaps == 0
    check.take({"type": "refetch", "reason": "epoch"})
    assert check.gaps == 1


# -- the run ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_short_run_against_a_real_server_is_clean():
    async with launched() as place:
        outcome = await Simulation(Plan(readers=12, seconds=4, seed=5, speed=600), place).run()

    assert (outcome.report.wrong, outcome.late, faults(outcome.report)) == ([], [], {})
    assert outcome.report.writes > 100
    assert outcome.report.delivered > 100
    assert outcome.wire_rows > 0
    assert place.stopped_s is not None
