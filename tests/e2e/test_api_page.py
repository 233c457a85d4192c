"""The page of the interface, run as it stands: every command, in order, with a real shell and curl on a real server."""

import json
from pathlib import Path

import httpx
import pytest

from syncserver import resources
from tests import shell
from tests.harness import Program

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()
READING = ("/api/v1/reading-sessions", "/api/v1/session-events", "/api/v1/readings")
"""docs/reading.md"""

CONVERSATIONS = ("/api/v1/conversations", "/api/v1/messages")
"""docs/conversations.md"""

WORKSPACE = ("/api/v1/nodes", "/api/v1/node-components", "/api/v1/session-relationships")
"""docs/workspace.md"""

_ELSEWHERE = (
    "/api/v1/sessions",  # docs/sessions.md, docs/workspace.md
    "/api/v1/stats",  # docs/statistics.md
    *READING,
    *CONVERSATIONS,
    *(f"/api/v1/{resource.path}" for name, resource in resources.catalog().items() if name != "progress"),
)
"""Pages of their own have these, and tests of their own; progress stands for what all resources have."""

_FOR_BROWSERS = {("GET", "/api/docs"), ("GET", "/api/docs/{file}"), ("GET", "/api/asyncapi")}
_LOST = ("PUT", "/api/v1/progress/emma", 409)
"""The one request of the page that is meant to be refused."""


def every_operation(url: str) -> set[tuple[str, str]]:
    """Method and path of every operation that the server has."""
    paths = httpx.get(f"{url}/api/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


def operations(url: str) -> set[tuple[str, str]]:
    """Every operation that has to have an example here."""
    return {(method, path) for method, path in every_operation(url) - _FOR_BROWSERS if not path.startswith(_ELSEWHERE)}


@pytest.mark.timeout(240)
def test_the_page_s_commands_do_what_it_says_and_leave_no_route_out(program: Program, tmp_path: Path):
    program.start()
    ran = shell.run(PAGE, program, tmp_path)
    assert list(ran.said) == list(shell.blocks(PAGE))
    assert [asked for asked in ran.asked if asked.status >= 400] == [shell.Asked(*_LOST)]
    every = operations(program.url)
    assert len(every) > 15
    assert shell.left_out(ran.asked, every) == set()
    _prints_what_it_tells(ran.said, tmp_path)


def _prints_what_it_tells(said: dict[str, str], folder: Path) -> None:
    assert json.loads((folder / "openapi.json").read_text())["openapi"].startswith("3.1")
    assert json.loads((folder / "asyncapi.json").read_text())["asyncapi"] == "3.0.0"
    assert '"percentage" : 0.5' in said["progress"]
    assert said["poll"].count("HTTP/1.1 204") == 2
    assert "event: ready" in said["stream"]
    assert "event: ready" in said["ticket"]
    assert '"outcome":"same"' in said["verify"]
    assert said["push"].count('"status":"applied"') == 2
    assert '"code":"superseded"' in said["conflicts"]
    assert '"percentage" : 0.3' in said["conflicts"]
    assert '"lag_s":' in said["health"]
    assert "HTTP/1.1 204" in said["sign-out"]
