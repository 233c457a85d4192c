"""The soak in short: through every kind of fault nothing is lost or doubled, and nothing is left when all have gone."""

import pytest

from tests.bench.schedule import Kind
from tests.bench.simulation import Plan, Simulation
from tests.bench.soak import soaked
from tests.bench.verdict import MEASURES

SEED, SECONDS, NOTICED_S = 5, 12.0, 7.5


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_after_a_short_soak_the_account_is_exact_and_the_server_is_back_at_rest():
    async with soaked(SEED, SECONDS, noticed_s=NOTICED_S) as soak:
        outcome = await Simulation(Plan(readers=8, seconds=SECONDS, seed=SEED, speed=600), soak.place, soak).run()
        verdict = await soak.verdict()

    report = outcome.report
    assert (report.lost, report.repeated, report.out_of_order) == (0, 0, 0), report.wrong
    assert (report.differing, report.verdicts, report.unanswered) == (0, 0, 0), report.wrong
    assert (outcome.late, verdict.wrong) == ([], [])
    assert report.writes > 50
    assert all(soak.struck[kind] for kind in Kind)
    assert soak.struck["writes by SQL"]
    assert [figures.wrong for figures in verdict.figures if not figures.name.startswith("memory")] == [None] * 4
    assert [figures.name for figures in verdict.figures if figures.peak > 0] == [measure.name for measure in MEASURES]
