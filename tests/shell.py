"""The commands of a page, run as they stand: all of them in one shell, against a real server on another port."""

import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.harness import Program, environment

_PATIENCE_S = 90
_END = "--- the end of"
_ASKED = "--- asked"
_CURLRC = f'silent\nshow-error\nwrite-out = "%{{stderr}}\\n{_ASKED} %{{method}} %{{url_effective}} %{{http_code}}\\n"\n'


@dataclass(frozen=True)
class Asked:
    """One request that a page made with curl."""

    method: str
    path: str
    status: int


@dataclass(frozen=True)
class Ran:
    """What each block printed, by its name, and every request, in order."""

    said: dict[str, str]
    asked: list[Asked]


def blocks(page: str) -> dict[str, str]:
    """A page's commands by the name behind `sh`, in order."""
    found = re.findall(r"^ *```sh *([\w-]*)\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    assert all(name for name, _ in found), "every block of commands needs a name behind `sh`"
    assert len({name for name, _ in found}) == len(found), "two blocks have one name"
    return {name: textwrap.dedent(text) for name, text in found}


def left_out(every_asked: list[Asked], operations: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these operations (method and path) no request was for; a path is whose letters match most closely."""
    closest = sorted(operations, key=lambda operation: "{" in operation[1])
    shown = set()
    for asked in every_asked:
        for method, path in closest:
            if asked.method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked.path):
                shown.add((method, path))
                break
    return operations - shown


def run(page: str, program: Program, folder: Path) -> Ran:
    """Run a page's blocks in `folder`, up to the first command that fails; `program` has to be started."""
    assert shutil.which("curl"), "the pages' commands use curl: install it (on Debian: apt-get install curl)"
    (folder / ".curlrc").write_text(_CURLRC)
    script = "".join(f"{text}printf '\\n%s %s\\n' '{_END}' {name}\n" for name, text in blocks(page).items())
    variables = {
        **environment(),
        "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}",
        "CURL_HOME": str(folder),
        "SYNCSERVER_DATA_DIR": str(program.folder),
        "PAGER": "cat",
    }
    done = subprocess.run(
        ["bash", "-c", "set -eu\n" + script.replace("127.0.0.1:8000", f"127.0.0.1:{program.port}")],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.split(rf"^{_END} ([\w-]+)\n", done.stdout, flags=re.MULTILINE)
    lines = re.findall(rf"^{_ASKED} (\S+) (\S+) (\d+)$", done.stderr, re.MULTILINE)
    return Ran(
        dict(zip(printed[1::2], printed[0::2], strict=False)),
        [Asked(method, urlsplit(url).path, int(status)) for method, url, status in lines],
    )
