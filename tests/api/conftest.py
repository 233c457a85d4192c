"""HTTP clients on a real server, each signed in as a reader."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.anonymous import Visitor, begun
from tests.api.workspaces import Workspace
from tests.harness import Live


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Ada's client."""
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers("ada"), timeout=30) as client:
        yield client


@pytest.fixture
async def eve(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody else's."""
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", headers=live.headers("eve"), timeout=30) as client:
        yield client


@pytest.fixture
async def anybody(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who shows no token."""
    async with httpx.AsyncClient(base_url=f"{live.url}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture
async def visitor(anybody: httpx.AsyncClient) -> Visitor:
    """Somebody with an anonymous session."""
    return await begun(anybody)


@pytest.fixture
def mine(anybody: httpx.AsyncClient, visitor: Visitor) -> Workspace:
    """That visitor's workspace, empty yet."""
    return Workspace(anybody, visitor.path, visitor.key)
