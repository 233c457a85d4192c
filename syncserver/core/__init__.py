"""Pure values and rules: no I/O, no clock reads, no asyncio."""
