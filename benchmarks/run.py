"""Run every measurement and write RESULTS.md with its plots. Fails and names each figure above its limit.

nox -s bench                 installs the peers in a separate venv, and runs this program there
nox -s bench -- --quick      fewer events and rounds, under a minute; writes nothing
nox -s bench -- b_paced ...  only the named measurements; writes nothing
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from measure import HERE, Report, serving

MEASUREMENTS = (
    "a_burst",
    "b_paced",
    "c_concurrent",
    "d_history",
    "e_branches",
    "f_imports",
    "g_budget",
    "h_tiny_deltas",
    "i_leaving",
    "j_spans",
    "k_short_turns",
    "l_first_event",
    "m_shared",
    "n_store",
)
ROOM = 1.15
"""A limit that is not a promise is the measured figure plus 15 %."""

PACKAGES = (
    "lutum",
    "openai",
    "anthropic",
    "google-genai",
    "pydantic-ai-slim",
    "litellm",
    "langgraph-checkpoint-sqlite",
    "httpx",
    "httpx2",
    "aiohttp",
    "anyio",
    "trio",
    "msgspec",
)


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    load = f", load {os.getloadavg()[0]:.1f} when it began" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} CPUs{load}; {platform.system()}; {platform.python_implementation()}"


def markdown(reports: list[Report], began: str, where: str, took: float) -> str:
    lines = [
        "# Results",
        "",
        "Written by `nox -s bench`; [the performance page](../docs/performance.md) explains how to read it.",
        "",
        f"- {began}, in {took / 60:.0f} minutes",
        f"- {where} {platform.python_version()}",
        "- " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "",
        "## What must hold",
        "",
        "| | measured | at most | |",
        "|---|---|---|---|",
    ]
    for report in reports:
        letter = report.title.partition(" ")[0]
        lines += [
            f"| {letter} {check.what} | {check.value:.3g}{check.unit} | {check.at_most:.3g}{check.unit} |"
            f" {'holds' if check.holds else '**missed**'} |"
            for check in report.checks
        ]
    for report in reports:
        lines += ["", f"## {report.title}", "", report.words]
        for table in report.tables:
            lines += ["", f"**{table.caption}**", "", "| " + " | ".join(table.head) + " |"]
            lines.append("|---" + "|---:" * (len(table.head) - 1) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        for plot in report.plots:
            lines += ["", f"![{plot.title}](plots/{plot.name}.svg)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("only", nargs="*", metavar="measurement", help=", ".join(MEASUREMENTS))
    given = parser.parse_args()
    chosen = given.only or MEASUREMENTS
    began, where, start = datetime.datetime.now(datetime.UTC), machine(), time.monotonic()
    reports: list[Report] = []
    with serving() as url:
        for name in chosen:
            report = importlib.import_module(name).measure(url, given.quick)
            reports.append(report)
            print(f"{report.title} [{time.monotonic() - start:.0f} s]", flush=True)
            for check in report.checks:
                print(f"  {check}", flush=True)
    if not given.quick and not given.only:
        results = markdown(reports, f"{began:%Y-%m-%d %H:%M} UTC", where, time.monotonic() - start)
        (HERE / "RESULTS.md").write_text(results, encoding="utf-8")
        from plots import draw

        for report in reports:
            for plot in report.plots:
                draw(plot, HERE / "plots")
    for report in reports:
        for check in report.checks:
            if not given.quick and check.value > 0 and check.value * ROOM < check.at_most:
                print(f"limits.py could lower a limit to {check.value * ROOM:.3g}: ({report.letter}) {check}")
    missed = [f"{report.title}: {check}" for report in reports for check in report.checks if not check.holds]
    if missed:
        sys.exit("\n".join(["", f"Figures above their limits: {len(missed)}", *missed]))


if __name__ == "__main__":
    main()
