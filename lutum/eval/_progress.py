"""The progress of a run: a bar on a terminal, else one line a minute.

It does not use tqdm or rich. Either would be a dependency for one line, and tqdm starts a thread that reads
the clock, which breaks tests under virtual time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import Self, final

import anyio

from lutum._values.results import Usage
from lutum.eval._results import TrialResult
from lutum.eval._table import duration, figure, money, spent

LINE_EVERY = 60.0
"""Seconds between two lines if stderr is not a terminal."""

BAR_EVERY = 1.0
"""Seconds after which the bar is drawn again even if no trial has ended, because its times have changed."""

BAR = 12
"""The width of the bar in cells."""


@final
class Progress:
    """Shows progress on stderr: a bar if that is a terminal, else one line a minute.

    Args:
      show: True for the bar always, False for nothing, None for a bar on a terminal and lines elsewhere.
      total: the number of trials, if it is known.
    """

    def __init__(self, show: bool | None, total: int | None) -> None:
        terminal = sys.stderr.isatty()
        self._bar = terminal if show is None else show
        self._lines = show is None and not terminal
        self._total = total
        self._done = self._failed = self._scored = self._width = 0
        self._before = 0
        self._sum = 0.0
        self._usage = Usage()
        self._began: float | None = None

    def count(self, results: Iterable[TrialResult]) -> None:
        """Count trials that were finished in an earlier run."""
        for result in results:
            self._count(result, 1)
            self._usage += result.usage + result.judge_usage + result.earlier
        self._before = self._done

    def add(self, result: TrialResult, known: TrialResult | None = None) -> None:
        """Count a finished trial, instead of its earlier result if there is one, and show it."""
        if known is not None:
            self._count(known, -1)
            self._before = min(self._before, self._done)
        self._count(result, 1)
        if known is not None and known.earlier == result.earlier:  # scored again: only the judge ran
            self._usage += _less(result.judge_usage, known.judge_usage)
        else:
            self._usage += result.usage + result.judge_usage
        if self._bar:
            self._draw()

    async def tick(self) -> None:
        """Update the display at an interval, until cancelled."""
        self._began = anyio.current_time()
        while self._bar or self._lines:
            await anyio.sleep(BAR_EVERY if self._bar else LINE_EVERY)
            if self._bar:
                self._draw()
            else:
                print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return the progress in words: trials, score, rate, time left and cost."""
        of = "" if self._total is None else f" of {self._total:,}"
        return f"{self._done:,}{of} trials, {', '.join(self._words(money(self._usage)))}"

    def _words(self, cost: str) -> list[str]:
        score = f"{self._sum / self._scored:.3f}" if self._scored else "-"
        words = [f"score {score}", f"{self._failed} failed"]
        if (rate := self._rate()) > 0:
            words.append(f"{figure(rate)}/s" if rate >= 1 else f"{figure(60 * rate)}/min")
            if self._total is not None and self._total > self._done:
                words.append(f"{duration((self._total - self._done) / rate)} left")
        return [*words, cost]

    def _rate(self) -> float:
        """Return the trials per second of this run."""
        if self._began is None:
            return 0.0
        passed = anyio.current_time() - self._began
        return (self._done - self._before) / passed if passed > 0 else 0.0

    def _draw(self) -> None:
        columns = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be overwritten
        line = self.line()
        if self._total:
            done = min(self._done, self._total)
            full = BAR * done // self._total
            bar = "#" * full + "." * (BAR - full)
            head = f"[{bar}] {100 * done // self._total}% {self._done:,}/{self._total:,}"
            line = ", ".join([head, *self._words(spent(self._usage))])
        line = line[:columns]
        print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(line)

    def _count(self, result: TrialResult, sign: int) -> None:
        self._done += sign
        self._failed += sign * (result.failure is not None)
        if result.score is not None:
            self._scored += sign
            self._sum += sign * result.score

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._width:
            print(file=sys.stderr)


def _less(now: Usage, before: Usage) -> Usage:
    cost = None
    if now.cost_usd is not None:
        cost = now.cost_usd - (before.cost_usd or 0)
    return Usage(
        now.input_tokens - before.input_tokens,
        now.output_tokens - before.output_tokens,
        cost_usd=cost,
        known=now.known,
    )
