"""How much of it is measured: shortly (a few minutes), or in full."""

import resource
from dataclasses import dataclass

_SPARE_FILES = 400
_MOST_FILES = 20_000


@dataclass(frozen=True)
class Scale:
    """`turns` of `seconds` each; `most` sockets in one process. `full`: everything, else what matters most."""

    full: bool
    turns: int
    seconds: float
    most: int

    def sockets(self, wanted: int) -> int:
        """As many as were wanted, or as many as this machine allows a process."""
        return min(wanted, self.most)


def scale(*, full: bool, turns: int, seconds: float) -> Scale:
    """Raise this process's limit of files, which its children inherit, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if files > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return Scale(full, turns, seconds, files - _SPARE_FILES)
