"""Schemathesis asks a real server all that its OpenAPI document allows, and much that it does not.

Every answer has to be one that the document names, by status, type, shape and headers, and none may be a fault.
The short form asks each operation by its examples and two questions more, and a few telling ones all over; to the long
one (SYNCSERVER_PROVE) it leaves that for the others, hundreds of questions each, and operations in a row.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.harness import UNLIMITED, Live, Serving

ROOT = Path(__file__).parents[2]
_PROVE = os.environ.get("SYNCSERVER_PROVE")
_SHORT = ("--phases", "examples,coverage,fuzzing", "-n", "2", "--generation-deterministic")
_LONG = ("--phases", "examples,coverage,fuzzing,stateful", "-n", "600", "--generation-database", "none")
_COVERED = {"ada": "progress|conversations|sessions/{key}/bulk", "visitor": "sessions/{key}/nodes"}
"""The paths that the coverage phase (every bound, every field left out or wrong) goes through in the short form.

They have among them a list and its filters, a body of one row and a body of many, and a session in the path. All
paths would be ten thousand questions, most of them about rules that the operations share.
"""

_NOT_SAID = (
    "positive_data_acceptance",  # a cursor is a text, and not every text is a cursor
    "negative_data_rejection",  # in a push, what is no mutation is rejected alone, in an answer of 200
    "ignored_auth",  # a ticket signs in too; tests/api/test_auth.py has what happens without any
    "ensure_resource_availability",  # whoever is signed in may begin a session, which is then not theirs to see
)
_NOT_FOR: dict[str, set[tuple[str, str]]] = {
    "visitor": {("delete", "/api/v1/token"), ("post", "/api/v1/sessions/{key}/claim")},
    "ada": {
        ("get", "/api/v1/sessions/{key}"),
        ("get", "/api/v1/sessions/{key}/validate"),
        ("put", "/api/v1/sessions/{key}/touch"),
        ("delete", "/api/v1/sessions/{key}"),
    },
}
"""What works for the other actor only."""

_LUCK = {
    ("post", "/api/v1/verify"),
    ("get", "/api/v1/conflicts/{conflict_id}"),
    ("post", "/api/v1/conflicts/{conflict_id}/restore"),
}
"""What takes a cursor or a conflict that is there: a short run may not come upon one."""

_ITSELF = {("get", "/api/openapi.json")}
"""The document is fetched, but not as one of the questions."""


def only_covering(paths: str) -> str:
    """Schemathesis' settings, found in the folder that it runs in: the coverage phase is for these paths only."""
    literal = paths.replace("{", "[{]").replace("}", "[}]")
    return f"[[operations]]\ninclude-path-regex = '^(?!/api/v1/({literal})$)'\nphases.coverage.enabled = false\n"


@asynccontextmanager
async def nobody_stays(server: Live) -> AsyncIterator[None]:
    """Streams and long-polls are sent away as at a restart, or each would be waited for."""

    async def away() -> None:
        while True:
            for here in list(server.parts.house._here.values()):
                for guest in list(here):
                    guest.goodbye(1012, "the server restarts", 0)
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(away())
    yield
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def asked(server: Live, actor: str, folder: Path, flags: Collection[str]) -> tuple[int | None, str]:
    """The exit status of a run as this actor, and what it said; `folder` then holds every answer."""
    variables = {
        **os.environ,
        "ASKED_URL": server.url,
        "ASKED_AS": actor,
        "SCHEMATHESIS_HOOKS": "tests.api.asker",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "clients" / "python"))),
    }
    program = Path(sys.executable).with_name("schemathesis")
    process = await asyncio.create_subprocess_exec(
        *(str(program), "run", f"{server.url}/api/openapi.json", "--seed", "1", "--no-color", "--warnings", "off"),
        *("--continue-on-failure", "--request-timeout", "30"),
        *("--exclude-checks", ",".join(_NOT_SAID), "--report", "har", "--report-har-path", str(folder / "asked.har")),
        *flags,
        cwd=folder,
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def answered(folder: Path, paths: Collection[str]) -> set[tuple[str, str]]:
    """The operations that did what they are for, at least once."""
    patterns = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in sorted(paths, key=len)}
    found = set()
    for entry in json.loads((folder / "asked.har").read_text())["log"]["entries"]:
        place = httpx.URL(entry["request"]["url"]).raw_path.decode().partition("?")[0]
        named = next((path for path, pattern in patterns.items() if pattern.fullmatch(place)), None)
        if named is not None and entry["response"]["status"] < 300:
            found.add((entry["request"]["method"].lower(), named))
    return found


@pytest.mark.long
@pytest.mark.timeout(3600 if _PROVE else 300)
@pytest.mark.parametrize("actor", list(_NOT_FOR))
async def test_no_answer_is_a_fault_and_none_is_undocumented(serving: Serving, tmp_path: Path, actor: str):
    async with serving(**UNLIMITED, rows_per_owner=0) as server, nobody_stays(server):
        async with httpx.AsyncClient() as http:
            paths = (await http.get(f"{server.url}/api/openapi.json")).json()["paths"]
        if not _PROVE:
            (tmp_path / "schemathesis.toml").write_text(only_covering(_COVERED[actor]))
        status, said = await asked(server, actor, tmp_path, _LONG if _PROVE else _SHORT)
    assert status == 0, said
    done = answered(tmp_path, paths)
    every = {(method, path) for path, item in paths.items() for method in item}
    missed = every - done - _ITSELF - _NOT_FOR[actor] - (set() if _PROVE else _LUCK)
    assert sorted(missed) == [], said
