from hypothesis import given
from hypothesis import strategies as st

from syncserver.hub.writer import Writer


def test_frames_come_out_in_the_order_they_went_in():
    writer = Writer()
    assert all(writer.offer(frame) for frame in (b"1", b"2", b"3"))
    assert [writer.take() for _ in range(2)] == [[b"1", b"2", b"3"], []]


def test_a_full_writer_refuses_and_takes_again_when_it_drained():
    writer = Writer(limit_bytes=4)
    assert writer.offer(b"123")
    assert writer.offer(b"4")
    assert not writer.offer(b"5")
    writer.take()
    assert writer.offer(b"567")
    assert not writer.offer(b"89")


def test_an_empty_writer_takes_a_frame_of_any_size():
    writer = Writer(limit_bytes=4)
    assert writer.offer(b"123456789")
    assert not writer.offer(b"1")
    assert writer.take() == [b"123456789"]
    assert writer.offer(b"1")


@given(st.lists(st.none() | st.binary(max_size=8)))
def test_what_was_taken_on_comes_out_once_and_never_more_waits_than_fits(steps: list[bytes | None]):
    writer, held = Writer(limit_bytes=10), list[bytes]()
    for step in steps:
        if step is None:
            assert writer.take() == held
            held.clear()
        elif writer.offer(step):
            held.append(step)
            assert len(held) == 1 or sum(map(len, held)) <= 10
        else:
            assert held
    assert writer.take() == held
