"""A session's workspace over HTTP, as its owner sees it."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.anonymous import Visitor, begun

Raw = dict[str, Any]


@dataclass(frozen=True)
class Workspace:
    """One session, by somebody's key. Paths are under the session's."""

    http: httpx.AsyncClient
    path: str
    key: dict[str, str]

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {**self.key, **more.pop("headers", {})}
        sent = {} if body is None else {"json": body}
        return await self.http.request(method, f"{self.path}{path}", headers=headers, **sent, **more)

    async def made(self, path: str, **body: Any) -> Raw:
        """A new row."""
        answer = await self.ask("POST", path, body)
        assert answer.status_code == 201, answer.text
        row: Raw = answer.json()
        return row

    async def read(self, path: str, **query: Any) -> Raw:
        """A row, or a page."""
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "private, no-store"
        found: Raw = answer.json()
        return found

    async def sequence(self, node: str = "N001") -> list[str]:
        """The ids of a node's components, in order."""
        return [row["component_id"] for row in (await self.read(f"/nodes/{node}/components", limit=500))["items"]]

    async def lay(self, *names: str, node: str = "N001") -> None:
        """A node with these components."""
        components = [{"component_id": name, "type": "text"} for name in names]
        await self.made("/nodes", node_id=node, components=components)


async def another(http: httpx.AsyncClient) -> Workspace:
    """That of a new visitor."""
    visitor = await begun(http)
    return Workspace(http, visitor.path, visitor.key)


async def claimed(http: httpx.AsyncClient, visitor: Visitor) -> Workspace:
    """That of a visitor, once whose client this is has claimed it."""
    answer = await http.post(f"{visitor.path}/claim", json={"token": visitor.token})
    assert answer.status_code == 200, answer.text
    return Workspace(http, visitor.path, {})
