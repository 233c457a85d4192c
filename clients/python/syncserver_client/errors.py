"""Everything that can go wrong, as one tree; each error carries a code that programs may compare.

SyncError
├── Offline      no transport worked within the time given; trying again later may help
├── Rejected     the server understood and said no; trying the same again cannot help
├── Fatal        the server wants this client to stay away; it has stopped
│   └── Claimed  a reader has signed in and taken over the anonymous session whose token this was
├── Closed       the client was closed
├── StoreRefused the file that was named as store cannot be this client's
└── Transient    one attempt failed; the client goes on by itself (apps do not meet it)
    └── SocketLost
"""

CLAIMED = "claimed"


class SyncError(Exception):
    """The root: `code` is one word for programs, `detail` a sentence for people."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class Offline(SyncError):
    """No answer within the time given. A write may or may not have reached the server."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("offline", detail)


class Rejected(SyncError):
    """The server refused: `code` is its code (`invalid`, `forbidden`, `removed`, `too_large`, ...)."""


class Fatal(SyncError):
    """The client has stopped for good: wrong token, wrong protocol version, forbidden origin."""


class Claimed(Fatal):
    """The visitor's rows are a reader's now: connect again with that reader's token, and with the same store.

    What waits in its queue is then sent, once, and the rows are fetched again.
    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(CLAIMED, detail)


class Closed(SyncError):
    """The client was closed while something waited on it, or used after."""

    def __init__(self) -> None:
        super().__init__("closed", "the client is closed")


class StoreRefused(SyncError):
    """The store is another device's or server's (`other`), open elsewhere (`in_use`), or no store (`unreadable`)."""


class Transient(SyncError):
    """One attempt failed. `retry_after_s` is the server's wish in seconds, where it gave one."""

    def __init__(self, code: str, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class SocketLost(Transient):
    """The socket could not be had, or ended. `too_large`: over the size of a frame this client sent."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        retry_after_s: float | None = None,
        too_large: bool = False,
    ) -> None:
        super().__init__(code, detail, retry_after_s=retry_after_s)
        self.too_large = too_large
