"""The sequence of a node's components over REST: put in, moved, replaced, removed, and by two devices at once."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import devices
from tests.anonymous import Visitor
from tests.api.problems import pointers, problem
from tests.api.workspaces import Workspace
from tests.devices import Device
from tests.harness import Live

Raw = dict[str, Any]
HOME = "/nodes/N001/components"


async def tag(mine: Workspace) -> dict[str, str]:
    """The sequence as it is now, to be sent along."""
    return {"If-Match": (await mine.ask("GET", HOME)).headers["etag"]}


async def replaced(mine: Workspace, *components: Raw, **headers: str) -> httpx.Response:
    return await mine.ask("PUT", HOME, {"components": list(components)}, headers=headers)


def named(*names: str) -> list[Raw]:
    return [{"component_id": name} for name in names]


@pytest.mark.parametrize(
    ("spot", "wanted"),
    [
        ({}, "abcx"),
        ({"position": 0}, "xabc"),
        ({"position": 2}, "abxc"),
        ({"position": 99}, "abcx"),
        ({"before": "a"}, "xabc"),
        ({"after": "a"}, "axbc"),
        ({"after": "c"}, "abcx"),
    ],
)
async def test_a_component_is_put_in_or_moved_to_where_it_is_said_to_be(mine: Workspace, spot: Raw, wanted: str):
    await mine.lay("a", "b", "c")
    answer = await mine.ask("POST", HOME, {"component_id": "x", "type": "image", **spot})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1{mine.path}{HOME}/x")
    assert answer.headers["etag"] == f'"{answer.json()["offset"]}"'
    assert "".join(await mine.sequence()) == wanted
    await mine.lay("d", "e", "y", node="N002")
    before = {row["component_id"]: row for row in (await mine.read("/nodes/N002/components"))["items"]}
    other = {name: {"a": "d", "c": "e"}.get(at, at) for name, at in spot.items()}
    for way in ("POST", "PATCH"):
        path = "/nodes/N002/components/y"
        answer = await mine.ask(way, path + ("/move" if way == "POST" else ""), other)
        assert answer.status_code == 200, answer.text
    after = {row["component_id"]: row for row in (await mine.read("/nodes/N002/components"))["items"]}
    assert [after[name] for name in "de"] == [before[name] for name in "de"], "the others were not touched"


async def test_put_in_or_moved_again_it_is_the_first_answer(mine: Workspace):
    await mine.lay("a", "b", "c")
    for path, body in ((HOME, {"type": "image", "position": 0}), (f"{HOME}/c/move", {"position": 0})):
        whole = {**body, "mutation_id": str(uuid4())}
        first = await mine.ask("POST", path, whole)
        order = await mine.sequence()
        again = await mine.ask("POST", path, whole)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["sync-status"] == "duplicate"
        assert await mine.sequence() == order


async def test_the_sequence_is_read_in_pages_both_ways(mine: Workspace):
    await mine.lay(*"badce")
    whole = await mine.read(HOME)
    assert [row["component_id"] for row in whole["items"]] == list("badce")
    first = await mine.read(HOME, limit=2)
    second = await mine.read(HOME, limit=2, after=first["next"])
    assert second["items"] == whole["items"][2:4]
    assert (await mine.read(HOME, limit=2, before=second["previous"]))["items"] == first["items"]
    assert (await mine.read(HOME, limit=2, after=second["next"]))["next"] is None


async def test_one_is_patched_moved_and_removed(mine: Workspace):
    await mine.lay("a", "b", "c")
    body = {"config": {"x": 1}, "before": "a", "rank": "zz", "device_id": "phone"}
    row = (await mine.ask("PATCH", f"{HOME}/c", body)).json()
    assert (row["config"], row["type"], row["device_id"]) == ({"x": 1}, "text", "phone")
    assert await mine.read(f"{HOME}/c") == row
    assert await mine.sequence() == ["c", "a", "b"]
    assert (await mine.ask("DELETE", f"{HOME}/a")).status_code == 204
    assert await mine.sequence() == ["c", "b"]
    problem(await mine.ask("PATCH", f"{HOME}/a", {"type": "x"}), 404, "not_found")


async def test_a_component_of_another_node_is_not_found(mine: Workspace):
    await mine.lay("a")
    await mine.lay("b", node="N002")
    for method, path, body in (
        ("GET", f"{HOME}/b", None),
        ("PATCH", f"{HOME}/b", {"type": "x"}),
        ("POST", f"{HOME}/b/move", {"position": 0}),
        ("DELETE", f"{HOME}/b", None),
    ):
        problem(await mine.ask(method, path, body), 404, "not_found")
    places = pointers(problem(await replaced(mine, *named("a"), {"component_id": "b", "type": "x"}), 422, "invalid"))
    assert places == ["/components/1/node_id"]
    assert await mine.sequence("N002") == ["b"]


@pytest.mark.parametrize(
    ("spot", "place"),
    [
        ({"position": -1}, "/position"),
        ({"position": "first"}, "/position"),
        ({"before": "nobody"}, "/before"),
        ({"after": "a b"}, "/after"),
        ({"before": "a", "position": 1}, ""),
    ],
)
async def test_a_place_that_cannot_be_is_told_and_nothing_moves(mine: Workspace, spot: Raw, place: str):
    await mine.lay("a", "b")
    for method, path, body in (
        ("POST", HOME, {"type": "text", **spot}),
        ("POST", f"{HOME}/b/move", spot),
        ("PATCH", f"{HOME}/b", {"type": "image", **spot}),
    ):
        assert pointers(problem(await mine.ask(method, path, body), 422, "invalid")) == [place]
    assert [row["type"] for row in (await mine.read(HOME))["items"]] == ["text", "text"]


# -- replaced ----------------------------------------------------------------


async def test_the_whole_sequence_is_replaced_and_what_is_the_same_is_not_written(mine: Workspace):
    await mine.lay("a", "b", "c", "d")
    before = {row["component_id"]: row for row in (await mine.read(HOME))["items"]}
    wanted = [*named("c", "a"), {"component_id": "b", "config": {"x": 1}}, {"type": "image"}]
    answer = await replaced(mine, *wanted, **await tag(mine))
    rows = answer.json()["items"]
    assert [row["component_id"] for row in rows][:3] == ["c", "a", "b"]
    assert rows[1] == before["a"]
    assert rows[2]["rank"] == before["b"]["rank"]
    assert (rows[2]["config"], rows[2]["type"], rows[3]["type"]) == ({"x": 1}, "text", "image")
    problem(await mine.ask("GET", f"{HOME}/d"), 404, "not_found")
    assert answer.headers["etag"] == (await mine.ask("GET", HOME)).headers["etag"]
    again = await replaced(mine, *rows)
    assert again.json()["items"] == rows, "what was read can be sent back, and changes nothing"
    assert (await replaced(mine)).json()["items"] == []


async def test_a_replacement_by_who_has_not_seen_the_last_change_is_refused(mine: Workspace):
    changes: tuple[tuple[str, str, Any], ...] = (
        ("POST", HOME, {"component_id": "new", "type": "text"}),
        ("POST", f"{HOME}/a/move", {}),
        ("PATCH", f"{HOME}/b", {"type": "image"}),
        ("DELETE", f"{HOME}/new", None),
        ("DELETE", f"{HOME}/a", None),
    )
    await mine.lay("a", "b", "c")
    for method, path, body in changes:
        seen = await tag(mine)
        assert (await mine.ask(method, path, body)).status_code < 300
        order = await mine.sequence()
        told = problem(await replaced(mine, *named("c"), **seen), 409, "superseded")
        assert told["differs"] == ["components"]
        assert await mine.sequence() == order
    assert (await replaced(mine, *named("c"), **await tag(mine))).status_code == 200


async def test_a_replacement_that_is_sent_again_is_the_first_one(mine: Workspace):
    await mine.lay("a", "b")
    body = {"components": named("b", "a"), "mutation_id": str(uuid4())}
    seen = await tag(mine)
    first, again = [await mine.ask("PUT", HOME, body, headers=seen) for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.headers["sync-status"], again.json()) == ("duplicate", first.json())


@pytest.mark.parametrize(
    ("components", "place"),
    [
        ([{"component_id": "a"}, {"component_id": "new"}], "/components/1/type"),
        ([{"component_id": "a"}, {"component_id": "a"}], "/components/1/component_id"),
        ([{"component_id": "a", "type": ""}], "/components/0/type"),
        (None, "/components"),
    ],
)
async def test_of_a_wrong_replacement_nothing_is_kept(mine: Workspace, components: Any, place: str):
    await mine.lay("b", "a")
    answer = await mine.ask("PUT", HOME, {"components": components})
    assert pointers(problem(answer, 422, "invalid")) == [place]
    assert await mine.sequence() == ["b", "a"]


async def test_more_components_than_one_request_may_have_are_refused(mine: Workspace):
    await mine.lay("a")
    most = [{"type": "text"}] * 501
    problem(await replaced(mine, *most), 413, "too_large")
    assert await mine.sequence() == ["a"]


# -- at once -----------------------------------------------------------------


async def order_heard(device: Device, count: int) -> list[str]:
    """The sequence as a device has it that was told of so many writes of components."""
    rows: dict[str, Raw] = {}
    heard = 0
    while heard < count:
        frame = await device.hear()
        if frame["type"] != "changes":
            continue
        for row in frame["rows"]:
            if row["resource"] == "node_components":
                heard = max(heard, row["offset"])
                rows.pop(row["key"], None)
                if row["data"] is not None:
                    rows[row["key"]] = row["data"]
    return [row["component_id"] for row in sorted(rows.values(), key=lambda row: (row["rank"], row["id"]))]


async def test_two_devices_that_reorder_at_once_hear_the_same_sequence(mine: Workspace, visitor: Visitor, live: Live):
    await mine.lay(*"abcdefgh")

    async def moves(device_id: str, names: str) -> None:
        for place, name in enumerate(names):
            body = {"position": place * 3, "device_id": device_id}
            answer = await mine.ask("POST", f"{HOME}/{name}/move", body)
            assert answer.status_code == 200, answer.text
        await mine.made(HOME, component_id=f"of-{device_id}", type="text", position=1, device_id=device_id)

    async with (
        devices.device(live.socket_url, visitor.token, "phone") as phone,
        devices.device(live.socket_url, visitor.token, "tablet") as tablet,
    ):
        for device in (phone, tablet):
            await device.say("subscribe", resources=["node_components"], cursor=None)
        await asyncio.gather(moves("phone", "hgab"), moves("tablet", "habc"))
        wanted = await mine.sequence()
        last = max(row["offset"] for row in (await mine.read(HOME, limit=500))["items"])
        heard = await asyncio.gather(order_heard(phone, last), order_heard(tablet, last))
    assert list(heard) == [wanted, wanted]
    assert sorted(wanted) == sorted([*"abcdefgh", "of-phone", "of-tablet"])
