"""The oracle sees what it is there to see: each fault that is put in is found within seconds."""

import pytest

from tests.harness import Urls
from tests.oracle import mutants
from tests.oracle.database import Plan, lines, run

COMMITS, COMPARISONS = 4000, 12_000  # at most; a fault ends the run


@pytest.mark.parametrize("seed", [1, 2])
async def test_tombstones_that_go_without_the_floor_rising_are_noticed(database: Urls, seed: int):
    outcome = await run(Plan(seed, COMMITS, COMPARISONS, alter=mutants.FLOOR_STAYS), database)
    assert outcome.mismatches, lines(outcome)
    assert "true: no such row" in outcome.mismatches[0]


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_move_to_another_owner_that_leaves_no_removal_is_noticed(database: Urls, seed: int):
    outcome = await run(Plan(seed, COMMITS, COMPARISONS, alter=mutants.MOVE_LEAVES_NOTHING), database)
    assert outcome.mismatches, lines(outcome)
    assert "true: no such row" in outcome.mismatches[0] or "a put with None" in outcome.mismatches[0]


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_head_and_entries_from_two_snapshots_are_noticed(database: Urls, seed: int):
    with mutants.two_snapshots(database.owner) as read:
        outcome = await run(Plan(seed, COMMITS, COMPARISONS, read=read), database)
    assert outcome.mismatches, lines(outcome)
    assert "the head is" in outcome.mismatches[0]
