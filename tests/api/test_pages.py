"""The page on which the interface is read and tried: it comes whole from this server, and may ask nobody else."""

import re

import httpx
import pytest

from tests.api.problems import problem
from tests.harness import Live


@pytest.fixture
async def browser(live: Live):
    async with httpx.AsyncClient(base_url=live.url) as http:
        yield http


async def test_everything_that_the_page_needs_comes_from_this_server(browser: httpx.AsyncClient):
    page = await browser.get("/api/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(needed) == 5
    for name in needed:
        assert "//" not in name
        found = await browser.get(f"/api/{name}")
        assert found.status_code == 200
        assert found.content
    scripts = [await browser.get(f"/api/{name}") for name in re.findall(r'<script src="([^"]+)"', page.text)]
    assert all(script.headers["content-type"].startswith("text/javascript") for script in scripts)
    assert all("max-age" in script.headers["cache-control"] for script in scripts)
    assert "SwaggerUIBundle" in scripts[0].text
    assert 'url: "openapi.json"' in scripts[1].text


async def test_the_page_may_load_and_ask_only_this_server(browser: httpx.AsyncClient):
    page = await browser.get("/api/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert re.findall(r"<script(?! src=)| on\w+=|javascript:|<style", page.text) == []


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2F__init__.py", "start.js%00", "x"])
async def test_no_other_file_is_given(browser: httpx.AsyncClient, name: str):
    problem(await browser.get(f"/api/docs/{name}"), 404, "not_found")


async def test_the_documents_need_no_key(browser: httpx.AsyncClient):
    for name in ("openapi.json", "asyncapi.json"):
        assert (await browser.get(f"/api/{name}")).headers["content-type"] == "application/json"
