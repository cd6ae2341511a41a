"""(e) Branches of a long session: the time and the bytes of a fork and of one more item; dump and load."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable

from measure import Report, Table, by_hand

import lutum
from lutum.testing import ScriptedAdapter

BRANCHES = 10_000
TURNS = 1_000


def long_session() -> lutum.Session:
    session = lutum.Session(lutum.Lutum(ScriptedAdapter([])))
    for number in range(TURNS):
        session.push_user(f"How deep is the river at mile {number}?")
        session.push_assistant(f"It is {number} feet deep there, give or take a few. " * 10)
    return session


def fork_all(session: lutum.Session) -> tuple[list[lutum.Session], float]:
    """Return the branches, and the microseconds for each."""
    gc.collect()
    before = time.process_time()
    branches = [session.fork() for _ in range(BRANCHES)]
    return branches, (time.process_time() - before) / BRANCHES * 1e6


def bytes_each(make: Callable[[], object]) -> float:
    """Return the bytes of each branch that `make` makes, without the entry in its list."""
    gc.collect()
    tracemalloc.start()
    made = make()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made is not None
    return size / BRANCHES - 8


def measure(url: str, quick: bool) -> Report:
    rounds = 3 if quick else 15
    session = long_session()
    forked = statistics.median(fork_all(session)[1] for _ in range(rounds))
    size = bytes_each(lambda: [session.fork() for _ in range(BRANCHES)])

    item = lutum.Message("user", (lutum.Text("And at mile 2,000?"),))
    transcript = session.transcript
    grown: list[float] = []
    for _ in range(rounds):
        gc.collect()
        before = time.process_time()
        grew = [transcript.append(item) for _ in range(BRANCHES)]
        grown.append((time.process_time() - before) / BRANCHES * 1e6)
        del grew
    grown_size = bytes_each(lambda: [transcript.append(item) for _ in range(BRANCHES)])

    dumped, loaded = [], []
    for _ in range(rounds):
        before = time.process_time()
        data = transcript.dump()
        dumped.append(time.process_time() - before)
        before = time.process_time()
        assert lutum.Transcript.load(data) == transcript
        loaded.append(time.process_time() - before)
    megabytes = len(data) / 1e6

    report = Report(
        "(e) Branches",
        f"{BRANCHES:,} branches of a session of {TURNS:,} turns ({megabytes:.2f} MB dumped).",
    )
    report.tables.append(
        Table(
            "Each branch",
            ("", "us", "bytes"),
            (
                ("fork", f"{forked:.2f}", f"{size:.0f}"),
                ("one item more", f"{statistics.median(grown):.2f}", f"{grown_size:.0f}"),
            ),
        )
    )
    report.tables.append(
        Table(
            "The transcript",
            ("", "ms", "MB/s"),
            tuple(
                (name, f"{took * 1000:.1f}", f"{megabytes / took:.0f}")
                for name, took in (("dump", statistics.median(dumped)), ("load", statistics.median(loaded)))
            ),
        )
    )
    report.check("time of a fork", forked, " us")
    report.check("size of a fork", size, " bytes")
    return report


if __name__ == "__main__":
    by_hand(measure)
