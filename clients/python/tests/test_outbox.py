import json
from datetime import timedelta

import pytest
from syncserver_client.backoff import Backoff
from syncserver_client.errors import Closed
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.outbox import ENVELOPE_BYTES, Outbox
from syncserver_client.socket import Limits

ROOMY = Limits()


@pytest.fixture
def outbox(clock):
    return Outbox(clock, Backoff(1.0, 8.0, jitter=lambda _low, high: high))


def add(outbox, key="k", **parts):
    return outbox.add(Mutation("put", "progress", key, parts.pop("value", {}), **parts), base=3)


async def test_what_is_sent_again_is_byte_for_byte_the_same(outbox, clock):
    entry = add(outbox)
    (first,) = outbox.batch(0.0, ROOMY)
    body = first.body
    outbox.sent([entry], due=10.0)
    assert outbox.batch(5.0, ROOMY) == []
    clock.offset = timedelta(days=1)
    outbox.cut()
    (again,) = outbox.batch(5.0, ROOMY)
    assert again.body == body
    assert json.loads(body)["base"] == 3
    assert json.loads(body)["mutation_id"] == entry.mutation.mutation_id


async def test_stamps_are_corrected_at_the_first_send_and_grow(outbox, clock):
    for key in "abc":
        add(outbox, key)
    clock.offset = timedelta(days=-1)
    stamps = [json.loads(entry.body)["updated_at"] for entry in outbox.batch(0.0, ROOMY)]
    assert stamps == sorted(set(stamps))
    assert stamps[0].startswith("2025-12-31")


async def test_acks_settle_and_deferred_waits_longer_each_time(outbox):
    entry = add(outbox)
    mutation_id = entry.mutation.mutation_id
    for due in (1.0, 2.0, 4.0):
        assert outbox.answer([Ack(mutation_id, "deferred")], now=0.0) == []
        assert outbox.next_due() == due
    assert outbox.answer([Ack(mutation_id, "applied", 4), Ack("unknown", "applied")], 0.0)[0][1].offset == 4
    assert entry.answer.result().status == "applied"
    assert len(outbox) == 0
    assert outbox.next_due() is None


async def test_batches_keep_the_limits_and_the_order(outbox):
    entries = [add(outbox, str(n)) for n in range(5)]
    assert outbox.batch(0.0, Limits(mutations=2)) == entries[:2]
    size = len(entries[0].body) + 1
    assert outbox.batch(0.0, Limits(frame_bytes=ENVELOPE_BYTES + 3 * size)) == entries[:3]


async def test_a_write_that_waits_for_another_try_holds_back_those_after_it(outbox):
    first, second = add(outbox, "first"), add(outbox, "second")
    outbox.postpone(outbox.batch(0.0, Limits(mutations=1)), now=0.0)
    assert outbox.batch(0.5, ROOMY) == []
    assert outbox.next_due() == 1.0
    assert outbox.batch(1.0, ROOMY) == [first, second]


async def test_with_a_new_way_to_the_server_all_goes_out_at_once_and_in_order(outbox):
    entries = [add(outbox, str(n)) for n in range(3)]
    outbox.postpone(entries[:1], now=0.0)
    outbox.cut()
    assert outbox.batch(0.0, ROOMY) == entries


async def test_what_is_on_its_way_holds_back_what_came_after_it_until_it_is_answered(outbox):
    first, second = add(outbox, "first"), add(outbox, "second")
    outbox.sent([first], due=10.0)
    assert outbox.batch(0.0, ROOMY) == []
    assert outbox.next_due() == 10.0
    outbox.stirred.clear()
    outbox.answer([Ack(first.mutation.mutation_id, "applied")], 1.0)
    assert outbox.stirred.is_set()
    assert outbox.batch(1.0, ROOMY) == [second]


async def test_one_that_no_frame_can_hold_is_rejected(outbox):
    entry = add(outbox, value={"x": "y" * 5000})
    small = add(outbox)
    assert outbox.batch(0.0, Limits(frame_bytes=4000)) == [small]
    assert entry.answer.result().code == "too_large"


async def test_after_1009_each_of_the_frame_goes_alone_and_only_the_large_one_is_given_up(outbox):
    small, large = add(outbox), add(outbox, value={"x": "y" * 5000})
    outbox.sent(outbox.batch(0.0, ROOMY), due=9.0)
    outbox.too_large()
    outbox.cut()
    assert outbox.batch(0.0, ROOMY) == [small]
    outbox.answer([Ack(small.mutation.mutation_id, "applied")], 1.0)
    outbox.sent(outbox.batch(1.0, ROOMY), due=9.0)
    outbox.too_large()
    assert large.answer.result().code == "too_large"
    assert outbox.batch(2.0, ROOMY) == []


async def test_a_refused_body_is_tried_piece_by_piece(outbox):
    good, bad = add(outbox, "good"), add(outbox, "bad")
    outbox.refused([good, bad], "invalid", "")
    assert outbox.batch(0.0, ROOMY) == [good]
    outbox.answer([Ack(good.mutation.mutation_id, "applied")], 0.0)
    outbox.refused(outbox.batch(0.0, ROOMY), "invalid", "no")
    assert bad.answer.result().detail == "no"


async def test_failing_tells_all_writers(outbox):
    entry = add(outbox)
    outbox.fail(Closed())
    assert isinstance(entry.answer.exception(), Closed)


async def test_what_is_no_mutation_is_refused_at_once(outbox):
    entry = add(outbox)
    with pytest.raises(ValueError, match="waiting"):
        outbox.add(entry.mutation, None)
    with pytest.raises(ValueError, match="UUID"):
        add(outbox, mutation_id="1")
    with pytest.raises(TypeError):
        add(outbox, value={"x": object()})
    assert len(outbox) == 1


async def test_when_all_is_fetched_again_writes_go_by_their_stamps_and_stay_the_same_writes(outbox):
    add(outbox, "sent")
    (sent,) = outbox.batch(0.0, ROOMY)
    before = json.loads(sent.body)
    later = add(outbox, "later")
    outbox.rebase()
    assert json.loads(sent.body) == {**before, "base": None}
    outbox.cut()
    assert [json.loads(entry.body)["base"] for entry in outbox.batch(0.0, ROOMY)] == [None, None]
    assert later.base is None


async def test_whoever_listens_to_a_write_that_is_queued_hears_its_answer(outbox):
    (entry,) = outbox.add_all([(Mutation("put", "progress", "k", {}), None)], awaited=False)
    mutation_id = entry.mutation.mutation_id
    heard = outbox.listen(mutation_id)
    assert outbox.listen(mutation_id) is None, "one listener"
    outbox.answer([Ack(mutation_id, "applied", 4)], 0.0)
    assert heard.result().offset == 4
    assert outbox.listen(mutation_id) is None, "it does not wait any more"


async def test_whoever_stops_listening_leaves_the_write_in_the_queue(outbox):
    (entry,) = outbox.add_all([(Mutation("put", "progress", "k", {}), None)], awaited=False)
    outbox.listen(entry.mutation.mutation_id)
    outbox.unheard([entry.mutation.mutation_id, "gone"])
    assert outbox.batch(0.0, ROOMY) == [entry]
    assert entry.answer is None


# -- a later write stands for an earlier one -----------------------------------


def fleeting(outbox, content, **parts):
    return outbox.add(Mutation("patch", "messages", "m", {"content": content}, fleeting=True, **parts), base=3)


def sent(outbox, now=0.0):
    return [(e.mutation.key, (e.mutation.value or {}).get("content")) for e in outbox.batch(now, ROOMY)]


async def test_of_patches_that_wait_the_latest_goes_and_answers_for_all(outbox):
    entries = [fleeting(outbox, n) for n in range(3)]
    add(outbox, "other")
    assert sent(outbox) == [("m", 2), ("other", None)]
    assert len(outbox.waiting) == 4
    settled = outbox.answer([Ack(entries[2].mutation.mutation_id, "applied", 9)], 0.0)
    assert [ack.mutation_id for _, ack in settled] == [entry.mutation.mutation_id for entry in entries]
    assert [entry.answer.result().offset for entry in entries] == [9, 9, 9]
    assert sent(outbox) == [("other", None)]


async def test_what_is_refused_lets_go_what_it_stood_for_before_anything_else_of_the_row(outbox):
    first, second, third = (fleeting(outbox, n) for n in range(3))
    outbox.add(Mutation("patch", "messages", "m", {"title": "t"}), base=3)
    assert sent(outbox) == [("m", 2)]
    outbox.answer([Ack(third.mutation.mutation_id, "rejected", code="invalid")], 0.0)
    assert third.answer.result().code == "invalid"
    assert sent(outbox) == [("m", 0), ("m", 1), ("m", None)]
    assert not first.answer.done()
    assert not second.answer.done()


async def test_one_that_no_frame_can_hold_lets_go_what_it_stood_for(outbox):
    first, large = fleeting(outbox, "short"), fleeting(outbox, "y" * 5000)
    outbox.add(Mutation("patch", "messages", "m", {"title": "t"}), base=3)
    small = Limits(frame_bytes=4000)
    assert outbox.batch(0.0, small) == []
    assert large.answer.result().code == "too_large"
    assert outbox.batch(0.0, small)[0] is first


async def test_what_came_while_one_was_on_its_way_waits_for_it_without_asking_again_and_again(outbox):
    first = fleeting(outbox, 0)
    outbox.sent(outbox.batch(0.0, ROOMY), due=10.0)
    second, _ = fleeting(outbox, 1), fleeting(outbox, 2)
    assert (outbox.batch(0.0, ROOMY), outbox.next_due()) == ([], 10.0)
    outbox.answer([Ack(first.mutation.mutation_id, "applied", 4)], 0.0)
    outbox.sent(outbox.batch(0.0, ROOMY), due=20.0)
    assert outbox.next_due() == 20.0, "one that is held back is not what is due"
    assert not second.answer.done()


async def test_stamps_rise_in_the_order_of_writing_though_some_are_not_sent(outbox):
    first, second = fleeting(outbox, 0), fleeting(outbox, 1)
    outbox.batch(0.0, ROOMY)
    outbox.answer([Ack(second.mutation.mutation_id, "rejected", code="invalid")], 0.0)
    outbox.batch(0.0, ROOMY)
    stamps = [json.loads(entry.body)["updated_at"] for entry in (first, second)]
    assert stamps == sorted(set(stamps))


async def test_who_waits_for_one_that_was_never_sent_waits_no_more(outbox):
    first, second = fleeting(outbox, 0), fleeting(outbox, 1)
    outbox.batch(0.0, ROOMY)
    outbox.answer([Ack(second.mutation.mutation_id, "applied", 4)], 0.0)
    add(outbox, after=(first.mutation.mutation_id, second.mutation.mutation_id))
    (last,) = outbox.batch(0.0, ROOMY)
    assert json.loads(last.body)["after"] == [second.mutation.mutation_id]


async def test_one_that_was_never_sent_has_its_answer_when_it_is_queued_again(outbox):
    first, second = fleeting(outbox, 0), fleeting(outbox, 1)
    outbox.batch(0.0, ROOMY)
    outbox.answer([Ack(second.mutation.mutation_id, "applied", 4)], 0.0)
    ack = outbox.add(first.mutation, None).answer.result()
    assert (ack.mutation_id, ack.status, ack.offset) == (first.mutation.mutation_id, "duplicate", 4)
    assert len(outbox) == 0
