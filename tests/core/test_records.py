"""CSV cut into records: what Python's own reader says, however the bytes come, and where what cannot be read stands."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.core.records import Record, Records

CELL = st.text(alphabet='ab",\r\n =é\u2028', max_size=6)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=3), min_size=1, max_size=5)


def read(text: str | bytes, size: int = 1_000, most_bytes: int = 1_000) -> list[Record]:
    """All records of a file that comes in parts of this size."""
    whole = text.encode() if isinstance(text, str) else text
    records = Records(most_bytes)
    found = [r for first in range(0, len(whole), size) for r in records.feed(whole[first : first + size])]
    return [*found, *records.end()]


def faults(found: list[Record]) -> list[tuple[int, int | None, str]]:
    return [(r.line_of(r.fault.field), r.fault.field, r.fault.reason) for r in found if r.fault]


@given(ROWS, st.integers(1, 7))
def test_what_a_writer_writes_is_read_however_it_comes(rows: list[list[str]], size: int):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    found = read(out.getvalue(), size)
    assert [list(record.fields) for record in found] == rows
    assert faults(found) == []


@given(st.text(alphabet='ab",\r\n', max_size=30))
def test_what_can_be_read_is_what_python_reads(text: str):
    found = read(text)
    if not faults(found):
        strict = csv.reader(io.StringIO(text, newline=""), strict=True)
        assert [list(record.fields) for record in found] == [row for row in strict if row]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('a,b\n1,"x\n2,3\n', (2, 1, "a quote that is never closed")),
        ('a,b"c\nd,e\n', (1, 1, "a quote in a field that does not begin with one")),
        ('a,"b"c,d\nx,y\n', (1, 1, "something after the closing quote")),
        ("a\rb\n", (1, 0, "a line break outside quotes")),
        (b'"x\ny",\xff\nz\n', (2, 1, "not UTF-8")),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_field(text: str | bytes, wrong: tuple[int, int, str]):
    assert faults(read(text)) == [wrong]


def test_after_a_stray_quote_the_next_line_is_read():
    assert [list(record.fields) for record in read('a,b"c\nd,e\n')][1] == ["d", "e"]


def test_a_byte_order_mark_is_no_part_of_the_first_field():
    assert read(b"\xef\xbb\xbfa,b\n")[0].fields == ["a", "b"]


def test_lines_are_counted_over_quoted_line_breaks_and_empty_lines():
    assert [(record.line, list(record.fields)) for record in read('\n"a\n\nb",c\n\nd,e')] == [
        (2, ["a\n\nb", "c"]),
        (6, ["d", "e"]),
    ]


@pytest.mark.parametrize("size", [3, 1_000])
def test_a_record_that_is_too_long_is_told_and_the_next_is_read(size: int):
    found = read(b"a,b\n" + b"x" * 50 + b"\nc,d\n", size, most_bytes=10)
    assert [(record.line, list(record.fields)) for record in found] == [(1, ["a", "b"]), (2, []), (3, ["c", "d"])]
    assert [reason for _, _, reason in faults(found)] == ["a record of more than 10 bytes"]


@pytest.mark.parametrize("size", [3, 1_000])
def test_a_quote_that_opens_more_than_a_record_ends_the_file_and_no_more_of_it_is_held(size: int):
    found = read(b'a,b\n"' + b"x\n" * 500, size, most_bytes=10)
    assert found[-1].last
    assert [reason for _, _, reason in faults(found)] == ["a record of more than 10 bytes; a quote is not closed"]
