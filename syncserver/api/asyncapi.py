"""The AsyncAPI document of the socket, made from the same models that read and write its frames."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from syncserver import __version__
from syncserver.api.frame_examples import EXAMPLES
from syncserver.core import frames, values

PATH = "/api/v1/socket"
_CHANNEL = "#/channels/socket"
_Frame = type[values.Model]

CLOSE_CODES: Mapping[int, tuple[bool, str]] = {
    1001: (True, "the server goes away"),
    1009: (False, "a frame was too large: do not send that frame again"),
    1011: (True, "the server made a mistake"),
    1012: (True, "the server restarts"),
    1013: (True, "the database is away"),
    4000: (True, "no hello within 10 s"),
    4001: (True, "the token has expired: get a fresh one first"),
    4002: (True, "the client did not read"),
    4003: (True, "too much in too short a time"),
    4004: (True, "replaced by a newer connection of the same client id"),
    4500: (False, "a frame that is none"),
    4501: (False, "the token does not hold"),
    4502: (False, "no protocol version in common"),
    4503: (False, "a web page of an origin that is not let in"),
}
"""Every code that the server closes a socket with: whether to come back (with jitter), and why it closed."""

REPLIES: Mapping[_Frame, Sequence[_Frame]] = {
    frames.Hello: (frames.Welcome, frames.ErrorFrame),
    frames.Subscribe: (frames.Changes, frames.Ready, frames.RefetchFrame, frames.ErrorFrame),
    frames.Push: (frames.Acks, frames.ErrorFrame),
    frames.Ping: (frames.Pong,),
    frames.Verify: (frames.Verified, frames.RefetchFrame, frames.ErrorFrame),
    frames.Presence: (frames.PresenceFrame, frames.ErrorFrame),
}
"""What a client hears because of what it said. The other client frames are answered by silence, or by `error`."""

UNASKED: Sequence[_Frame] = (
    frames.Changes,
    frames.Ready,
    frames.RefetchFrame,
    frames.ErrorFrame,
    frames.Goodbye,
    frames.TokenExpiring,
    frames.PresenceFrame,
    frames.BroadcastFrame,
    frames.ConflictNote,
)
"""What a client hears without having asked just then."""


def document(server: str) -> dict[str, Any]:
    """The document, for a server at this host and port; operations are seen from the server's side."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "syncserver", "version": __version__, "description": _description()},
        "defaultContentType": "application/json",
        "servers": {"here": {"host": server, "protocol": "ws", "description": "`wss` behind TLS."}},
        "channels": {"socket": _channel()},
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _every() -> Iterable[_Frame]:
    return (*frames.CLIENT_FRAMES, *frames.SERVER_FRAMES)


def kind(frame: _Frame) -> str:
    """What the frame's `type` says."""
    return str(frame.model_fields["type"].default)


def _description() -> str:
    rows = "\n".join(f"| {code} | {'yes' if back else 'no'} | {why} |" for code, (back, why) in CLOSE_CODES.items())
    return (
        "One JSON object a message, UTF-8, at most 1 MiB. `hello` is the first. Fields that you do not know: ignore"
        " them. The same frames come as server-sent events at /api/v1/changes/stream.\n\n"
        f"| close code | come back? | why |\n| --- | --- | --- |\n{rows}\n"
    )


def _channel() -> dict[str, Any]:
    return {
        "address": PATH,
        "title": "The socket",
        "description": f"A WebSocket, subprotocol `{frames.SUBPROTOCOL}`. The key stands in `hello`, not in a header.",
        "messages": {frame.__name__: {"$ref": f"#/components/messages/{frame.__name__}"} for frame in _every()},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0", "headers": _headers()}},
        "x-subprotocol": frames.SUBPROTOCOL,
        "x-close-codes": [
            {"code": code, "come_back": back, "reason": why} for code, (back, why) in CLOSE_CODES.items()
        ],
    }


def _headers() -> dict[str, Any]:
    protocol = {"type": "string", "const": frames.SUBPROTOCOL}
    return {
        "type": "object",
        "required": ["Sec-WebSocket-Protocol"],
        "properties": {"Sec-WebSocket-Protocol": protocol},
    }


def _operations() -> dict[str, Any]:
    said = {f"hear_{kind(frame)}": _hears(frame) for frame in frames.CLIENT_FRAMES}
    return {**said, **{f"say_{kind(frame)}": _says(frame) for frame in UNASKED}}


def _hears(frame: _Frame) -> dict[str, Any]:
    operation = {"action": "receive", "channel": {"$ref": _CHANNEL}, "summary": _summary(frame), **_of([frame])}
    if frame in REPLIES:
        operation["reply"] = {"channel": {"$ref": _CHANNEL}, **_of(REPLIES[frame])}
    return operation


def _says(frame: _Frame) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": _CHANNEL}, "summary": _summary(frame), **_of([frame])}


def _of(some: Sequence[_Frame]) -> dict[str, Any]:
    return {"messages": [{"$ref": f"{_CHANNEL}/messages/{frame.__name__}"} for frame in some]}


def _summary(frame: _Frame) -> str:
    return (frame.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _messages() -> dict[str, Any]:
    return {
        frame.__name__: {
            "name": kind(frame),
            "title": f"{kind(frame)} ({'client to server' if frame in frames.CLIENT_FRAMES else 'server to client'})",
            "summary": _summary(frame),
            "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
            "examples": [{"payload": EXAMPLES[frame]}],
        }
        for frame in _every()
    }


def _schemas() -> dict[str, Any]:
    """Each frame's JSON Schema, and what it is made of beside it."""
    found: dict[str, Any] = {}
    for frame in _every():
        schema = frame.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["properties"]["type"].pop("default")
        schema["required"] = ["type", *schema.get("required", [])]
        found.update(schema.pop("$defs", {}))
        found[frame.__name__] = schema
    return found
