"""PostgreSQL's programs as they are, but with syncs that take longer: a library is preloaded into them (Linux)."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncserver.storage import embedded
from tests.bench import generator


@contextmanager
def binaries(slower_us: int) -> Iterator[Path | None]:
    """A folder of programs whose syncs take so much longer, as long as this is open; None where that cannot be had."""
    if sys.platform != "linux":
        yield None
        return
    real = embedded.find_binaries().folder
    folder = Path(tempfile.mkdtemp(prefix="syncserver-bench-"))
    try:
        folder.chmod(0o755)  # as root, the database runs as another user
        library = Path(shutil.copy(generator.built("slow_disk.so"), folder / "slow_disk.so"))
        library.chmod(0o755)
        for name in ("postgres", "initdb", "psql"):
            _wrap(folder / name, real / name, library if name == "postgres" else None, slower_us)
        yield folder if _runs(folder / "postgres") else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wrap(wrapper: Path, program: Path, library: Path | None, slower_us: int) -> None:
    preload = f"LD_PRELOAD={shlex.quote(str(library))} SLOW_DISK_US={slower_us} " if library else ""
    wrapper.write_text(f'#!/bin/sh\n{preload}exec {shlex.quote(str(program))} "$@"\n')
    wrapper.chmod(0o755)


def _runs(program: Path) -> bool:
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
