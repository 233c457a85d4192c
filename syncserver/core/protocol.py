"""The server's side of one connection as a state machine without I/O: messages in, frames or errors out.

States: HELLO (nothing but `hello` may come) -> OPEN -> CLOSED. The caller reads, waits and closes; this says
what a message means and whether it may come now.
"""

from collections.abc import Mapping
from enum import Enum, auto

import orjson
from pydantic import ValidationError

from syncserver.core import depth, frames, values
from syncserver.core.errors import Invalid, Malformed, TooLarge, Unsupported

JSON_DEPTH = 64

_TYPES: Mapping[str, type[frames.ClientFrame]] = {
    "hello": frames.Hello,
    "subscribe": frames.Subscribe,
    "unsubscribe": frames.Unsubscribe,
    "push": frames.Push,
    "ping": frames.Ping,
    "auth": frames.Auth,
    "verify": frames.Verify,
    "presence": frames.Presence,
    "broadcast": frames.Broadcast,
}


class State(Enum):
    """Where the connection is."""

    HELLO = auto()
    OPEN = auto()
    CLOSED = auto()


class Protocol:
    """One connection's rules. `receive` raises Malformed, TooLarge or Unsupported; each names its close code."""

    def __init__(self, frame_bytes: int = values.FRAME_BYTES, json_depth: int = JSON_DEPTH) -> None:
        self.state = State.HELLO
        self._frame_bytes = frame_bytes
        self._json_depth = json_depth

    def receive(self, message: str | bytes) -> frames.ClientFrame:
        """The frame that `message` is, if it may come now."""
        if self.state is State.CLOSED:
            raise Malformed("The connection is closed.")
        if len(message) > self._frame_bytes:
            raise TooLarge(f"A frame is larger than {self._frame_bytes} bytes.")
        frame = parse(message, self._json_depth)
        if isinstance(frame, frames.Hello) is not (self.state is State.HELLO):
            raise Malformed("The first frame, and only the first, is hello.")
        if isinstance(frame, frames.Hello):
            _agree(frame.protocol)
        return frame

    def opened(self) -> None:
        """The hello was good: other frames may come."""
        self.state = State.OPEN

    def closed(self) -> None:
        """Nothing may come any more."""
        self.state = State.CLOSED


def parse(message: str | bytes, json_depth: int = JSON_DEPTH) -> frames.ClientFrame:
    """The client frame in `message`; raises Malformed with the reason, TooLarge where it is nested too deep."""
    try:
        value = depth.loads(message, json_depth)
    except orjson.JSONDecodeError:
        raise Malformed("The frame is not JSON.") from None
    if not isinstance(value, dict):
        raise Malformed("The frame is not a JSON object.")
    kind = value.get("type")
    model = _TYPES.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Malformed("The frame has no type, or one that this version does not know.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Malformed(f"The {kind} frame is wrong: {sentence(error)}") from None


def sentence(error: ValidationError) -> str:
    """All that is wrong, with places, never with the values."""
    _let_go(error)
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(": ".join(filter(None, (pointer(e["loc"]), e["msg"]))) for e in found)


def invalid(error: ValidationError, root: str = "") -> Invalid | TooLarge:
    """A validation error in our tree: TooLarge when all that is wrong is length, else Invalid with its places."""
    _let_go(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if all(e["type"] in {"string_too_long", "too_long"} for e in found):
        return TooLarge(sentence(error))
    return Invalid(sentence(error), [{"pointer": root + pointer(e["loc"]), "detail": e["msg"]} for e in found])


def places(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """All that is wrong, one by one: where in the input, and a sentence."""
    _let_go(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [(e["loc"], e["msg"]) for e in found]


def _let_go(error: ValidationError) -> None:
    """Take the tracebacks from the errors within.

    The collector cannot look into a ValidationError; so whoever keeps what is made of it in a variable would keep, for
    ever, all frames up to there, and the whole message with them.
    """
    for found in error.errors(include_url=False, include_input=False):
        inner = found.get("ctx", {}).get("error")
        if isinstance(inner, Exception):
            inner.__traceback__ = inner.__context__ = None


def pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer (RFC 6901) to a place in the input."""
    named = (str(part) for part in location if part not in {values.A_KEY, values.A_TEMPORARY})
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in named)


def _agree(versions: list[int]) -> None:
    if not versions[0] <= frames.PROTOCOL <= versions[1]:
        raise Unsupported(f"This server speaks protocol version {frames.PROTOCOL}.")
