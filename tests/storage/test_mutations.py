"""The ledger: an answer is kept once, and found again by the owner and client that it was given to."""

from uuid import uuid4

import pytest

from syncserver.storage import mutations
from syncserver.storage.database import Contention, Database
from syncserver.storage.mutations import Answer

ADA, BEN = "user:ada", "user:ben"


def answer(owner: str = ADA, client: str = "phone", mutation: str | None = None, offset: int | None = 1) -> Answer:
    name = (owner, client, mutation or str(uuid4()))
    return Answer(
        name, offset, {"mutation_id": name[2], "status": "applied", "offset": offset, "text": "naïve \\ \" '"}
    )


async def _record(server: Database, *answers: Answer) -> None:
    async with server.transaction({a.name[0] for a in answers}) as connection:
        await mutations.record(connection, answers)


async def test_an_answer_is_found_again_as_it_was_given(server: Database):
    kept = [answer(), answer(offset=None), answer(client="tablet")]
    await _record(server, *kept)
    async with server.transaction([ADA]) as connection:
        found = await mutations.first(connection, [a.name for a in kept])
    assert found == {a.name: a.ack for a in kept}


async def test_an_unknown_mutation_has_no_answer(server: Database):
    kept = answer()
    await _record(server, kept)
    owner, client, mutation = kept.name
    async with server.transaction([ADA, BEN]) as connection:
        others = [(BEN, client, mutation), (owner, "tablet", mutation), (owner, client, str(uuid4()))]
        assert await mutations.first(connection, others) == {}
        assert await mutations.first(connection, []) == {}


async def test_the_same_mutation_of_two_clients_or_owners_has_two_answers(server: Database):
    mutation = str(uuid4())
    kept = [answer(o, c, mutation, i) for i, (o, c) in enumerate([(ADA, "phone"), (ADA, "tablet"), (BEN, "phone")])]
    await _record(server, *kept)
    async with server.transaction([ADA, BEN]) as connection:
        found = await mutations.first(connection, [a.name for a in kept])
    assert [found[a.name]["offset"] for a in kept] == [0, 1, 2]


async def test_the_answers_of_an_owner_that_is_not_named_are_not_found(server: Database):
    kept = answer(BEN)
    await _record(server, kept)
    async with server.transaction([ADA]) as connection:
        assert await mutations.first(connection, [kept.name]) == {}


async def test_a_second_answer_to_one_mutation_is_refused_and_may_be_tried_again(server: Database):
    kept = answer()
    await _record(server, kept)
    with pytest.raises(Contention):
        await _record(server, answer(), kept)
    async with server.transaction([ADA]) as connection:
        assert list(await mutations.first(connection, [kept.name])) == [kept.name]
