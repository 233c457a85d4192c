"""A visitor, for tests of what it may do: its session's id and its token, as the server gave them."""

from dataclasses import dataclass

import httpx


@dataclass(frozen=True)
class Visitor:
    """An anonymous session."""

    id: str
    token: str

    @property
    def owner(self) -> str:
        return f"session:{self.id}"

    @property
    def path(self) -> str:
        return f"/sessions/{self.id}"

    @property
    def key(self) -> dict[str, str]:
        return bearer(self.token)


def bearer(shown: str) -> dict[str, str]:
    """The headers that show a token."""
    return {"Authorization": f"Bearer {shown}"}


async def begun(anybody: httpx.AsyncClient) -> Visitor:
    """A new one."""
    answer = await anybody.post("/sessions")
    assert answer.status_code == 201, answer.text
    return Visitor(answer.json()["session_id"], answer.json()["token"])
