"""A workspace as anybody writes it with SQL, for the tests of what can be wrong in one."""

import psycopg

from tests.storage.broken import ADA

PLACE = "018f6f2e-4f0a-7c3a-9d3e-0a1b2c3d4e5f"
_STAMP = "2026-03-01 08:15Z"


def key(own: str, place: str = PLACE) -> str:
    """The key of the row with this own id."""
    return f"{place}:{own}"


def session(sql: psycopg.Connection, place: str = PLACE, owner: str = ADA) -> None:
    """An empty one."""
    sql.execute("INSERT INTO sessions (owner, id, updated_at) VALUES (%s, %s, %s)", [owner, place, _STAMP])


def node(sql: psycopg.Connection, *own: str, place: str = PLACE, owner: str = ADA) -> None:
    """Nodes with a title each."""
    for each in own:
        sql.execute(
            "INSERT INTO nodes (owner, id, session_id, title, updated_at) VALUES (%s, %s, %s, 'Ahab', %s)",
            [owner, key(each, place), place, _STAMP],
        )


def component(
    sql: psycopg.Connection, own: str, of: str = "N001", rank: str = "M", place: str = PLACE, owner: str = ADA
) -> None:
    """One of a node."""
    sql.execute(
        "INSERT INTO node_components (owner, id, session_id, node_id, rank, type, device_id, updated_at)"
        " VALUES (%s, %s, %s, %s, %s, 'text', 'phone', %s)",
        [owner, key(own, place), place, of, rank, _STAMP],
    )


def relationship(
    sql: psycopg.Connection, own: str, of: str = "N001", to: str = "N002", place: str = PLACE, owner: str = ADA
) -> None:
    """One from a node to another."""
    sql.execute(
        "INSERT INTO session_relationships (owner, id, session_id, from_node, to_node, type, updated_at)"
        " VALUES (%s, %s, %s, %s, %s, 'hunts', %s)",
        [owner, key(own, place), place, of, to, _STAMP],
    )


def workspace(sql: psycopg.Connection, place: str = PLACE, owner: str = ADA) -> None:
    """A session with N001 and N002, components c1 and c2 of the first, and r from the one to the other."""
    session(sql, place, owner)
    node(sql, "N001", "N002", place=place, owner=owner)
    component(sql, "c1", rank="M", place=place, owner=owner)
    component(sql, "c2", rank="V", place=place, owner=owner)
    relationship(sql, "r", place=place, owner=owner)
