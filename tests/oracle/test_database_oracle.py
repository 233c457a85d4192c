"""The database oracle in short: everything was in the mix, and no client ever held anything but the truth."""

import random

import psycopg

from tests.harness import Urls
from tests.oracle import acts, ground
from tests.oracle.database import Plan, lines, run
from tests.oracle.senders import OPS


async def test_clients_of_the_read_door_hold_the_truth_at_every_snapshot_whoever_writes(database: Urls):
    seed = random.randrange(10**6)
    outcome = await run(Plan(seed, commits=400, comparisons=1200), database)
    shown, tally = "\n".join(lines(outcome)), outcome.tally
    assert outcome.mismatches == [], shown
    assert (tally.commits >= 400, tally.comparisons >= 1200, outcome.at_rest > 0) == (True, True, True), shown
    assert set(tally.acts) >= {*acts.NAMES, *(f"push {op}" for op in OPS), "rollback to a savepoint", "expire"}, shown
    assert set(tally.acks) >= {"applied", "superseded", "duplicate"}, shown
    assert min(tally.rollbacks, tally.retried.total(), tally.news, tally.many_pages, tally.refused) > 0, shown


def test_a_hole_in_the_offsets_and_one_that_was_taken_twice_are_seen(database: Urls, sql: psycopg.Connection):
    ground.prepare(database.owner, "")
    for owner in ("user:ada", "user:ben", "user:cyd"):
        for key in "abc":
            sql.execute("INSERT INTO reading_progress (owner, publication_id) VALUES (%s, %s)", [owner, key])
    assert ground.gaps(database.owner) == []
    sql.execute("""DELETE FROM oracle_taken WHERE owner = 'user:ada' AND "offset" = 2""")
    sql.execute("""UPDATE oracle_taken SET "offset" = 3 WHERE owner = 'user:ben' AND "offset" = 2""")
    assert sorted(line.split(":")[1] for line in ground.gaps(database.owner)) == ["ada", "ben"]
