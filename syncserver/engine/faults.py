"""What is wrong in an import, as it is found: so many of it are told."""

from typing import NoReturn

from syncserver.core.csv_rows import Problem


class Enough(Exception):
    """No use in reading on."""


class Faults:
    """`most`: so many are told. `problems`: those that were; `more`: there are others."""

    def __init__(self, most: int) -> None:
        self.problems: list[Problem] = []
        self.more = False
        self._most = most

    def add(self, *problems: Problem) -> None:
        """These are wrong; raises Enough where there is no room for them."""
        for problem in problems:
            if len(self.problems) == self._most:
                self.more = True
                raise Enough
            self.problems.append(problem)

    def stop(self, problem: Problem) -> NoReturn:
        """That is wrong, and nothing is looked at after it."""
        self.add(problem)
        raise Enough

    def sorted(self) -> list[Problem]:
        """All of them, in the order of the files."""
        return sorted(self.problems, key=lambda problem: (problem.file, problem.line))
