"""UUIDs of version 7: random, and sorted by the time at which they were made (RFC 9562)."""

import os
import time
from uuid import UUID


def uuid7() -> str:
    """A new UUIDv7 as text: 48 bits of Unix time in milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    number = (milliseconds & ((1 << 48) - 1)) << 80 | random_bits
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=number))
