"""Server-sent events from bytes: a parser without I/O. However the bytes are cut, the events are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from syncserver_client.errors import Transient

MOST_BYTES = 64 * 2**20  # of one event; what the server sends is its own to bound
_END = re.compile(rb"\r\n|\r|\n")
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name ("message" where it has none), its text, and the last id that the stream gave."""

    name: str
    text: bytes
    id: str


class Parser:
    """Feed it what comes; Transient("too_large") once an event has more than `most_bytes`."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []  # of a line that has no end yet
        self._bytes = 0  # of that line, and of the event under way
        self._after_cr = False  # a line feed that comes first now belongs to the end of the line before
        self._first = True
        self._name = ""
        self._lines: list[bytes] = []
        self._id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _END.split(chunk)
        events = []
        for part in ended:
            self._take(part)
            line = b"".join(self._parts)
            self._parts.clear()
            event = self._line(line)
            if event is not None:
                events.append(event)
        self._take(rest)
        return events

    def _take(self, part: bytes) -> None:
        self._bytes += len(part)
        if self._bytes > self._most_bytes:
            raise Transient("too_large", "the server sent an event without an end")
        if part:
            self._parts.append(part)

    def _line(self, line: bytes) -> Event | None:
        if self._first:
            line, self._first = line.removeprefix(_MARK), False
        if not line:
            return self._event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._lines.append(value)
            return None  # its bytes count until the event ends
        self._bytes -= len(line)
        if name == b"event":
            self._name = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        return None

    def _event(self) -> Event | None:
        lines, name = self._lines, self._name
        self._lines, self._name, self._bytes = [], "", 0
        return Event(name or "message", b"\n".join(lines), self._id) if lines else None
