"""The line that moves while a run goes on.

Not by tqdm or rich: either would be a dependency for one line, and tqdm starts a thread that watches
the clock, which no test under virtual time may have.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import Self, final

from lutum._values.results import Usage
from lutum.eval._results import TrialResult
from lutum.eval._table import money


@final
class Progress:
    """Shown on stderr: when told so, or by itself where that is a terminal.

    `total` is how many trials there will be, where that is known.
    """

    def __init__(self, show: bool | None, total: int | None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._total = "" if total is None else f" of {total:,}"
        self._done = self._failed = self._scored = self._width = 0
        self._sum = 0.0
        self._usage = Usage()

    def count(self, results: Iterable[TrialResult]) -> None:
        """Count trials that an earlier run finished."""
        for result in results:
            self._count(result)

    def add(self, result: TrialResult) -> None:
        """Count a finished trial, and show it."""
        self._count(result)
        if self._show:
            score = f"{self._sum / self._scored:.3f}" if self._scored else "-"
            done = f"{self._done:,}{self._total} trials"
            line = f"{done}, score {score}, {self._failed} failed, {money(self._usage)}"
            line = line[: shutil.get_terminal_size().columns - 1]  # one that breaks cannot be written over
            print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def _count(self, result: TrialResult) -> None:
        self._done += 1
        self._failed += result.failure is not None
        self._usage += result.usage + result.judge_usage
        if result.score is not None:
            self._scored += 1
            self._sum += result.score

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._width:
            print(file=sys.stderr)
