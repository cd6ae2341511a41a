"""The shared parts of the measurements: the server, a process for each run, medians, and limits."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from limits import LIMITS

HERE = Path(__file__).parent


class Check(NamedTuple):
    """A figure that must not be larger than `at_most`."""

    what: str
    value: float
    at_most: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.value <= self.at_most

    def __str__(self) -> str:
        word = "holds" if self.holds else "fails"
        return f"{word}: {self.what}: {self.value:.3g}{self.unit}, at most {self.at_most:.3g}{self.unit}"


class Table(NamedTuple):
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Plot(NamedTuple):
    """Lines over a logarithmic axis of counts, or bars if `bars` is true."""

    name: str
    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    bars: bool = False


@dataclass
class Report:
    """The results of one measurement."""

    title: str
    words: str
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    @property
    def letter(self) -> str:
        return self.title[1]

    def check(self, what: str, value: float, unit: str = "") -> None:
        """Compare a figure with its limit in `limits.py`."""
        self.checks.append(Check(what, value, LIMITS[self.letter][what], unit))


class Run(NamedTuple):
    """One client of `clients.py`, on one backend."""

    client: str
    backend: str = "asyncio"

    @property
    def label(self) -> str:
        return f"{self.client}, {self.backend}" if self.client in BOTH_BACKENDS else self.client


BOTH_BACKENDS = ("lutum", "raw httpx")
LUTUM = (Run("lutum"), Run("lutum", "trio"))


@contextmanager
def serving() -> Iterator[str]:
    """Start the server in a process of its own; yields its URL."""
    with subprocess.Popen(
        [sys.executable, HERE / "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run(which: Run, dialect: str, url: str, events: int, **options: int) -> dict[str, Any]:
    """Run one client in a process of its own; returns the dict of `clients.measure`."""
    warm = url[: url.index("/text/")] + "/text/100/50/0"
    more = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    more += ["--warm", warm]
    command = [
        HERE / "clients.py",
        which.client,
        dialect,
        url,
        str(events),
        "--backend",
        which.backend,
        *more,
    ]
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def python(code: str) -> str:
    """Run code in a fresh interpreter; returns its output. It always reads and writes bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return done.stdout


def interleaved(rounds: int, jobs: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Run every job once, then every job again, and so on. A disturbance of the machine affects all jobs.

    Returns the median of each figure over the rounds. Lists are merged.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            found[name].append(job())
    return {name: {key: _middle([one[key] for one in ran]) for key in ran[0]} for name, ran in found.items()}


def _middle(values: list[Any]) -> Any:
    if isinstance(values[0], list):
        return sorted(value for several in values for value in several)
    return statistics.median(values)


def by_hand(measure: Callable[[str, bool], Report]) -> None:
    """Run one measurement as a program."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    quick: bool = parser.parse_args().quick
    with serving() as url:
        report = measure(url, quick)
    print(report.title)
    for table in report.tables:
        print(f"\n{table.caption}")
        for row in (table.head, *table.rows):
            print("  " + "  ".join(cell.ljust(22) for cell in row))
    print()
    for check in report.checks:
        print(check)
