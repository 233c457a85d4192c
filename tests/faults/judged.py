"""What a server may answer to rubbish, and what not; every broken rule is a sentence."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg

from tests.faults.breaking import CANARY

_OURS = frozenset({1001, 1009, 1012, 1013, *range(4000, 4005), *range(4500, 4504)})
"""Close codes of the protocol (PROTOCOL.md)."""

_SERVER_FAULT = 500
TOKEN = re.compile(rb"[\w-]{8,}\.[\w-]{8,}\.[\w-]{20,}")
_POINTER = re.compile(r"/\S*: ")
_TOLD = ("title", "detail", "code", "reason")
_INTERVALS = 2
"""Of each session in the example from which the requests are made."""


@dataclass
class Account:
    """One owner's side: offsets that were acknowledged, and writes acknowledged without one."""

    owner: str
    offsets: set[int] = field(default_factory=set)
    others: int = 0


@dataclass
class Judge:
    """Of one client. `wrong` holds what must not be; `seen` counts what was answered."""

    token: str
    account: Account
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def closed(self, code: int | None, codes: frozenset[int], *, closing: bool) -> None:
        """The server closed a socket. `codes`: others that it may name; `closing`: it was asked to, with any code."""
        self.seen[f"close {code}"] += 1
        if code in _OURS or code in codes or (closing and code not in {1006, 1015}):
            return
        self.wrong.append(f"a socket was closed with {code}")

    def frame(self, payload: bytes) -> Mapping[str, Any]:
        """A frame of the server's; its acks are noted."""
        frame: dict[str, Any] = orjson.loads(payload)
        self.seen[f"frame {frame['type']}"] += 1
        if frame["type"] == "ack":
            self._acks(frame["acks"])
        elif frame["type"] in {"error", "refetch"}:
            self.said(frame)
        return frame

    def answer(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A whole answer over HTTP."""
        self.seen[f"status {status}"] += 1
        if status >= _SERVER_FAULT:
            self.wrong.append(f"answered {status}: {body[:200]!r}")
        if status < 400:
            self._acknowledged(method, status, headers, body)
            return
        document = headers.get("content-type", "").startswith("application/problem+json")
        self.said(orjson.loads(body) if document and body else {"detail": body.decode("latin-1")})

    def said(self, error: Mapping[str, Any]) -> None:
        """What an error says may repeat nothing that was sent; a pointer names a place and is no text."""
        texts = [str(error.get(name, "")) for name in _TOLD]
        texts += [place["detail"] for place in error.get("errors", ())]
        for text in (_POINTER.sub("", text) for text in texts):
            if CANARY in text or self.token in text or TOKEN.search(text.encode()):
                self.wrong.append(f"an error repeats what was sent: {text[:200]}")

    def _acknowledged(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if method in {"GET", "HEAD", "OPTIONS"}:
            return
        etag = headers.get("etag", "").strip('"')
        if b'"finished_at"' in body:
            self.account.others += 1  # the reading is shown, and not the session that was written
        if body.startswith((b'{"won":', b'{"results":')):
            self._told(orjson.loads(body))
        elif etag.isdigit():
            self.account.offsets.add(int(etag))
        elif body.startswith(b'{"acks":'):
            self._acks(orjson.loads(body)["acks"])
        elif status == 204:
            self.account.others += 1

    def _told(self, answer: Mapping[str, Any]) -> None:
        """A conflict was resolved, or sessions came home: each in up to as many writes as it has intervals, and one."""
        for result in answer.get("results", [answer]):
            if result.get("row"):
                self.account.offsets.add(result["row"]["offset"])
                self.account.others += _INTERVALS

    def _acks(self, acks: list[dict[str, Any]]) -> None:
        for ack in acks:
            if ack["status"] in {"applied", "merged", "duplicate"} and ack.get("offset"):
                self.account.offsets.add(ack["offset"])
            if ack["status"] == "superseded":  # it may have moved what is furthest, and shows the row as it is since
                self.account.offsets.add(ack["row"]["offset"])
            if ack["status"] == "rejected":
                self.said(ack)


def unacknowledged(sql: psycopg.Connection, account: Account) -> list[str]:
    """What was written for an owner and never acknowledged: by the ledger, and by the log as it is.

    A session's own row is the server's to write, and so is what follows from a reading session's writes: events,
    readings, the progress that is finished with a reading, and the word to a session that another goes on from; and a
    conversation that a message made newer. Offsets in between need not be known: a row that changes twice in one push
    is acknowledged with its last one.
    """
    written = sql.execute(
        """SELECT "offset" FROM mutations WHERE owner = %(owner)s AND "offset" IS NOT NULL
        UNION SELECT "offset" FROM changes c
        WHERE owner = %(owner)s AND resource NOT IN ('sessions', 'session_events', 'readings') AND NOT (
          resource = 'progress' AND EXISTS (
            SELECT FROM readings r WHERE r.owner = c.owner AND r.publication_id = c.key AND r.device_id = c.device_id)
          OR resource = 'reading_sessions' AND EXISTS (
            SELECT FROM reading_sessions s
            WHERE s.owner = c.owner AND s.id::text = c.key AND s.resumed_as IS NOT NULL)
          OR resource = 'conversations' AND EXISTS (
            SELECT FROM conversations t
            WHERE t.owner = c.owner AND t.id::text = c.key AND t.title_offset IS NOT NULL))""",
        {"owner": account.owner},
    ).fetchall()
    missing = sorted({offset for (offset,) in written} - account.offsets)
    if len(missing) <= account.others:
        return []
    return [f"{account.owner}: offsets {missing} were not acknowledged ({account.others} writes without their offset)"]
