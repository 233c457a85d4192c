"""The Python client of syncserver: live changes, writes, resume, fallback.

async with connect("http://127.0.0.1:8000", token, device="phone") as client: ...
"""

from syncserver_client.client import Client, connect
from syncserver_client.errors import Closed, Fatal, Offline, Rejected, SyncError
from syncserver_client.model import MIRRORED, Ack, Change, Mutation, Row, RowId, State
from syncserver_client.states import StateWatch
from syncserver_client.subscription import Subscription

__all__ = [
    "MIRRORED",
    "Ack",
    "Change",
    "Client",
    "Closed",
    "Fatal",
    "Mutation",
    "Offline",
    "Rejected",
    "Row",
    "RowId",
    "State",
    "StateWatch",
    "Subscription",
    "SyncError",
    "connect",
]
