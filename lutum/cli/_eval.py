"""`lutum eval RUN`: shows a run as a table, one trial, or two runs side by side, or writes a page."""

from __future__ import annotations

import fnmatch
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lutum._text import cells, printable
from lutum._values.errors import BadValue
from lutum.cli._report import report
from lutum.eval import GridReport, RunReport, TrialResult, compare, load_grid, load_run


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """The arguments of `lutum eval`."""

    run: str
    arm: str | None = None
    case: str | None = None
    tag: str | None = None
    errors: bool = False
    failed: bool = False
    below: float | None = None
    score: str | None = None
    trial: str | None = None
    compare: str | None = None
    html: str | None = None
    json: bool = False


def run_eval(given: EvalCommand) -> int:
    """Print or write the requested view; return 1 if a file cannot be read or written."""
    try:
        loaded = _load(Path(given.run))
        if given.html is not None:
            whole = _arm(loaded, given) if given.arm or isinstance(loaded, RunReport) else loaded
            whole.to_html(given.html, title=Path(given.run).resolve().name)
            return 0
        if isinstance(loaded, GridReport) and given.arm is None:
            if given.compare is not None or given.trial is not None or given.json:
                names = ", ".join(loaded.arms)
                raise BadValue("--arm", f"is missing: {given.run} is a grid; its arms are {names}")
            _show(str(loaded).split("\n"))
            return 0
        found = _scored(_arm(loaded, given), given)
        if given.trial is not None:
            _show(_trial_lines(found, given.trial))
        elif given.compare is not None:
            _show(str(compare(found, _scored(_other(loaded, given), given))).split("\n"))
        elif given.json:
            for result in _selected(found, given):
                # ASCII only, because an answer may contain characters that steer a terminal.
                print(json.dumps(msgspec.to_builtins(result)))
        else:
            _show([*str(found).split("\n"), "", *_list_lines(found, list(_selected(found, given)))])
    except (OSError, BadValue, LookupError) as exc:
        report("eval", exc)
        return 1
    return 0


def _load(path: Path) -> RunReport | GridReport:
    if (path / "run.json").exists() or not any(path.glob("*/run.json")):
        return load_run(path)
    return load_grid(path)


def _arm(loaded: RunReport | GridReport, given: EvalCommand) -> RunReport:
    if isinstance(loaded, RunReport):
        if given.arm is not None:
            raise BadValue("--arm", f"{given.run} is a single run, which has no arms; leave --arm out")
        return loaded
    return _named_arm(loaded, given.arm or "")


def _named_arm(grid: GridReport, name: str) -> RunReport:
    if name not in grid.arms:
        raise BadValue("--arm", f"{name!r} is not one of {', '.join(grid.arms)}")
    return grid.arms[name]


def _other(loaded: RunReport | GridReport, given: EvalCommand) -> RunReport:
    """Return the run to compare with: another arm of the grid, or the run in another folder."""
    assert given.compare is not None
    if isinstance(loaded, GridReport) and given.compare in loaded.arms:
        return loaded.arms[given.compare]
    return load_run(Path(given.compare))


def _scored(found: RunReport, given: EvalCommand) -> RunReport:
    if given.score is None:
        return found
    if given.score not in found.named:
        names = ", ".join(found.named)
        known = f"its named scores are {names}" if names else "its score has no name; leave --score out"
        raise BadValue("--score", f"{given.score!r} is not a score of this run; {known}")
    return found.named[given.score]


def _selected(found: RunReport, given: EvalCommand) -> Iterator[TrialResult]:
    for result in found.results:
        if given.case is not None and not fnmatch.fnmatchcase(result.case, given.case):
            continue
        if given.tag is not None and given.tag not in result.tags:
            continue
        if given.errors and not result.errored:
            continue
        if given.failed and (result.score is None or result.passed(found.threshold)):
            continue
        if given.below is not None and (result.score is None or result.score >= given.below):
            continue
        yield result


def _list_lines(found: RunReport, results: list[TrialResult]) -> list[str]:
    several = any(result.trial for result in found.results)
    head = ["case", *(["trial"] if several else []), "score", "cost", "time", "what"]
    rows = [head]
    for result in results:
        if result.failure is not None:
            what = f"{result.failure.kind}: {result.failure.message}"
        else:
            what = result.output if isinstance(result.output, str) else repr(result.output)
        cost = result.usage.cost_usd
        rows.append(
            [
                _line(result.case, 28),
                *([str(result.trial)] if several else []),
                "-" if result.score is None else f"{result.score:.3f}",
                f"{result.usage.total_tokens:,}" if cost is None else f"${cost:.4f}",
                f"{result.seconds:.2f} s",
                _line(what, 200),
            ]
        )
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    width = shutil.get_terminal_size().columns
    lines = list[str]()
    for row in rows:
        cut = zip(row, widths, strict=True)
        line = "  ".join(cell + " " * (size - cells(cell)) for cell, size in cut).rstrip()
        lines.append(_line(line, width, keep=True))
    return [*lines, f"{len(results):,} of {len(found.results):,} trials"]


def _trial_lines(found: RunReport, name: str) -> list[str]:
    """Return one trial as lines: all its figures, its output, its report and its trace."""
    case, trial = name, 0
    if name not in found.cases:
        case, colon, number = name.rpartition(":")
        if not colon or not number.isdecimal() or case not in found.cases:
            raise LookupError(f"there is no trial of a case {name!r}")
        trial = int(number)
    result = next((one for one in found.cases[case] if one.trial == trial), None)
    if result is None:
        raise LookupError(f"there is no trial {trial} of case {case!r}")
    usage = result.usage
    cost = "no price" if usage.cost_usd is None else f"${usage.cost_usd:.6f}"
    lines = [f"case    {result.case}", f"trial   {result.trial}"]
    scores = result.scores or ({} if result.score is None else {"score": result.score})
    lines += [f"score   {name}: {value:.3f}" for name, value in scores.items()]
    for stage, failure in ({"": result.failure} | dict(result.errors)).items():
        if failure is not None and (stage or not result.errors):
            words = f"{stage}: {failure.kind}" if stage else failure.kind
            lines.append(f"error   {words}: {failure.message} ({failure.stage})")
    lines += [
        f"cost    {cost}, {usage.input_tokens:,} + {usage.output_tokens:,} tokens ({usage.known})",
        f"time    {result.seconds:.2f} s",
    ]
    lines += [f"tries   {result.tries}"] if result.tries > 1 else []
    lines += [f"tags    {', '.join(result.tags)}"] if result.tags else []
    lines += ["", "output", *_block(result.output)]
    lines += ["", "report", *_block(result.report)] if result.report is not None else []
    traced = found.trace_of(result)
    if traced is not None:
        lines += ["", *traced.render(shutil.get_terminal_size().columns).split("\n")]
    return [printable(line) for line in lines]


def _block(value: object) -> list[str]:
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
    return [f"  {line}" for line in printable(text).split("\n")]


def _line(text: str, width: int, *, keep: bool = False) -> str:
    """Return the text as one printable line of at most `width` cells."""
    line = printable(text).replace("\n", " ") if keep else " ".join(printable(text).split())
    if cells(line) <= width:
        return line
    while line and cells(line) > width - 3:
        line = line[:-1]
    return line + "..."


def _show(lines: list[str]) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join(lines).encode(encoding, "replace").decode(encoding))
