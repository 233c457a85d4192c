"""What the documents claim: links lead somewhere, settings and commands are all there, examples run, sizes are kept."""

import ast
import asyncio
import re
from dataclasses import fields
from pathlib import Path

import pytest

from syncserver import resources
from syncserver.app.settings import Settings
from syncserver.core import frames
from tests.harness import Live, token

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/*/README.md")])
SOURCES = sorted([*ROOT.glob("syncserver/**/*.py"), *ROOT.glob("clients/python/syncserver_client/**/*.py")])
ROOMS = {"core", "storage", "resources", "feed", "hub", "engine", "transports", "api", "gateways", "app"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_setting_is_explained():
    text = (ROOT / "docs" / "operating.md").read_text()
    for f in fields(Settings):
        assert f"| `SYNCSERVER_{f.name.upper()}` | " in text
        assert f.metadata["sentence"] in text


def test_every_field_of_a_progress_is_explained():
    text = (ROOT / "docs" / "api.md").read_text()
    for column in resources.catalog()["progress"].columns:
        assert f"`{column.name}`" in text


def test_every_frame_is_explained():
    text = (ROOT / "docs" / "api.md").read_text()
    for frame in (*frames.CLIENT_FRAMES, *frames.SERVER_FRAMES):
        assert f"`{frame.model_fields['type'].default}" in text


def test_every_folder_is_a_room():
    found = {path.name for path in (ROOT / "syncserver").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == ROOMS


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_module_says_what_it_is_and_is_small(source: Path):
    text = source.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= 350


def test_nine_functions_in_ten_are_under_thirty_lines():
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert sum(length < 30 for length in lengths) >= 0.9 * len(lengths)


async def test_the_readme_s_python_runs(live: Live, capsys: pytest.CaptureFixture[str]):
    found = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    scope: dict[str, object] = {}
    exec(compile(found[1].replace("http://127.0.0.1:8000", live.url), "README.md", "exec"), scope)  # noqa: S102 - ours
    example = asyncio.create_task(scope["main"](token("ada")))  # type: ignore[operator]
    async with asyncio.timeout(10):
        while "moby-dick" not in capsys.readouterr().out:  # noqa: ASYNC110 - turns of the loop, until it has printed
            await asyncio.sleep(0)
    example.cancel()
    await asyncio.gather(example, return_exceptions=True)
