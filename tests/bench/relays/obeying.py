"""The control socket of a relay in Python: lines `FIRST CHANNELS EVENTS` ask for events, on each channel in turn."""

import asyncio
from collections.abc import Callable


async def obey(path: str, publish: Callable[[int], None]) -> asyncio.Server:
    """Listen at `path`, and call `publish(channel)` for each event, without waiting between those of a burst."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            first, channels, events = map(int, line.split())
            for number in range(events):
                publish((first + number) % channels)
        writer.close()

    return await asyncio.start_unix_server(hear, path)
