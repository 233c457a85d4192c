"""The small parts: ids, wire, clock, backoff, closing, problems, settings, tokens, model."""

import logging
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
import syncserver_client
from hypothesis import given
from hypothesis import strategies as st
from syncserver_client.backoff import Backoff
from syncserver_client.clock import Clock
from syncserver_client.closing import COME_BACK, STAY_AWAY, ending
from syncserver_client.errors import Claimed, Fatal, SocketLost, SyncError, Transient
from syncserver_client.ids import uuid7
from syncserver_client.model import Row
from syncserver_client.mutation import Ack
from syncserver_client.problems import Problems
from syncserver_client.settings import Settings
from syncserver_client.token import TokenSource
from syncserver_client.wire import decode_object, encode_strictly, format_stamp, parse_stamp

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_ids_are_uuids_of_version_seven_in_the_order_of_time():
    ids = [UUID(uuid7()) for _ in range(1000)]
    assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == 1000
    times = [i.int >> 80 for i in ids]
    assert times == sorted(times)


def test_stamps_are_utc_with_microseconds():
    assert format_stamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-01-02T03:04:05.000006Z"
    assert parse_stamp("2026-01-02T05:04:05.000006+02:00") == NOW


@given(st.datetimes(timezones=st.just(UTC)))
def test_stamps_survive_the_wire(moment):
    assert parse_stamp(format_stamp(moment)) == moment


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, ({"b": -float("inf")},)])
def test_nan_is_refused(value):
    with pytest.raises(ValueError, match="NaN"):
        encode_strictly(value)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a": NaN}'])
def test_what_is_no_json_object_is_a_failed_attempt(text):
    with pytest.raises(Transient):
        decode_object(text)


def test_a_slow_device_stamps_server_time():
    slow = Clock(lambda: NOW - timedelta(minutes=10))
    assert not slow.known
    sent = NOW - timedelta(minutes=10, seconds=1)
    slow.synchronise(sent, NOW - timedelta(minutes=10), NOW - timedelta(seconds=0.5))
    assert slow.known
    assert slow.now() == NOW


def synchronised(clock, *, off_s, there_s, back_s):
    """One question to a server that is `off_s` ahead, so long on its way there and back."""
    server = NOW + timedelta(seconds=off_s)
    clock.synchronise(NOW - timedelta(seconds=there_s), NOW + timedelta(seconds=back_s), server)


def test_an_answer_that_was_long_on_its_way_makes_nothing_worse():
    clock = Clock(lambda: NOW)
    synchronised(clock, off_s=5, there_s=0.01, back_s=0.01)
    synchronised(clock, off_s=5, there_s=0.1, back_s=3)
    assert clock.offset == timedelta(seconds=5)


def test_a_quicker_answer_makes_it_better():
    clock = Clock(lambda: NOW)
    synchronised(clock, off_s=5, there_s=0.1, back_s=3)
    synchronised(clock, off_s=5, there_s=0.01, back_s=0.01)
    assert clock.offset == timedelta(seconds=5)


def test_a_clock_that_was_set_is_believed_at_the_next_answer_however_slow():
    clock = Clock(lambda: NOW)
    synchronised(clock, off_s=5, there_s=0.01, back_s=0.01)
    synchronised(clock, off_s=3600, there_s=1, back_s=1)
    assert clock.offset == timedelta(hours=1)


@given(st.floats(-1e6, 1e6), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1))
def test_the_offset_is_never_worse_than_half_of_the_quickest_answer(off_s, ways):
    clock = Clock(lambda: NOW)
    for there_s, back_s in ways:
        synchronised(clock, off_s=off_s, there_s=there_s, back_s=back_s)
    bound = min(there_s + back_s for there_s, back_s in ways) / 2
    assert abs(clock.offset.total_seconds() - off_s) <= bound + 1e-5


@given(st.lists(st.timedeltas(min_value=timedelta(days=-2), max_value=timedelta(days=2)), min_size=2))
def test_stamps_only_grow(steps):
    clock = Clock()
    stamps = [clock.stamp(NOW + step) for step in steps]
    assert stamps == sorted(set(stamps))


def test_pauses_grow_to_the_limit_and_start_again():
    backoff = Backoff(0.2, 30.0, jitter=lambda _low, high: high)
    assert [backoff.next_s() for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert backoff.next_s(retry_after_s=2.0) == 32.0
    assert backoff.again().next_s() == 0.2
    backoff.reset()
    assert backoff.next_s() == 0.2


def test_pauses_survive_years_offline():
    backoff = Backoff(0.2, 30.0)
    assert all(0 <= backoff.next_s() <= 30.0 for _ in range(5000))


@pytest.mark.parametrize("code", [*COME_BACK, None, 1000, 1006, 1011, 1009])
def test_most_closes_ask_to_come_back(code):
    error = ending(code, retry_after_s=1.5)
    assert isinstance(error, SocketLost)
    assert error.retry_after_s == 1.5
    assert error.too_large is (code == 1009)


@pytest.mark.parametrize("code", STAY_AWAY)
def test_some_closes_ask_to_stay_away(code):
    assert isinstance(ending(code, detail="why"), Fatal)
    assert not isinstance(ending(code, detail="why"), Claimed)


@pytest.mark.parametrize("said", ["claimed", "claimed: A signed-in reader has it."])
def test_a_claimed_session_is_told_from_a_wrong_token(said):
    error = ending(4501, detail=said)
    assert isinstance(error, Claimed)
    assert error.code == "claimed"
    assert not isinstance(ending(4001, detail=said), Fatal)


def test_a_problem_is_logged_once_until_things_go_well(caplog):
    caplog.set_level(logging.INFO, "syncserver_client")
    problems = Problems()
    problems.recovered()
    for _ in range(3):
        problems.report("cut", "lost")
    problems.recovered()
    problems.recovered()
    problems.report("cut", "lost")
    assert [record.getMessage() for record in caplog.records] == ["lost (cut)", "in sync again", "lost (cut)"]


def test_settings_name_the_addresses():
    settings = Settings(url="https://sync.example/books/", device="d", device_name="n")
    assert settings.socket_url == "wss://sync.example/books/api/v1/socket"
    assert settings.http_url == "https://sync.example/books/api/v1"
    assert settings.device_frame == {"id": "d", "name": "n"}
    with pytest.raises(ValueError, match="http"):
        Settings(url="ftp://x", device="d")


async def test_tokens_come_from_texts_and_callables():
    fixed = TokenSource("t")
    assert not fixed.renewable
    assert await fixed.fresh() == await fixed.current() == "t"
    made = iter(["1", "2"])
    source = TokenSource(lambda: next(made))
    assert [await source.current(), await source.current(), await source.fresh()] == ["1", "1", "2"]

    async def later():
        return "3"

    assert await TokenSource(later).current() == "3"


async def test_a_token_callable_that_fails_is_a_failed_attempt():
    def broken():
        raise OSError("no keychain")

    with pytest.raises(Transient, match="token"):
        await TokenSource(broken).fresh()


@pytest.mark.parametrize("change", [{"op": "patch"}, {"offset": None}, {"updated_at": "yesterday"}, {"updated_at": 3}])
def test_a_row_that_is_none_is_a_failed_attempt(change):
    good = {"resource": "r", "key": "k", "op": "put", "data": {}, "offset": 1, "updated_at": "2026-01-01T00:00:00Z"}
    assert Row.from_wire(good).id == ("r", "k")
    with pytest.raises(Transient):
        Row.from_wire({**good, **change})


def test_an_ack_carries_the_winner():
    row = {"resource": "r", "key": "k", "op": "put", "data": {}, "offset": 1, "updated_at": "2026-01-01T00:00:00Z"}
    ack = Ack.from_wire({"mutation_id": "m", "status": "superseded", "row": row, "conflict_id": "c"})
    assert ack.row is not None
    assert (ack.row.offset, ack.conflict_id) == (1, "c")


def test_the_public_names_exist_and_errors_are_one_tree():
    public = {name: getattr(syncserver_client, name) for name in syncserver_client.__all__}
    for name in ("Closed", "Fatal", "Offline", "Rejected"):
        assert issubclass(public[name], SyncError)
