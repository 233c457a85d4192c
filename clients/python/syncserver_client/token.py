"""Where bearer tokens come from: a fixed text, or a callable of the app that makes fresh ones."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from syncserver_client.errors import Transient

Token = str | Callable[[], str | Awaitable[str]]


class TokenSource:
    """Keeps the last token, so that each HTTP request does not ask the app again."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._last: str | None = None

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another token."""
        return callable(self._token)

    async def fresh(self) -> str:
        """A token made now; Transient("token") if the app's callable failed."""
        if not callable(self._token):
            return self._token
        try:
            made = self._token()
            self._last = await made if inspect.isawaitable(made) else made
        except Exception as error:
            raise Transient("token", "the app's token callable failed") from error
        return self._last

    async def current(self) -> str:
        """The last token made, or a first one."""
        return self._last if self._last is not None else await self.fresh()
