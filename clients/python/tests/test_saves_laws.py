"""Laws of saving: whatever changes come in whatever rhythm, and however long the answers take.

1. In the end the server has what the app said last, field by field, and another device's members where it said nothing.
2. Each change is queued at the latest 10 s after it was made; where no earlier save is without an answer, 1 s after the
   last change, or as soon as that answer comes.
3. Two saves are at least 1 s apart, and 10 s where the first has no answer yet. Each says something, and there are not
   more of them than changes.
"""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from syncserver_client.debounce import Debounce
from syncserver_client.difference import without_nulls
from syncserver_client.mutation import Ack
from syncserver_client.overlay import merged
from syncserver_client.saves import Saves, Saving
from syncserver_client.wire import canonical

QUIET_S, MOST_S = 1.0, 10.0


class Life:
    """An app, its saver, a network that takes its time, and the server, on one clock."""

    def __init__(self):
        self.now = 0.0
        self.saves = Saves({}, Debounce(QUIET_S, MOST_S))
        self.server = {}
        self.said = {}
        self.theirs = {}
        self.under_way = deque()
        self.unsaved = []
        self.changes = self.count = 0
        self.saved_at = self.answered_at = float("-inf")

    def change(self, fields):
        if canonical(filled({**self.said, **fields})) != canonical(filled(self.said)):
            self.unsaved.append(self.now)
            self.changes += 1
        self.said = {**self.said, **fields}
        self.saves.change(fields, self.now)

    def wait(self, seconds):
        until = self.now + seconds
        while (due := self.saves.due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.take()
        self.now = until
        assert not self.unsaved or self.now - self.unsaved[0] <= MOST_S

    def take(self):
        first, last = self.unsaved[0], self.unsaved[-1]
        if self.under_way:
            assert self.now == first + MOST_S
        else:
            assert self.now == max(min(last + QUIET_S, first + MOST_S), self.answered_at)
        self.unsaved.clear()
        patch = self.saves.take()
        if patch is None:
            return
        assert patch
        assert self.now - self.saved_at >= (MOST_S if self.under_way else QUIET_S)
        self.saved_at = self.now
        self.count += 1
        self.saves.queued(str(self.count), patch)
        self.under_way.append((str(self.count), patch))

    def answer(self):
        if self.under_way:
            name, patch = self.under_way.popleft()
            self.server = merged(self.server, patch)
            self.answered_at = self.now
            self.saves.answered(Ack(name, "applied", self.count))
            self.wait(0)

    def foreign(self, value):
        """Another device's write, to a member of its own, accepted before ours."""
        if isinstance(self.server.get("state"), dict):
            self.server = merged(self.server, {"state": {"theirs": value}})

    def settle(self):
        while self.saves.due() is not None or self.under_way:
            self.wait(MOST_S)
            self.answer()


names = st.sampled_from("abc")
leaves = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from(["", "x"]), st.lists(st.none(), max_size=1))
objects = st.recursive(
    st.dictionaries(names, leaves, max_size=3), lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6
)
locators = st.builds(
    lambda href, more: {"href": href, "type": "t", **more},
    st.sampled_from(["1", "2"]),
    st.dictionaries(st.sampled_from(["title", "x"]), st.one_of(st.none(), st.sampled_from("ab")), max_size=2),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "locator": st.one_of(st.none(), locators),
        "percentage": st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0])),
        "active_seconds": st.integers(0, 5),
        "state": st.one_of(st.none(), objects, leaves),
    },
)
waits = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 5.0, 10.0, 30.0])
changing = st.tuples(st.just("change"), fields)
actions = st.one_of(changing, changing, st.tuples(st.just("wait"), waits), st.just(("answer",)))


def filled(whole):
    return {
        name: without_nulls(value) if name == "locator" else value for name, value in whole.items() if value is not None
    }


@settings(max_examples=500, deadline=None)
@given(st.lists(actions, max_size=40))
def test_whatever_changes_in_whatever_rhythm_the_server_ends_with_what_was_said_last(story):
    life = Life()
    for name, *values in story:
        getattr(life, name)(*values)
    life.settle()
    assert canonical(filled(life.server)) == canonical(filled(life.said))
    assert life.saves.state(up=True).status is Saving.SAVED
    assert life.count <= life.changes


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(actions, st.tuples(st.just("foreign"), st.integers(0, 3))), max_size=40))
def test_another_devices_members_stay_where_the_app_does_not_say_otherwise(story):
    life, theirs = Life(), None
    for name, *values in [("change", {"state": {"a": 0}}), ("wait", 1.0), ("answer",), *story]:
        if name == "change" and not isinstance(values[0].get("state", {}), dict):
            continue  # what is no object has no members
        getattr(life, name)(*values)
        theirs = values[0] if name == "foreign" and "state" in life.server else theirs
    life.settle()
    state = dict(life.server["state"])
    assert state.pop("theirs", None) == theirs
    assert canonical(state) == canonical(life.said["state"])


@given(st.lists(st.tuples(waits, st.booleans()), min_size=1, max_size=60))
def test_a_long_burst_costs_no_more_than_a_save_a_second_and_at_least_one_in_ten(rhythm):
    life = Life()
    for turn, (pause, answered) in enumerate(rhythm):
        life.change({"percentage": turn / 100})
        life.wait(pause)
        if answered:
            life.answer()
    life.settle()
    assert life.count <= 1 + life.saved_at / QUIET_S
    assert life.server["percentage"] == (len(rhythm) - 1) / 100
