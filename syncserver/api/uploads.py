"""Files that are sent with a request: they go to disk as they come, so many bytes and not too slowly."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from typing import BinaryIO, cast

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from syncserver.api import body
from syncserver.core import csv_rows
from syncserver.core.errors import BodyTimeout, Malformed, SyncError
from syncserver.engine.checking import Upload

_IN_MEMORY_BYTES = 1 << 20
_SLOWEST_BYTES_S = 32_768
_MULTIPART = "multipart/form-data"
_PLAIN = "text/csv"


class Uploads(Request):
    """A request with files. `most_bytes`: all of it; `within_s`: how long the first bytes may take (0: for ever)."""

    def __init__(self, request: Request, *, most_bytes: int, within_s: float) -> None:
        super().__init__(request.scope, request.receive)
        self._most = most_bytes
        self._within_s = within_s
        self._patience = asyncio.timeout(None)

    async def received(self) -> Sequence[Upload]:
        """Its files: `nodes`, `relationships` or both of a form, or a CSV; raises Malformed, TooLarge, BodyTimeout."""
        body.bounded(body.announced(self), self._most)
        try:
            async with asyncio.timeout(self._within_s or None) as self._patience:
                return await self._files()
        except ClientDisconnect:
            raise Malformed("The request ended before its body did.") from None
        except TimeoutError:
            raise BodyTimeout(f"Less than {_SLOWEST_BYTES_S} bytes of the body came in a second.") from None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, bounded."""
        began, length = asyncio.get_running_loop().time(), 0
        async for chunk in super().stream():
            length += len(chunk)
            body.bounded(length, self._most)
            if self._within_s:
                self._patience.reschedule(began + self._within_s + length / _SLOWEST_BYTES_S)
            yield chunk

    async def _files(self) -> Sequence[Upload]:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _PLAIN:
            return [await self._plain()]
        if kind != _MULTIPART:
            raise Malformed(f"An import is {_MULTIPART}, with the files nodes and relationships, or {_PLAIN}.")
        try:
            form = await self.form(max_files=len(csv_rows.KINDS), max_fields=0)
        except HTTPException as error:
            raise Malformed(f"The form cannot be read: {error.detail}") from None
        found = [(name, file) for name, file in form.multi_items() if isinstance(file, UploadFile)]
        if not found or any(name not in csv_rows.KINDS for name, _ in found) or len(dict(found)) < len(found):
            await form.close()
            raise Malformed("The files of an import are nodes and relationships, one of each at most.")
        return [Upload(csv_rows.KINDS[name], file.file) for name, file in found]

    async def _plain(self) -> Upload:
        file = UploadFile(cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)))  # noqa: SIM115 - closed later
        try:
            async for chunk in self.stream():
                await file.write(chunk)
        except (SyncError, ClientDisconnect, asyncio.CancelledError):
            await file.close()
            raise
        return Upload(None, file.file)
