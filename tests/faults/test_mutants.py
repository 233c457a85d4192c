"""The proofs find a server that is wrong: each mistake of `mutants.py` is caught by the run that must catch it."""

import random
import re

import pytest

from tests.faults import exactly_once, wire
from tests.faults.storm import Plan


@pytest.mark.parametrize(
    ("mutant", "sentence"),
    [("ack-before-commit", "is not in the ledger"), ("ledger-apart", r"was applied [2-9]\d* times")],
)
async def test_exactly_once_finds(mutant: str, sentence: str):
    async with exactly_once.stage() as (postgres, server):
        report = await exactly_once.run(postgres, server, seed=random.randrange(10**6), kills=10, mutant=mutant)
    assert any(re.search(sentence, wrong) for wrong in report.wrong), report.line()


async def test_the_wire_oracle_finds_a_server_that_hears_no_doorbell():
    plan = Plan(random.randrange(10**6), clients=8, storm_s=1.0, calamities=(), mutant="deaf", patience_s=0)
    report = await wire.one(plan)
    assert any("not converged" in wrong for wrong in report.wrong), report.line()
