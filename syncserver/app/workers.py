"""Several processes behind one port. The parent starts them, starts again whoever dies, and has them end together.

Each worker holds the end of a leash: a pipe of which only the parent has the other end. When the parent lets go of it,
by its wish or by its death, every worker says goodbye to its guests and ends. Where that is safe they are forked from
a parent that has imported everything, and has neither threads nor a loop nor a connection; else they start afresh.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from syncserver.app import server, wiring
from syncserver.app.logging import configure
from syncserver.app.settings import Settings
from syncserver.core.errors import SetupError
from syncserver.engine import neighbours, tallies
from syncserver.engine.board import Board
from syncserver.engine.neighbours import Seat

log = logging.getLogger(__name__)
HOW = "fork" if sys.platform.startswith("linux") else "spawn"
"""macOS's own libraries do not bear being forked once they are in use."""

_BACKOFF_S = (0.1, 5.0)
_SETTLED_S = 5.0
_PATIENCE_S = 15.0
"""Past the waves of goodbye, an import and presence may take so long to end; then a worker is killed."""


@dataclass(slots=True)
class Worker:
    """One place behind the port, and the process that has it now. `due`: when the next one starts, while none has."""

    listening: socket.socket
    process: BaseProcess | None = None
    begun: float = 0
    due: float = 0
    pause_s: float = field(default=_BACKOFF_S[0])


class Workers:
    """All workers of one server. `url`: of the database, as the server. `listeners`: one for each worker."""

    def __init__(
        self, settings: Settings, url: str, secret: bytes, listeners: Sequence[socket.socket], *, how: str = HOW
    ) -> None:
        self._settings = settings
        self._url = url
        self._secret = secret
        self._context: Any = multiprocessing.get_context(how)
        self._forks = how == "fork"
        self._board = Board(len(listeners))
        self._pipes = neighbours.pipes(len(listeners))
        self._workers = [Worker(listening) for listening in listeners]
        self._leash, self._hand = self._context.Pipe(duplex=False)
        self._heard, self._ready = self._context.Pipe(duplex=False)

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until this process is asked to end; `ready` is called once, when all answer.

        Raises SetupError where one ends before that.
        """
        with _asked_to_end() as asked:
            try:
                for number in range(len(self._workers)):
                    self._start(number)
                if self._all_answer(asked):
                    ready()
                    self._watch(asked)
            finally:
                self._end()

    def _all_answer(self, asked: int) -> bool:
        """Wait until all do; False where this process was asked to end before."""
        silent = set(range(len(self._workers)))
        while silent:
            found = wait([asked, self._heard, *self._sentinels()])
            if asked in found:
                return False
            if self._heard in found:
                silent.discard(self._heard.recv_bytes()[0])
            elif found:
                raise SetupError("A worker ended before it could serve.", "What it logged says why.")
        return True

    def _watch(self, asked: int) -> None:
        while True:
            found = wait([asked, self._heard, *self._sentinels()], self._pause_s())
            if asked in found:
                return
            if self._heard in found:
                self._heard.recv_bytes()
            for number, worker in enumerate(self._workers):
                if worker.process is not None and worker.process.sentinel in found:
                    self._bury(number)
                if worker.process is None and worker.due <= time.monotonic():
                    self._start(number)

    def _bury(self, number: int) -> None:
        """Give back what it had counted, before another takes its place; one that keeps dying is waited for longer."""
        worker = self._workers[number]
        if worker.process is None:
            return
        worker.process.join()
        log.warning("a worker ended with status %s; another takes its place", worker.process.exitcode)
        worker.process = None
        tallies.vacate(self._board, number)
        lived_s = time.monotonic() - worker.begun
        worker.pause_s = _BACKOFF_S[0] if lived_s > _SETTLED_S else min(worker.pause_s * 2, _BACKOFF_S[1])
        worker.due = time.monotonic() + worker.pause_s

    def _start(self, number: int) -> None:
        worker = self._workers[number]
        shut = [self._hand, *{w.listening for w in self._workers} - {worker.listening}] if self._forks else []
        seat = Seat(self._board, self._pipes, number)
        worker.process = self._context.Process(
            target=_work,
            args=(self._settings, self._url, self._secret, seat, worker.listening, self._leash, self._ready, shut),
            name=f"syncserver worker {number}",
            daemon=True,
        )
        worker.begun = time.monotonic()
        worker.process.start()

    def _end(self) -> None:
        """Nobody new comes in; all that are here are sent away, and then the workers end."""
        for worker in self._workers:
            worker.listening.close()
        self._hand.close()
        until = time.monotonic() + self._settings.drain_s + _PATIENCE_S
        for process in [worker.process for worker in self._workers if worker.process is not None]:
            process.join(max(0, until - time.monotonic()))
            if process.is_alive():
                log.warning("a worker did not end in time, and was killed")
                process.kill()
                process.join()

    def _sentinels(self) -> list[int]:
        return [worker.process.sentinel for worker in self._workers if worker.process is not None]

    def _pause_s(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.process is None]
        return max(0, min(due) - time.monotonic()) if due else None


@contextlib.contextmanager
def _asked_to_end() -> Iterator[int]:
    """A file that can be read as soon as SIGTERM or SIGINT came; neither does anything else meanwhile."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield reading
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def _work(
    settings: Settings,
    url: str,
    secret: bytes,
    seat: Seat,
    listening: socket.socket,
    leash: Connection,
    ready: Connection,
    shut: Sequence[Connection | socket.socket],
) -> None:
    """Be a worker. `shut`: what a forked one has of the parent's, and must not hold open."""
    signal.set_wakeup_fd(-1)
    for one in shut:
        one.close()
    configure(settings.log_level)

    def started() -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is dead; the leash says so, too
            ready.send_bytes(bytes([seat.me]))

    application = wiring.application(wiring.Parts(settings, url, secret, seat))
    server.run(server.Server(application, settings, started=started), listening, leash.fileno())
