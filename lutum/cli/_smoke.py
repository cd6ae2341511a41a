"""`lutum smoke`: tests an endpoint case by case: which features work, are missing or are broken."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

import lutum
from lutum import trace
from lutum.abc import Adapter
from lutum.cli import _connect, _interrupt
from lutum.cli._report import report as report_error
from lutum.cli._smoke_cases import CASES, Bench, Verdict, blocks, failed_twice, judged, worth_repeating
from lutum.cli._smoke_profile import as_code, find_profile
from lutum.cli._terminal import BOLD, DIM, GREEN, RED, Terminal
from lutum.cli._version import installed_version
from lutum_clouds import FEATURES, CloudDoor
from lutum_openai import OpenAIChatAdapter

TOKENS = 20_000
"""The most tokens that one case may use. All cases together use a few thousand."""

# For one turn. The timeout is long, because a model on a slow machine writes two words a second.
_TIMEOUTS = lutum.Timeouts(total=180)

_STYLES: dict[Verdict, str] = {"works": GREEN, "lacking": BOLD, "broken": RED, "not run": DIM}


class Found(msgspec.Struct, frozen=True):
    """The result of a case."""

    case: str
    verdict: Verdict
    said: str
    seconds: float
    usage: lutum.Usage


class Report(msgspec.Struct, frozen=True, tag_field="lutum", tag="smoke"):
    """The results of all cases; `lutum smoke --json` prints it."""

    version: str
    provider: str
    model: str
    base_url: str
    cases: list[Found]
    profile: str | None = None
    door: str | None = None
    lacks: dict[str, str] = {}

    def code(self, *, strict: bool) -> int:
        """Return the exit code: 0 if nothing is broken and every case was run. With `strict`, nothing may be
        lacking either."""
        good = ("works",) if strict else ("works", "lacking")
        return 0 if all(found.verdict in good for found in self.cases) else 1


def run_smoke(
    endpoint: _connect.Endpoint,
    *,
    only: Sequence[str] = (),
    as_json: bool = False,
    dump: str | None = None,
    strict: bool = False,
) -> int:
    """Test the endpoint and return the exit code."""
    out = Terminal(sys.stderr if as_json else None)
    try:
        folder = None if dump is None else Path(dump)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        _connect.check(endpoint)
        out.title(f"lutum smoke: {endpoint}")
        out.gap()
        report = _interrupt.run(_tried, endpoint, only or list(CASES), out, folder)
    except (lutum.LutumError, OSError) as error:
        report_error("smoke", error)
        return 1
    if as_json:
        # In ASCII, so that text from an endpoint cannot steer a terminal.
        print(json.dumps(msgspec.to_builtins(report), indent=2))
    code = report.code(strict=strict)
    counts = [(v, sum(found.verdict == v for found in report.cases)) for v in _STYLES]
    out.gap()
    out.line(", ".join(f"{count} {verdict}" for verdict, count in counts if count) + ".")
    if folder is not None:
        out.line(f"{folder} has a trace of each case, with what was sent and received: `lutum trace FILE`.")
    return code


async def _tried(
    endpoint: _connect.Endpoint, cases: Sequence[str], out: Terminal, folder: Path | None
) -> Report:
    found, profile = list[Found](), None
    stopped = ""
    async with _connect.connected(endpoint, pace=0) as adapter:
        for case in cases:
            if stopped:
                one = Found(case, "not run", stopped, 0.0, lutum.Usage())
            else:
                one = await _case(case, endpoint.provider, adapter, folder)
                if blocks(case, one.verdict):
                    stopped = f"skipped, because {case} did not work"
            found.append(one)
            _print(out, one)
        if isinstance(adapter, OpenAIChatAdapter) and not stopped and list(cases) == list(CASES):
            profile = await _profile(adapter, out)
        door: CloudDoor | None = getattr(adapter, "door", None)
        if door is not None and door.lacks:
            _print_door(out, door)
    return Report(
        installed_version(),
        endpoint.provider,
        endpoint.model,
        endpoint.base_url,
        found,
        profile,
        None if door is None else door.title,
        {} if door is None else {FEATURES[name]: source for name, source in door.lacks.items()},
    )


def _print_door(out: Terminal, door: CloudDoor) -> None:
    """Print the features that the door is known to lack. Trying them would only cost money."""
    out.gap()
    out.line(f"{door.title} lacks these features. lutum refuses them before sending:", BOLD)
    for name, source in door.lacks.items():
        out.paragraph(f"{FEATURES[name]} ({source})", "", indent="  ")


async def _profile(adapter: OpenAIChatAdapter, out: Terminal) -> str | None:
    """Find the profile that fits the host, and print it as code that can be pasted."""
    budget = lutum.Budget(tokens=TOKENS)
    try:
        profile, asked = await find_profile(adapter, budget)
    except lutum.LutumError as error:
        out.line("profile: not found", DIM)
        out.paragraph(str(error), DIM, indent=" " * 11)
        return None
    code = as_code(profile)
    out.gap()
    used = f"{asked} requests and {budget.spent.total_tokens:,} tokens"
    out.line(f"The profile that fits, found with {used}:", BOLD)
    out.paragraph(code, "", indent="  ")
    return code


async def _case(case: str, provider: str, adapter: Adapter, folder: Path | None) -> Found:
    llm = lutum.Lutum(adapter, budget=lutum.Budget(tokens=TOKENS), timeout=_TIMEOUTS)
    began = time.monotonic()
    kept = None if folder is None else folder / f"{case}.jsonl"
    async with trace.capture(raw=kept is not None, content=kept is not None, to=kept):
        verdict, said = await _verdict(case, Bench(llm, provider))
    return Found(case, verdict, said, round(time.monotonic() - began, 3), llm.budget.spent)


async def _verdict(case: str, bench: Bench) -> tuple[Verdict, str]:
    before: Exception | None = None
    while True:
        try:
            return "works", await CASES[case](bench)
        except Exception as error:  # after any error, the other cases are still tried
            if not worth_repeating(case, error):
                return judged(case, error)
            if before is not None:
                return failed_twice(error)
            before = error


def _print(out: Terminal, found: Found) -> None:
    label = f"{found.verdict:8} {found.case:11}"
    used = f"{found.seconds:7.1f} s {found.usage.total_tokens:6,} tokens"
    out.line(f"{label}{used}" if found.seconds else label, _STYLES[found.verdict])
    out.paragraph(found.said, DIM, indent=" " * 11)
