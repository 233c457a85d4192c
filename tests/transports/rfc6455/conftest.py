"""A line to an echo for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.transports.rfc6455.line import Client, echoing


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with echoing() as opened, opened() as found:
        yield found
