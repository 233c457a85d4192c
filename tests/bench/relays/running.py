"""The servers that relay from memory, ours and the others, each as a process of its own on a core of its own."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.bench import cores, generator, product, scripts
from tests.bench.figures import WrongError
from tests.bench.relays.ours import OWNER
from tests.harness import free_port

OURS, CEILING, PLAIN = "syncserver", "C, one send() each", "Starlette send_text"
UWS, WS, SOCKETIO = "uWebSockets.js", "node ws", "socket.io"
CORE, GENERATOR_CORE = 0, 1
_HERE = Path(__file__).parent
_BASELINES = _HERE.parent / "baselines"
_INSTALL_S = 300


@dataclass(frozen=True)
class Running:
    """One that runs: where, and what a subscriber of each of these channels says."""

    pid: int
    port: int
    control: Path
    script: Callable[[Sequence[int]], Iterable[str]]
    speaks_ours: bool = False


Starting = Callable[[], AbstractContextManager[Running]]


def _plain_script(channels: Sequence[int]) -> Iterable[str]:
    return (f"/\t-\t{channel}\t>sub {channel}\t?ready" for channel in channels)


def _socketio_script(channels: Sequence[int]) -> Iterable[str]:
    path = "/socket.io/?EIO=4&transport=websocket"
    return (f'{path}\t-\t{channel}\t?0{{\t>40\t?40\t>42["sub",{channel}]\t?ready' for channel in channels)


@contextmanager
def ours() -> Iterator[Running]:
    """The product's own server."""
    with tempfile.TemporaryDirectory(prefix="syncserver-bench-") as folder:
        control = Path(folder) / "control"
        program = (str(_HERE / "ours.py"), str(control), "serve")
        with product.running(program, flags=("--sweep-s", "3600"), core=CORE) as server:

            def script(channels: Sequence[int]) -> Iterable[str]:
                names = {channel: server.token(OWNER.format(channel)) for channel in channels}
                for number, channel in enumerate(channels):
                    yield scripts.device(names[channel], channel, f"device-{number}")

            yield Running(server.pid, server.port, control, script, speaks_ours=True)


@contextmanager
def other(
    command: Sequence[str | Path], script: Callable[[Sequence[int]], Iterable[str]] = _plain_script
) -> Iterator[Running]:
    """One that takes PORT CONTROL, and says `ready` when it serves."""
    with tempfile.TemporaryDirectory(prefix="syncserver-bench-") as folder:
        control, port = Path(folder) / "control", free_port()
        process = subprocess.Popen([*command, str(port), control], stdout=subprocess.PIPE, text=True)
        cores.pin(process.pid, CORE)
        try:
            if not process.stdout or process.stdout.readline().strip() != "ready":
                raise WrongError(f"{command[-1]} did not start")
            yield Running(process.pid, port, control, script)
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@cache
def node_modules() -> Path | None:
    """Where the packages of the node baselines are, installed if they were not; None without node and npm."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    place = generator.CACHE / "node"
    lock = (_BASELINES / "package-lock.json").read_text()
    installed = place / "installed.json"
    if not installed.exists() or installed.read_text() != lock:
        place.mkdir(parents=True, exist_ok=True)
        for file in _BASELINES.iterdir():
            shutil.copy(file, place)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        if subprocess.run(command, cwd=place, timeout=_INSTALL_S, check=False).returncode != 0:
            print("the node baselines could not be installed, and are left out", file=sys.stderr)
            return None
        installed.write_text(lock)
    for file in _BASELINES.glob("*.js"):
        shutil.copy(file, place)
    return place


_PACKAGES = {UWS: "@trufflesuite/uws-js-unofficial", WS: "ws", SOCKETIO: "socket.io"}


def _loads(place: Path, package: str) -> bool:
    """Whether this node can run it: uWebSockets.js comes compiled, for some versions of node."""
    command = ["node", "-e", f"require({package!r})"]
    return subprocess.run(command, cwd=place, capture_output=True, check=False).returncode == 0


@cache
def named() -> dict[str, Starting]:
    """All that can run here, by name."""
    found: dict[str, Starting] = {
        OURS: ours,
        CEILING: partial(other, [generator.built("ceiling")]),
        PLAIN: partial(other, [sys.executable, _HERE / "plain.py"]),
    }
    if (place := node_modules()) is not None:
        node = {
            UWS: partial(other, ["node", place / "uws.js"]),
            WS: partial(other, ["node", place / "ws.js"]),
            SOCKETIO: partial(other, ["node", place / "socketio.js"], _socketio_script),
        }
        found |= {name: start for name, start in node.items() if _loads(place, _PACKAGES[name])}
    return found
