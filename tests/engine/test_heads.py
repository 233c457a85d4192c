"""Ends of logs kept in memory: whatever rings, runs out or is cut, none is older than the last doorbell before it."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.change import Page
from syncserver.core.cursor import Cursor
from syncserver.engine.heads import Heads

ADA, BEN = "user:ada", "user:ben"


def at(offset: int, owner: str = ADA, epoch: str = "e") -> str:
    return str(Cursor.at(epoch, owner, offset))


def read(offset: int, owner: str = ADA, floor: int = 0) -> Page:
    """A page as reading finds it, of a log that ends there."""
    return Page(owner, "e", 0, 1, floor, offset, (), more=True)


@dataclass
class World:
    """The clock and the ear that the test moves."""

    listening: bool = True
    now: float = 0.0

    def heads(self, **bounds: Any) -> Heads:
        return Heads(lambda: self.listening, lambda: self.now, **bounds)


@pytest.fixture
def world() -> World:
    return World()


def found(heads: Heads, page: Page) -> None:
    with heads.reading(page.owner) as keep:
        keep(page)


def test_who_is_at_the_end_of_the_log_is_told_so_and_nobody_else(world: World):
    heads = world.heads()
    assert heads.after(ADA, at(3)) is None
    found(heads, read(3, floor=2))
    page = heads.after(ADA, at(3))
    assert page == Page(ADA, "e", 3, 3, 2, 3, (), more=False, began=2)
    assert str(page.cursor_until) == at(3)
    for other in (at(2), at(4), at(3, BEN), at(3, epoch="f"), "", f"{at(3)}.1"):
        assert heads.after(ADA, other) is None
    assert heads.after(BEN, at(3, BEN)) is None


def test_the_end_of_a_log_that_never_began_is_known_too(world: World):
    heads = world.heads()
    found(heads, read(0))
    assert heads.after(ADA, at(0)) is not None


def test_after_its_doorbell_nothing_is_known_of_an_owner_and_the_others_stay(world: World):
    heads = world.heads()
    found(heads, read(3))
    found(heads, read(5, BEN))
    heads.drop(ADA)
    assert heads.after(ADA, at(3)) is None
    assert heads.after(BEN, at(5, BEN)) is not None
    heads.drop_all()
    assert len(heads) == 0


@pytest.mark.parametrize("rings", [lambda heads: heads.drop(ADA), Heads.drop_all], ids=["its own", "all"])
def test_what_was_being_read_when_the_doorbell_rang_is_not_kept(world: World, rings: Any):
    heads = world.heads()
    with heads.reading(ADA) as keep:
        rings(heads)
        keep(read(3))
    assert heads.after(ADA, at(3)) is None


def test_of_two_who_read_the_later_one_counts(world: World):
    heads = world.heads()
    with heads.reading(ADA) as first, heads.reading(ADA) as second:
        second(read(4))
        first(read(3))
    assert heads.after(ADA, at(4)) is not None
    assert heads.after(ADA, at(3)) is None


def test_while_nobody_listens_nothing_is_kept_and_nothing_kept_is_used(world: World):
    heads = world.heads()
    found(heads, read(3))
    world.listening = False
    assert heads.after(ADA, at(3)) is None
    found(heads, read(5, BEN))
    world.listening = True
    assert heads.after(BEN, at(5, BEN)) is None


def test_what_was_read_is_as_old_as_the_beginning_of_its_read_and_never_older_than_it_may_be(world: World):
    heads = world.heads(fresh_s=60)
    with heads.reading(ADA) as keep:
        world.now = 30
        keep(read(3))
    world.now = 59.9
    assert heads.after(ADA, at(3)) is not None
    world.now = 60
    assert heads.after(ADA, at(3)) is None


def test_no_more_are_kept_than_it_says_and_the_last_ones_read_stay(world: World):
    heads = world.heads(most=3)
    owners = [f"user:{number}" for number in range(5)]
    for owner in [*owners, owners[2]]:
        found(heads, read(1, owner))
    assert [owner for owner in owners if heads.after(owner, at(1, owner))] == [owners[2], owners[3], owners[4]]


def test_a_read_that_fails_leaves_nothing(world: World):
    heads = world.heads()
    with pytest.raises(RuntimeError), heads.reading(ADA):
        raise RuntimeError
    assert (heads._read, len(heads)) == ({}, 0)


@given(st.lists(st.sampled_from(["write", "ring", "begin", "find", "poll", "cut", "back"]), max_size=40))
def test_no_poll_misses_what_rang_before_it(acts: list[str]):
    """In any order: what a poll is told is no older than the last doorbell that was heard, or could not be."""
    ears = World()
    heads = ears.heads()
    head, heard, under_way = 0, 0, list[Any]()
    with ExitStack() as reads:
        for act in acts:
            match act:
                case "write":
                    head += 1
                case "ring" if ears.listening:
                    heard = head
                    heads.drop(ADA)
                case "begin":
                    under_way.append((reads.enter_context(heads.reading(ADA)), head))
                case "find" if under_way:
                    keep, seen = under_way.pop(0)
                    keep(read(seen))
                case "cut":
                    ears.listening = False
                case "back" if not ears.listening:
                    ears.listening, heard = True, head
                    heads.drop_all()
                case "poll":
                    told = [offset for offset in range(head + 1) if heads.after(ADA, at(offset))]
                    assert all(offset >= (heard if ears.listening else head + 1) for offset in told)
                case _:
                    pass
