"""CSV (RFC 4180) cut into records as its bytes come: no more of it is held than one record.

Quoted fields may hold line breaks, so a record ends at a line break where all quotes are paired. What cannot be read
says where: the line, and which field of the record.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FIELD = re.compile(r'"([^"]*(?:""[^"]*)*)"(?=,|\Z)|([^",\r\n]*)(?=,|\Z)')
_OPENED = re.compile(r'(?:(?:"[^"]*(?:""[^"]*)*"|[^",\r]*),)*"[^"]*(?:""[^"]*)*\Z')
_BOM = b"\xef\xbb\xbf"
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot be read. `field`: which of its fields, from 0; None: the record as a whole."""

    reason: str
    field: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its fields, the line on which it begins, and the fault, if it cannot be read.

    `text`: as it came. `last`: nothing of the file was looked at after it, though there may be more.
    """

    line: int
    fields: Sequence[str]
    text: str
    fault: Fault | None = None
    last: bool = False

    def line_of(self, field: int | None) -> int:
        """The line on which that field begins."""
        if field is None or "\n" not in self.text:
            return self.line
        return self.line + self.text.count("\n", 0, _began(self.text, field))


class Records:
    """Cuts one file. `most_bytes`: the longest record that is taken."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._line = 1
        self._rest: list[bytes] = []
        self._waiting = 0
        self._lines: list[bytes] = []
        self._held = 0
        self._open = False
        self._skipping = False
        self._first = True
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """The records that end in this part of the file."""
        if self._ended:
            return
        if b"\n" not in chunk:
            self._rest.append(chunk)
            self._waiting += len(chunk)
        else:
            *lines, rest = b"".join([*self._rest, chunk]).split(b"\n")
            self._rest, self._waiting = [rest], len(rest)
            for line in lines:
                yield from self._ends(line + b"\n")
                if self._ended:
                    return
        if self._held + self._waiting > self._most:
            yield from self._overlong()

    def end(self) -> Iterator[Record]:
        """The last record, where the file does not end with a line break."""
        rest, self._rest = b"".join(self._rest), []
        if rest and not self._ended:
            yield from self._ends(rest)
        if self._open and not self._ended:
            yield self._record(Fault("a quote that is never closed", _fields_before(self._text())), last=True)

    def _ends(self, line: bytes) -> Iterator[Record]:
        """One more line of the file; the record, where it ends with that."""
        if self._skipping:
            self._skipping = False
            self._begin_anew(1)
            return
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        odd = line.count(b'"') % 2 == 1
        if odd and not self._open and not _OPENED.match(line.decode("latin-1")):
            odd = False  # a quote where none may be: the fields will say so, and the next line is a record of its own
        self._lines.append(line)
        self._held += len(line)
        self._open ^= odd
        if self._open:
            return
        if line.strip(b"\r\n") or len(self._lines) > 1:
            yield self._record()
        self._begin_anew(len(self._lines))

    def _record(self, fault: Fault | None = None, *, last: bool = False) -> Record:
        text = self._text()
        if fault is None and len(text) > self._most:
            fault = self._too_long()
        fields, found = ([], fault) if fault else _fields(text)
        return Record(self._line, fields, text, found, last)

    def _overlong(self) -> Iterator[Record]:
        """No more is read than this; where a quote is open nobody knows what is a line of the file, so that ends it."""
        if not self._skipping:
            self._ended = self._open
            yield Record(self._line, [], "", self._too_long(), last=self._open)
        self._skipping = not self._ended
        self._lines, self._rest, self._held, self._waiting = [], [], 0, 0

    def _too_long(self) -> Fault:
        opened = "; a quote is not closed" if self._open else ""
        return Fault(f"a record of more than {self._most} bytes{opened}")

    def _text(self) -> str:
        whole = b"".join(self._lines)
        return whole.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")

    def _begin_anew(self, lines: int) -> None:
        self._line += lines
        self._lines, self._held, self._open = [], 0, False


def _fields(text: str) -> tuple[Sequence[str], Fault | None]:
    fields, fault = _split(text)
    if fault is None and not text.isascii() and _ESCAPED.search(text):
        number = next(number for number, field in enumerate(fields) if _ESCAPED.search(field))
        fault = Fault("not UTF-8", number)
    return fields, fault


def _split(text: str) -> tuple[Sequence[str], Fault | None]:
    if '"' not in text and "\r" not in text:
        return text.split(","), None
    fields: list[str] = []
    at = 0
    while at <= len(text):
        found = _FIELD.match(text, at)
        if found is None:
            return fields, Fault(_why(text, at), len(fields))
        fields.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end() + 1
    return fields, None


def _why(text: str, at: int) -> str:
    if text[at] == '"':
        return "something after the closing quote"
    wrong = re.compile('["\r]').search(text, at)
    carriage = wrong is not None and wrong[0] == "\r"
    return "a line break outside quotes" if carriage else "a quote in a field that does not begin with one"


def _began(text: str, field: int) -> int:
    """Where in the record that field begins, as far as it can be read."""
    at = 0
    for _ in range(field):
        found = _FIELD.match(text, at)
        if found is None:
            return at
        at = found.end() + 1
    return at


def _fields_before(text: str) -> int:
    """How many fields come before the one that is never closed."""
    return len(_split(text)[0])
