"""Which token a request shows: in its Authorization header, or in a cookie where the operator wants it; never in a URL.

A browser sends a cookie whichever page asks, so then the page counts. What changes something needs an Origin that is
let in and a header that no foreign page can set; what only reads must not come from another site.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass

from syncserver.core import origin
from syncserver.core.errors import Forbidden, ForbiddenOrigin, Malformed, Unauthorised

SAFE = ("GET", "HEAD", "OPTIONS")
HEADER = "sync-csrf"
_IN_URLS = ("token", "access_token")


@dataclass(frozen=True, slots=True)
class Cookie:
    """`name`: of the cookie; None: none is looked at. `origins`: whose pages may use it, besides the host's own."""

    name: str | None = None
    origins: Collection[str] = ()

    def of_request(self, method: str, headers: Mapping[str, str]) -> str | None:
        """The token that a request brings in it, if it does; raises ForbiddenOrigin, Forbidden, Unauthorised."""
        token = self._token(headers)
        if token is None:
            return None
        self._same_site(headers, must=method not in SAFE)
        if method not in SAFE and HEADER not in headers:
            raise Forbidden("With the token in a cookie, this needs the header Sync-Csrf: 1.")
        return token

    def of_socket(self, headers: Mapping[str, str]) -> str | None:
        """The token that a socket's upgrade brings; a page cannot set headers there, so its Origin has to be named."""
        token = self._token(headers)
        if token is not None:
            self._same_site(headers, must=True)
        return token

    def _token(self, headers: Mapping[str, str]) -> str | None:
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        found = [value for name, _, value in pairs if self.name is not None and name == self.name]
        if len(found) > 1:  # a page of a neighbouring host can add one, to sign others in as itself
            raise Unauthorised("There are two cookies of the name that holds the token.")
        return found[0] if found and found[0] else None

    def _same_site(self, headers: Mapping[str, str], *, must: bool) -> None:
        """Raise ForbiddenOrigin for a request of another site's page; `must`: also where it does not name its page."""
        named = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site":
            raise ForbiddenOrigin("Pages of other sites may not use the token in the cookie.")
        if named is None and must:
            raise ForbiddenOrigin("With the token in a cookie, this needs an Origin header.")
        if not origin.let_in(named, headers.get("host"), {one for one in self.origins if one != origin.ANY}):
            raise ForbiddenOrigin("Pages of this origin may not use the token in the cookie.")


def token(cookie: Cookie, method: str, headers: Mapping[str, str], query: Container[str]) -> str | None:
    """The token that a request shows, not looked at yet; None for none. Raises Malformed where it stands in the URL.

    `headers` by their names in lower case, or in any. What the cookie may raise stands with it.
    """
    if any(name in query for name in _IN_URLS):
        raise Malformed("A token is never taken from a URL, which is logged everywhere: use the Authorization header.")
    if "authorization" not in headers:
        return cookie.of_request(method, headers)
    scheme, _, credentials = headers["authorization"].partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None
