"""One tree of errors. Each says what is wrong and where, has a code for programs, and tells whether to try again.

SyncError
  Malformed      the input is not what the protocol calls a message        400, close 4500
  Unauthorised   no token, or one that does not hold                       401, close 4501
    Claimed      of a session that a signed-in reader has taken over       401, close 4501
  Forbidden      understood, and not allowed to this actor                 403
  ForbiddenOrigin  a web page that the operator has not let in             403, close 4503
  OverQuota      no room for more rows of this owner                       403
  Unsupported    a protocol version that this server does not speak        400, close 4502
  NotFound       no such row for this actor                                404
  DependencyFailed   a mutation that had to work before did not            409
  DependencyUnknown  it has not been seen yet: send it first               409
  Superseded     valid, but a newer write won                              409
  NotWhole       of what goes together or not at all, some was refused     422
  Refetch        the cursor cannot be honoured: start from nothing         410
  TooLarge       over a limit                                              413, close 1009
  Invalid        understood, but a value is wrong                          422
  RateLimited    too much in too short a time; try again later             429, close 4003
  BodyTimeout    a request's body did not come in time                     408
  Unavailable    the database is away; try again                           503
  SetupError     the operator has something to do before the server can start
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class SyncError(Exception):
    """Root of the tree. `detail` is a sentence for people; it never repeats a token, a name or a position."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    status: ClassVar[int] = 500
    close: ClassVar[int] = 1011
    retry: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Malformed(SyncError):
    """Not JSON, not an object, an unknown frame type, or fields of the wrong type."""

    code = "malformed"
    title = "Malformed message"
    status = 400
    close = 4500


class Unauthorised(SyncError):
    """No token, or one that is not genuine, not for this server, or expired."""

    code = "unauthorised"
    title = "Not signed in"
    status = 401
    close = 4501


class Claimed(Unauthorised):
    """A signed-in reader has taken this session's rows over: sign in as that reader, then fetch everything again."""

    code = "claimed"

    def __init__(self) -> None:
        super().__init__("A signed-in reader has claimed this session: sign in, and fetch everything again.")


class Forbidden(SyncError):
    """Understood, and not allowed, whoever asks again."""

    code = "forbidden"
    title = "Not allowed"
    status = 403


class ForbiddenOrigin(SyncError):
    """The request comes from a web page of another place, which the operator has not let in."""

    code = "forbidden_origin"
    title = "This origin is not let in"
    status = 403
    close = 4503


class OverQuota(SyncError):
    """The owner has as many rows as one may have: remove some first."""

    code = "quota"
    title = "No room for more rows"
    status = 403


class RateLimited(SyncError):
    """More than one guest may ask in this time. Nothing was lost: the same again after `retry_after_s` seconds."""

    code = "rate_limited"
    title = "Too many requests"
    status = 429
    close = 4003
    retry = True

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unsupported(SyncError):
    """The client speaks only protocol versions that this server does not."""

    code = "unsupported_version"
    title = "Protocol version not supported"
    status = 400
    close = 4502


class HelloTimeout(SyncError):
    """The first frame did not come in time."""

    code = "hello_timeout"
    title = "Hello did not come in time"
    status = 408
    close = 4000
    retry = True


class BodyTimeout(SyncError):
    """A request came without the rest of its body."""

    code = "body_timeout"
    title = "The body did not come in time"
    status = 408
    retry = True


class NotFound(SyncError):
    """No such row, or not this actor's: the two are not told apart."""

    code = "not_found"
    title = "Not found"
    status = 404


class Removed(SyncError):
    """The row was there and was removed."""

    code = "removed"
    title = "Removed"
    status = 404


class DependencyFailed(SyncError):
    """A mutation that this one names (in `after`, or by a temporary name) was rejected."""

    code = "dependency_failed"
    title = "What had to come before was rejected"
    status = 409


class DependencyUnknown(SyncError):
    """A mutation that this one names has not been answered here: it has to be sent first."""

    code = "dependency_unknown"
    title = "What has to come before is not here yet"
    status = 409
    retry = True


class Superseded(SyncError):
    """A newer write won. `row` is the winner, `yours` what was sent, `conflict_id` the record of the loser.

    `differs`: the fields that were sent and that the winner holds otherwise.
    """

    code = "superseded"
    title = "A newer write won"
    status = 409

    def __init__(
        self,
        detail: str,
        row: Mapping[str, Any] | None,
        conflict_id: str | None,
        yours: Mapping[str, Any] | None = None,
        differs: Sequence[str] = (),
    ) -> None:
        super().__init__(detail)
        self.row = row
        self.conflict_id = conflict_id
        self.yours = yours
        self.differs = tuple(differs)


class NotWhole(SyncError):
    """Of what goes together or not at all, some was refused, and nothing was kept: the same again is refused again.

    `refusals`: of each, its `place` among the `number` that were looked at, `code` and `detail`; `errors` where a value
    is wrong, and `row` where that one won.
    """

    code = "not_whole"
    title = "Nothing of it was kept"
    status = 422

    def __init__(self, refusals: Sequence[Mapping[str, Any]], number: int) -> None:
        super().__init__(f"{len(refusals)} of {number} were refused, so nothing was changed.")
        self.refusals = tuple(refusals)


class Refetch(SyncError):
    """The cursor cannot be honoured. `reason`: epoch, owner, floor, ahead, unreadable or digest."""

    code = "refetch"
    title = "Fetch everything again"
    status = 410

    def __init__(self, reason: str) -> None:
        super().__init__(f"This cursor cannot be resumed ({reason}): drop local rows and start without a cursor.")
        self.reason = reason


class TooLarge(SyncError):
    """Over a limit of size or number."""

    code = "too_large"
    title = "Too large"
    status = 413
    close = 1009


class Invalid(SyncError):
    """A value is wrong. `errors` names each place as a JSON pointer with a sentence."""

    code = "invalid"
    title = "Invalid"
    status = 422
    close = 4500

    def __init__(self, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class Unavailable(SyncError):
    """The database does not answer. Nothing was lost; the same request may be sent again."""

    code = "unavailable"
    title = "Try again"
    status = 503
    close = 1013
    retry = True
    retry_after_s = 1.0


class SetupError(SyncError):
    """The server cannot start as it is set up. `advice` says what to do."""

    code = "setup"
    title = "Not ready to serve"

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(f"{detail}\n  What to do: {advice}")
        self.advice = advice
