"""The README's first page, run as it stands: every command is read from the page; only the port may be another."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import environment, free_port

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60


def blocks() -> dict[str, str]:
    """The page's commands by the name behind `sh`."""
    found = re.findall(r"^```sh (\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


class Terminal:
    """A shell in the checkout; what it prints can be waited for."""

    def __init__(self, script: str, variables: dict[str, str]) -> None:
        port = variables["SYNCSERVER_PORT"]
        self._process = subprocess.Popen(
            ["bash", "-c", script.replace("127.0.0.1:8000", f"127.0.0.1:{port}")],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    def wait_for(self, pattern: str) -> str:
        """The first line that matches."""

        def matching() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._said:
            found = self._said.wait_for(matching, _PATIENCE_S)
        assert found, f"nothing like {pattern!r} in {self.lines}"
        return str(found)

    def done(self) -> list[str]:
        """Wait for the end; what was printed."""
        assert self._process.wait(_PATIENCE_S) == 0, self.lines
        self._reader.join()
        return self.lines

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(_PATIENCE_S)
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[[str], Terminal]]:
    """Opens a terminal that runs commands of the page."""
    port = str(free_port())
    variables = {
        **environment(),
        "SYNCSERVER_DATA_DIR": str(folder),
        "SYNCSERVER_PORT": port,
        "SYNCSERVER_URL": f"http://127.0.0.1:{port}",
        "PAGER": "cat",
    }
    opened: list[Terminal] = []

    def run(script: str) -> Terminal:
        opened.append(Terminal(script, variables))
        return opened[-1]

    yield run
    for each in reversed(opened):
        each.interrupt()


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.skipif(not shutil.which("curl"), reason="the page uses curl")
@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "activate").exists(), reason="the page uses the environment of make")
def test_the_first_page_does_what_it_says(terminal: Callable[[str], Terminal]):
    page = blocks()
    server = terminal(page["server"])
    server.wait_for("syncserver is ready on")
    phone = terminal(page["phone"])
    phone.wait_for("-- live")

    as_tablet = page["rest"].splitlines()[0] + "\n"
    terminal(page["rest"]).done()
    phone.wait_for(r"moby-dick .*percentage=0\.25 .*from tablet, \d+ ms")
    assert terminal(as_tablet + page["socket"]).done()[-1].startswith("applied")
    phone.wait_for(r"moby-dick .*percentage=0\.5 .*from tablet, \d+ ms")
    assert terminal(as_tablet + page["psql"]).done() == ["UPDATE 1"]
    phone.wait_for(r"moby-dick .*percentage=0\.75 .*from the database, \d+ ms")

    assert re.search(r"^superseded: .*percentage=0\.75", terminal(as_tablet + page["older"]).done()[-1])
    assert [line for line in terminal(as_tablet + page["ben"]).done() if not line.startswith("--")] == []

    server.interrupt()
    phone.wait_for("-- offline")
    seen = len(phone.lines)
    terminal(as_tablet + page["behind"]).done()
    terminal(page["again"]).wait_for("syncserver is ready on")
    phone.wait_for(r"moby-dick .*percentage=0\.8 .*from the database")
    phone.wait_for(r"emma .*percentage=0\.1 .*from the database")
    phone.interrupt()
    assert len([line for line in phone.lines[seen:] if " progress " in line]) == 2
