"""The list of who is here: everybody is told of the others, once for each change, in whatever order it was read."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core import frames
from syncserver.core.actor import Device as Identity
from syncserver.engine.decide import Sender
from syncserver.engine.house import Guest
from syncserver.engine.roll import Roll, in_order
from syncserver.storage.presences import Present

ADA, BEN = "user:ada", "user:ben"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _unused(*_: Any, **__: Any) -> None:
    raise AssertionError


@dataclass
class Device:
    """A connection that remembers what it was told, and may have no room."""

    owner: str = ADA
    name: str = "phone"
    room: bool = True
    told: list[list[dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sender = Sender(self.owner, Identity(self.name), "client")
        self.guest = Guest(self.owner, _unused, self._offer, sender, "reader")

    def _offer(self, frame: bytes) -> bool:
        if self.room:
            self.frame = orjson.loads(frame)
            told = frames.PresenceFrame.model_validate(self.frame)
            self.told.append([{"name": other.device_id, "state": other.state} for other in told.devices])
        return self.room


def here(roll: Roll, device: Device, state: dict[str, Any] | None = None, at: datetime = NOW) -> Present:
    present = roll.here(device.guest, state, at)
    assert present is not None
    return present


@pytest.fixture
def roll() -> Roll:
    return Roll()


def named(name: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "state": state}


def test_who_is_alone_is_told_so_once(roll: Roll):
    phone = Device()
    present = here(roll, phone)
    for _ in range(2):
        roll.tell(ADA, [present])
    assert phone.told == [[]]


def test_everybody_is_told_of_the_others_and_never_of_itself(roll: Roll):
    phone, tablet, reader = devices = [Device(name=name) for name in ("phone", "tablet", "reader")]
    present = [here(roll, d, {"of": d.name}, NOW + timedelta(seconds=n)) for n, d in enumerate(devices)]
    roll.tell(ADA, present)
    assert phone.told == [[named("tablet", {"of": "tablet"}), named("reader", {"of": "reader"})]]
    assert tablet.told == [[named("phone", {"of": "phone"}), named("reader", {"of": "reader"})]]
    assert reader.told == [[named("phone", {"of": "phone"}), named("tablet", {"of": "tablet"})]]


def test_those_of_other_processes_are_told_of_like_those_of_this_one(roll: Roll):
    phone = Device()
    elsewhere = Present(ADA, str(uuid4()), "tablet", "Ada's", "reader", '{"page": 7}', NOW, NOW)
    roll.tell(ADA, [here(roll, phone), elsewhere])
    assert phone.told == [[named("tablet", {"page": 7})]]


def test_a_device_is_told_as_the_wire_describes_it(roll: Roll):
    phone = Device()
    here(roll, phone)
    other = Present(ADA, str(uuid4()), "tablet", None, None, None, NOW, NOW + timedelta(seconds=9))
    roll.tell(ADA, [other])
    assert phone.frame == {
        "type": "presence",
        "devices": [
            {
                "connection": other.connection,
                "device_id": "tablet",
                "device_name": None,
                "app": None,
                "state": None,
                "since": "2026-03-01T12:00:00.000000Z",
                "seen_at": "2026-03-01T12:00:09.000000Z",
            }
        ],
    }


def test_a_change_of_ones_own_state_is_told_to_the_others_only(roll: Roll):
    phone, tablet = Device(), Device(name="tablet")
    first, other = here(roll, phone, {"page": 1}, NOW), here(roll, tablet)
    roll.tell(ADA, [first, other])
    later = here(roll, phone, {"page": 2}, NOW + timedelta(hours=1))
    assert later == replace(first, state='{"page":2}')
    roll.tell(ADA, [later, other])
    assert phone.told == [[named("tablet")]]
    assert tablet.told == [[named("phone", {"page": 1})], [named("phone", {"page": 2})]]


def test_having_been_seen_again_is_no_news(roll: Roll):
    phone, tablet = Device(), Device(name="tablet")
    present = [here(roll, device) for device in (phone, tablet)]
    for minute in range(3):
        roll.tell(ADA, [replace(p, seen_at=NOW + timedelta(minutes=minute)) for p in present])
    assert (phone.told, tablet.told) == ([[named("tablet")]], [[named("phone")]])


def test_who_has_no_room_is_behind_until_it_was_told(roll: Roll):
    phone = Device(room=False)
    present = here(roll, phone)
    roll.tell(ADA, [present])
    assert (roll.behind(), roll.behind()) == ({ADA}, set())
    phone.room = True
    roll.tell(ADA, [present])
    assert (phone.told, roll.behind()) == ([[]], set())


def test_nothing_stays_of_an_owner_whose_last_guest_left(roll: Roll):
    phone, tablet, other = Device(room=False), Device(room=False, name="tablet"), Device(BEN)
    for device in (phone, tablet, other):
        here(roll, device)
    roll.tell(ADA, [])
    assert [roll.left(phone.guest), ADA in roll, roll.left(tablet.guest), ADA in roll] == [True, True, True, False]
    assert roll.left(phone.guest) is False
    assert (roll.owners(), roll._behind) == ([BEN], set())
    assert [present.owner for present in roll] == [BEN]


def test_another_owners_list_reaches_nobody(roll: Roll):
    ada, ben = Device(), Device(BEN)
    present = [here(roll, device) for device in (ada, ben)]
    roll.tell(BEN, present[1:])
    assert (ada.told, ben.told) == ([], [[]])


def test_a_stream_is_never_here(roll: Roll):
    assert roll.here(Guest(ADA, _unused, lambda _frame: False), None, NOW) is None
    assert (ADA in roll, list(roll)) == (False, [])


present_ones = st.builds(
    Present,
    owner=st.just(ADA),
    connection=st.integers(0, 30).map(lambda n: str(UUID(int=n))),
    device_id=st.sampled_from(["phone", "tablet"]),
    device_name=st.none(),
    app=st.none(),
    state=st.sampled_from([None, "{}", '{"page": 7}']),
    since=st.integers(0, 3).map(lambda n: NOW + timedelta(seconds=n)),
    seen_at=st.just(NOW),
)
lists = st.lists(present_ones, unique_by=lambda p: p.connection, max_size=12)


@given(present=lists, data=st.data())
def test_the_order_in_which_it_was_read_changes_nothing(present: list[Present], data: st.DataObject):
    read = data.draw(st.permutations(present))
    assert in_order(read) == in_order(present)
    phone = Device()
    roll = Roll()
    here(roll, phone)
    roll.tell(ADA, present)
    roll.tell(ADA, read)
    assert len(phone.told) == 1


@given(turns=st.lists(lists, min_size=1, max_size=5))
def test_what_was_told_last_is_what_is_so(turns: list[list[Present]]):
    phone = Device()
    roll = Roll()
    here(roll, phone)
    for present in turns:
        roll.tell(ADA, present)
    states = {None: None, "{}": {}, '{"page": 7}': {"page": 7}}
    assert phone.told[-1] == [named(p.device_id, states[p.state]) for p in in_order(turns[-1])]
    assert len(phone.told) <= len(turns)
