"""A process that has imported the server once and forks it for each start, so that a start costs a tenth of a second.

Orders come as JSON lines on standard input: `{"start": {..}}`, `{"kill": true}`; news goes to standard output:
`{"ready": pid}`, `{"ended": pid}`. It has neither threads nor a loop, as a process that forks must not. It ends, and
its server with it, when its input does.
"""

import asyncio
import gc
import json
import os
import selectors
import signal
from typing import Any

from syncserver.app import server as app_server
from syncserver.app import wiring
from syncserver.app.logging import configure
from syncserver.app.settings import Settings
from tests.bench.watched import counting
from tests.faults.kills import Kill, planned
from tests.faults.mutants import MUTANTS
from tests.harness import SECRET, UNLIMITED

_IN, _OUT = 0, 1


class Zygote:
    """At most one server at a time."""

    def __init__(self) -> None:
        self._watched = selectors.DefaultSelector()
        self._child: int | None = None
        self._ready: int | None = None
        self._deaths, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._orders = b""

    def run(self) -> None:
        """Obey until the input ends."""
        self._watched.register(_IN, selectors.EVENT_READ)
        self._watched.register(self._deaths, selectors.EVENT_READ)
        try:
            while self._turn():
                pass
        finally:
            self._kill()

    def _turn(self) -> bool:
        for key, _ in self._watched.select():
            came = os.read(key.fd, 65_536)
            if key.fd == _IN:
                if not came:
                    return False
                self._obey(came)
            elif key.fd == self._ready:
                self._forget_ready()
                if came:
                    _say({"ready": self._child})
            elif self._child is not None and os.waitpid(self._child, os.WNOHANG)[0]:
                self._ended()
        return True

    def _obey(self, came: bytes) -> None:
        *orders, self._orders = (self._orders + came).split(b"\n")
        for order in map(json.loads, orders):
            if "start" in order:
                self._start(order["start"])
            else:
                self._kill()

    def _start(self, order: dict[str, Any]) -> None:
        self._ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _become_server(order, told)
            finally:
                os._exit(1)
        os.close(told)
        self._child = child
        self._watched.register(self._ready, selectors.EVENT_READ)

    def _kill(self) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._ended()

    def _ended(self) -> None:
        self._forget_ready()
        ended, self._child = self._child, None
        _say({"ended": ended})

    def _forget_ready(self) -> None:
        if self._ready is not None:
            self._watched.unregister(self._ready)
            os.close(self._ready)
            self._ready = None


def _become_server(order: dict[str, Any], told: int) -> None:
    """The server as `syncserver serve` runs it, over a database that is there; with a fault, where one is named."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, _IN)
    os.dup2(nothing, _OUT)
    configure(order["settings"].get("log_level", "error"))
    settings = Settings(port=order["port"], **{**UNLIMITED, **order["settings"]})
    if order["kill"]:
        planned(Kill(**order["kill"]))
    parts = wiring.Parts(settings, order["url"], SECRET)
    if order["mutant"]:
        MUTANTS[order["mutant"]](parts)

    def started() -> None:
        os.write(told, b".")

    with app_server.bound(settings.host, settings.port) as listening:
        serving = counting(open(order["counts"], "a")) if order["counts"] else app_server.Server  # noqa: PTH123, SIM115 - to the end
        server = serving(wiring.application(parts), settings, started=started)
        asyncio.run(server.serve(sockets=[listening]))


def _say(news: dict[str, int | None]) -> None:
    os.write(_OUT, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    Zygote().run()
