"""What a client holds: read from lines, and held against what the log says it should hold."""

from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncserver.app import held
from syncserver.app.held import Fault, Rows
from syncserver.core.errors import Invalid

STAMP = datetime(2026, 3, 1, 8, 15, tzinfo=UTC)
_rows = st.dictionaries(
    st.tuples(st.sampled_from(["progress", "conversations"]), st.sampled_from("abcdef")),
    st.tuples(st.integers(1, 3), st.just(STAMP)),
)


def line(key: str, offset: int, **more: str) -> str:
    members = {"resource": "progress", "key": key, "updated_at": "2026-03-01T08:15:00Z", **more}
    return f'{{"offset":{offset},' + ",".join(f'"{name}":"{value}"' for name, value in members.items()) + "}"


def read(folder: Path, *lines: str) -> Rows:
    path = folder / "held.jsonl"
    path.write_text("\n".join(lines))
    return held.read(str(path))


def test_every_line_is_a_row_and_others_of_its_members_do_not_matter(tmp_path: Path):
    assert read(tmp_path, line("a", 1), "", line("b", 2, device_id="phone", op="put"), "") == {
        ("progress", "a"): (1, STAMP),
        ("progress", "b"): (2, STAMP),
    }


def test_the_last_line_of_a_row_is_what_is_held_and_a_removed_one_is_not(tmp_path: Path):
    lines = [line("a", 1), line("b", 2), line("a", 3), line("b", 4, op="remove")]
    assert read(tmp_path, *lines) == {("progress", "a"): (3, STAMP)}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("gooseberries", "Line 2 .*JSON"),
        ('"a"', "Line 2 "),
        (line("a", 1, updated_at="yesterday"), "Line 2 .*/updated_at.*stamp"),
        ('{"resource":"progress"}', "Line 2 .*/key"),
    ],
)
def test_a_line_that_is_no_row_is_told_with_its_number(tmp_path: Path, wrong: str, sentence: str):
    with pytest.raises(Invalid, match=sentence):
        read(tmp_path, line("a", 1), wrong)


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(line("a", 1).encode())))
    assert held.read("-") == {("progress", "a"): (1, STAMP)}


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(Invalid, match="cannot be read"):
        held.read(str(tmp_path / "nothing"))


def test_each_kind_of_difference_is_told_at_its_place():
    log = {("progress", "a"): (1, STAMP), ("progress", "b"): (2, STAMP), ("progress", "c"): (3, STAMP)}
    client = {("progress", "a"): (1, STAMP), ("progress", "c"): (2, STAMP), ("progress", "d"): (4, STAMP)}
    assert [(fault, key) for fault, _, key, _ in held.differences(client, log)] == [
        (Fault.MISSING, "b"),
        (Fault.ANOTHER, "c"),
        (Fault.TOO_MANY, "d"),
    ]
    later = {**client, ("progress", "a"): (1, STAMP.replace(microsecond=1))}
    assert next(held.differences(later, log))[:3] == (Fault.ANOTHER, "progress", "a")


@given(_rows, _rows)
def test_differences_and_digests_agree(client: Rows, log: Rows):
    for resource in ("progress", "conversations"):
        different = [one for one in held.differences(client, log) if one[1] == resource]
        assert bool(different) is (held.digest_of(client, resource) != held.digest_of(log, resource))
