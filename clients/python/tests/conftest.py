import itertools
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

# A plain checkout tests its own source, whether or not some version of the client is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from syncserver_client.clock import Clock

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock():
    """A device clock that moves one second at each look."""
    seconds = itertools.count()
    return Clock(lambda: EPOCH + timedelta(seconds=next(seconds)))
