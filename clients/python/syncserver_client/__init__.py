"""The Python client of syncserver: live changes, durable writes, resume, and a fallback for every network.

async with connect("http://127.0.0.1:8000", token, device="phone") as client: ...
"""

from syncserver_client.acks import AckWatch
from syncserver_client.autosave import AutoSaver, NodeSaver
from syncserver_client.client import Client, connect
from syncserver_client.company import Broadcast, Presence
from syncserver_client.conflict import Conflict, ConflictNote, ConflictPage, Version
from syncserver_client.difference import Unsayable
from syncserver_client.errors import Claimed, Closed, Fatal, Offline, Rejected, StoreRefused, SyncError
from syncserver_client.growing import Growing
from syncserver_client.model import MIRRORED, Change, Row, RowId, State
from syncserver_client.mutation import Ack, Mutation
from syncserver_client.saves import SaveState, Saving
from syncserver_client.sessions import Claim, Visitor, claim_session, create_session
from syncserver_client.states import StateWatch
from syncserver_client.subscription import Subscription
from syncserver_client.watch import Watch

__all__ = [
    "MIRRORED",
    "Ack",
    "AckWatch",
    "AutoSaver",
    "Broadcast",
    "Change",
    "Claim",
    "Claimed",
    "Client",
    "Closed",
    "Conflict",
    "ConflictNote",
    "ConflictPage",
    "Fatal",
    "Growing",
    "Mutation",
    "NodeSaver",
    "Offline",
    "Presence",
    "Rejected",
    "Row",
    "RowId",
    "SaveState",
    "Saving",
    "State",
    "StateWatch",
    "StoreRefused",
    "Subscription",
    "SyncError",
    "Unsayable",
    "Version",
    "Visitor",
    "Watch",
    "claim_session",
    "connect",
    "create_session",
]
