"""The short form of `fuzz.py`, and that it can fail: each server that takes rubbish badly is found out."""

import json
import random
from collections.abc import Sequence

import pytest

from syncserver.core import protocol
from tests.faults import fuzz
from tests.faults.malformed_frames import Known, messages, valid
from tests.harness import Urls


@pytest.mark.long
async def test_rubbish_does_nothing_to_a_server(database: Urls):
    report = await fuzz.run(database, random.randrange(10**6), 1_500)
    assert not report.wrong, "\n".join([report.line(), *report.wrong[:20]])
    assert report.pulses


@pytest.mark.long
@pytest.mark.parametrize(
    ("mutant", "sentences"),
    [
        ("stumbling", ("a socket was closed with 1011", "answered 500", "the server logged")),
        ("hoarding", ("memory grew",)),
        ("repeating", ("an error repeats what was sent",)),
        ("denying", ("were not acknowledged",)),
    ],
)
async def test_it_finds(mutant: str, sentences: Sequence[str], database: Urls):
    report = await fuzz.run(database, random.randrange(10**6), 400, mutant=mutant)
    missed = [sentence for sentence in sentences if not any(sentence in wrong for wrong in report.wrong)]
    assert not missed, report.line()


def test_every_frame_of_the_protocol_is_broken():
    kinds = valid(random.Random(1), Known("a token"))
    assert kinds.keys() == protocol._TYPES.keys()
    for frame in kinds.values():
        protocol.parse(json.dumps(frame))


async def test_a_seed_gives_the_same_bytes_again():
    first, again = (messages(random.Random(7), Known("a token")) for _ in range(2))
    assert [next(first) for _ in range(300)] == [next(again) for _ in range(300)]
