"""Starts a program by forking a process that has imported the server already: a start without its two seconds.

What runs is what `python -m` would run, with arguments, environment and standard streams of its own; only the imports
were done before. Each start is asked for over one socket, with the streams and a line of its own for what is said about
it. For each, the forge forks a keeper, which forks the program, waits for it and tells how it ended. The forge ends
when its socket does. It has neither threads nor a loop, as a process that forks must not.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_STREAMS = 3
_ROOT = str(Path(__file__).resolve().parents[1])


class Forged:
    """A program that was started; the part of subprocess.Popen that tests need."""

    def __init__(self, line: socket.socket) -> None:
        self._news = line.makefile("r")
        line.close()
        self.pid = int(self._news.readline())
        self._ended: int | None = None
        self._keeping = threading.Thread(target=self._keep, daemon=True)
        self._keeping.start()

    def _keep(self) -> None:
        with self._news:
            self._ended = os.waitstatus_to_exitcode(int(self._news.readline()))

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self._ended is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, where it has not ended."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status, as subprocess gives it; subprocess.TimeoutExpired after this time."""
        self._keeping.join(timeout_s)
        if self._ended is None:
            raise subprocess.TimeoutExpired(["syncserver"], timeout_s or 0)
        return self._ended


def start(
    module: str, arguments: tuple[str, ...], environment: Mapping[str, str], streams: tuple[int, int, int]
) -> Forged:
    """Start `python -m` this module; `streams` are its standard input, output and error, as file descriptors."""
    ours, line = socket.socketpair()
    with line:
        with _asking:
            socket.send_fds(_forge(), [b"."], [line.fileno(), *streams])
        order = {
            "module": module,
            "arguments": arguments,
            "environment": dict(environment),
            "folder": str(Path.cwd()),
        }
        ours.sendall(json.dumps(order).encode() + b"\n")
    return Forged(ours)


_asking = threading.Lock()


@cache
def _forge() -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the run, which ends what it started in order
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _environment() -> dict[str, str]:
    """Of the forge itself: whatever could change what is imported. Each program gets its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYNCSERVER_")}


# -- the forge's own side ------------------------------------------------------


def _serve(asked: socket.socket) -> str:
    """Take orders until the socket ends; return in the process of a program: the module that it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave nothing behind
    while True:
        came, files, _, _ = socket.recv_fds(asked, 1, 1 + _STREAMS)
        if not came:
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _keep(socket.socket(fileno=files[0]), files[1:])
        for file in files:
            os.close(file)


def _keep(line: socket.socket, streams: list[int]) -> str:
    """Fork the program, and tell of it to the end of the process; return as `_serve` does in the program."""
    with line.makefile("r") as said:
        order = json.loads(said.readline())
    child = os.fork()
    if child == 0:
        line.close()
        return _become(order, streams)
    for stream in (*streams, *range(_STREAMS)):
        os.close(stream)
    line.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    line.sendall(f"{status}\n".encode())
    os._exit(0)


def _become(order: dict[str, Any], streams: list[int]) -> str:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"], *order["arguments"]]
    return str(order["module"])


def _main() -> None:
    sys.path[0] = _ROOT
    import syncserver.app.cli  # noqa: F401, PLC0415 - what takes its time, and only here

    gc.collect()
    gc.freeze()
    module = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
