"""`syncserver serve` as it is, in a process that takes the time of each validation: JSON into the file named first.

`read`: is it a mutation at all; `validated`: its fields, checked and completed. Written when the server ends.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import orjson

if not __package__:  # run as a program: `tests` and `syncserver` are found from the checkout's root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from syncserver.app import cli
from syncserver.engine import decide, push

P = ParamSpec("P")
T = TypeVar("T")
Taken = tuple[str, float, float]


def main(path: str, *arguments: str) -> None:
    """Run the command line with these arguments."""
    taken: list[Taken] = []
    push.read = timed("read", push.read, taken)  # type: ignore[attr-defined] # where the write door calls it
    decide.validated = timed("validated", decide.validated, taken)
    try:
        cli.main(arguments)
    finally:
        Path(path).write_bytes(orjson.dumps(taken))


def timed(name: str, work: Callable[P, T], taken: list[Taken]) -> Callable[P, T]:
    """The same, with each call noted: name, monotonic seconds at its end, milliseconds that it took."""

    def run(*arguments: P.args, **named: P.kwargs) -> T:
        began = time.perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            taken.append((name, time.monotonic(), 1000 * (time.perf_counter() - began)))

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
