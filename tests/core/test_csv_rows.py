"""Headers and cells: what they say, and what is wrong with them, by line and column."""

from typing import Any

import pytest

from syncserver.core.csv_rows import NODES, RELATIONSHIPS, Columns, Kind, kind_of
from syncserver.core.records import Record, Records


def records(text: str) -> list[Record]:
    found = Records(100_000)
    return [*found.feed(text.encode()), *found.end()]


def said(kind: Kind, text: str) -> tuple[dict[str, Any], list[tuple[int, str | None, str]]]:
    header, row = records(text)
    columns = Columns(kind, header)
    assert columns.problems == []
    values, problems = columns.values(row)
    return values, [(problem.line, problem.column, problem.reason) for problem in problems]


def test_columns_stand_in_any_order_and_an_empty_cell_is_a_default():
    text = 'components,title,metadata,node_id,content\n"[{""type"":""text""}]", x,,,\n'
    assert said(NODES, text) == ({"components": [{"type": "text"}], "title": " x", "content": ""}, [])


def test_a_relationship_has_a_weight_that_is_a_number():
    text = "type,weight,to_node,from_node,relationship_id,metadata\nhunts,-1e3,N002,N001,,\n"
    assert said(RELATIONSHIPS, text) == (
        {"type": "hunts", "weight": -1000.0, "to_node": "N002", "from_node": "N001"},
        [],
    )


@pytest.mark.parametrize(
    ("kind", "column", "cell", "reason"),
    [
        (NODES, "node_id", "N000", "not a number such as N001"),
        (NODES, "node_id", "N01", "not a number such as N001"),
        (NODES, "metadata", "{", "not JSON"),
        (NODES, "metadata", "[]", "not a JSON object"),
        (NODES, "metadata", '"{""a"": NaN}"', "not JSON"),
        (NODES, "metadata", '"' + '{""a"":' * 70 + "1" + "}" * 70 + '"', "nested deeper"),
        (NODES, "components", "{}", "not a JSON array"),
        (NODES, "components", "[1]", "component 1 is not a JSON object"),
        (NODES, "components", '"[{""rank"":1}]"', "component 1 has 'rank'"),
        (NODES, "components", '"[{""component_id"":""a b""}]"', "component 1, component_id: not 1 to 64"),
        (RELATIONSHIPS, "relationship_id", "a b", "not 1 to 64"),
        (RELATIONSHIPS, "weight", "1_0", "not a number"),
        (RELATIONSHIPS, "weight", "one", "not a number"),
        (RELATIONSHIPS, "to_node", "", "not a number such as N001"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line_and_column(kind: Kind, column: str, cell: str, reason: str):
    wanted = {"from_node": "N001", "to_node": "N001", "type": '"a\nb"', "content": '"a\nb"'}
    cells = {name: wanted.get(name, "") for name in kind.columns} | {column: cell}
    names = sorted(cells, key=lambda name: name == column)  # it stands last: behind a line break
    _, [(line, where, why)] = said(kind, ",".join(names) + "\n" + ",".join(cells[name] for name in names) + "\n")
    assert (line, where) == (3, column)
    assert reason in why


def test_a_record_with_too_few_fields_is_wrong_as_a_whole():
    assert said(NODES, "title,content\nx\n") == ({}, [(2, None, "1 fields, where the header has 2")])


@pytest.mark.parametrize(
    ("kind", "header", "column"),
    [(NODES, "title,colour", "colour"), (NODES, "title,title", "title"), (RELATIONSHIPS, "from_node,type", "to_node")],
)
def test_a_wrong_header_is_told(kind: Kind, header: str, column: str):
    [problem] = Columns(kind, records(header)[0]).problems
    assert (problem.line, problem.column) == (1, column)


@pytest.mark.parametrize(("header", "kind"), [("title", NODES), ("type,from_node", RELATIONSHIPS)])
def test_the_header_tells_the_kind_of_a_file(header: str, kind: Kind):
    assert kind_of(records(header)[0]) is kind
