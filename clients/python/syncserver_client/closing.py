"""What a close code asks of the client: to come back, or to stay away."""

from __future__ import annotations

from syncserver_client.errors import CLAIMED, Claimed, Fatal, SocketLost, SyncError

UNAUTHORISED = 4501
STAY_AWAY = {
    4500: "bad_frame",
    UNAUTHORISED: "unauthorised",
    4502: "protocol_not_supported",
    4503: "forbidden_origin",
}
COME_BACK = {
    1001: "going_away",
    1012: "restart",
    1013: "try_later",
    4000: "hello_timeout",
    4001: "token_expired",
    4002: "slow_reader",
    4003: "rate_limited",
    4004: "replaced",
}
TOO_LARGE = 1009


def ending(close_code: int | None, *, detail: str = "", retry_after_s: float | None = None) -> SyncError:
    """The error that a close code means: Fatal to stay away, else SocketLost; None is a cut without goodbye.

    `detail`: what the server said before, its code first. 4001 needs no case of its own: every connect asks for the
    token anew.
    """
    if close_code == UNAUTHORISED and detail.partition(":")[0] == CLAIMED:
        return Claimed()
    if close_code in STAY_AWAY:
        return Fatal(STAY_AWAY[close_code], detail)
    if close_code == TOO_LARGE:
        return SocketLost("too_large", detail, too_large=True, retry_after_s=retry_after_s)
    code = COME_BACK.get(close_code or 0, "cut")
    return SocketLost(code, detail or "the socket ended", retry_after_s=retry_after_s)
