"""Grids: several models and prompts on one dataset, in one run.

An arm is a task with a `Lutum`, or with a factory of a `Lutum`. The trials of all arms alternate under one
limit. Each arm has its own report and its own folder, and arms are compared case by case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from typing_extensions import TypeIs

from lutum._lutum import Lutum
from lutum._values.errors import BadValue, UsageError
from lutum._values.settings import RetryPolicy
from lutum.eval._cache import AnswerCache
from lutum.eval._compare import Comparison, change_and_interval, compare
from lutum.eval._dataset import Case, check_cases
from lutum.eval._executor import Factory
from lutum.eval._folder import RunFolder, RunInfo
from lutum.eval._html import write_page
from lutum.eval._progress import Progress
from lutum.eval._report import RunReport, load_run
from lutum.eval._retry import policy_of
from lutum.eval._run import Again, check_counts, due_of, info_of
from lutum.eval._scoring import Scorer, Scorers
from lutum.eval._table import clipped, rate, spent, table
from lutum.eval._trials import Due, Pool, Trials

I = TypeVar("I")
E = TypeVar("E")
O = TypeVar("O")


_Pair = tuple[Lutum | Factory | Callable[[], Lutum], Callable[..., Awaitable[Any]]]


@final
@dataclass(frozen=True, slots=True)
class Arm(Generic[I, E, O]):
    """One column of a grid.

    Attributes:
      llm: a `Lutum`, or a function without arguments. The function returns a `Lutum`, or an async context
        manager of a `Lutum`. The context manager is open while the grid runs.
      task: the task of the arm.
    """

    llm: Lutum | Factory | Callable[[], Lutum]
    task: Callable[[Case[I, E], Lutum], Awaitable[O]]


@final
@dataclass(frozen=True, slots=True)
class GridReport:
    """The reports of a grid, by name of the arm, in the order of the arms."""

    arms: dict[str, RunReport]

    def compare(self, before: str, after: str, *, seed: int = 0) -> Comparison:
        """Compare two arms, case by case. See `lutum.eval.compare`.

        Raises:
          BadValue: an arm is missing, or the arms have no case in common.
        """
        for name in (before, after):
            if name not in self.arms:
                raise BadValue("arm", f"{name!r} is not one of {', '.join(self.arms)}")
        return compare(self.arms[before], self.arms[after], seed=seed)

    def __str__(self) -> str:
        rows = [["arm", "trials", "score", "errors", "cost", "p50"]]
        for name, report in self.arms.items():
            rows.append(
                [
                    clipped(name, 20),
                    f"{len(report.results):,}",
                    rate(report.score) if report.scores else "-",
                    str(len(report.errors)),
                    spent(report.usage),
                    f"{report.seconds(50):.2f} s",
                ]
            )
        lines = table(rows)
        first, *others = self.arms
        against = [line for other in others if (line := self._against(first, other))]
        return "\n".join([*lines, *([""] if against else []), *against])

    def to_html(self, path: str | PathLike[str], *, title: str = "Grid") -> None:
        """Write one HTML page with all arms. See `RunReport.to_html`.

        Raises:
          OSError: the page cannot be written.
        """
        write_page(self.arms, path, title)

    def _against(self, first: str, other: str) -> str:
        """Return one line about an arm's difference from the first; empty if they have no case in common."""
        if not self.arms[first].cases.keys() & self.arms[other].cases.keys():
            return ""
        found = self.compare(first, other).score
        if found is None:
            return ""
        change, interval = change_and_interval(found, ".3f")
        mark = " *" if found.significant else ""
        return f"{clipped(other, 20)} - {clipped(first, 20)}: {change}, 95 % {interval}{mark}"


async def grid(
    cases: Iterable[Case[I, E]],
    arms: Mapping[str, Arm[I, E, Any] | _Pair | Callable[[], _Pair]],
    *,
    score: Scorer[I, E, Any] | Mapping[str, Scorer[I, E, Any]],
    judge: Lutum | None = None,
    trials: int = 1,
    limit: int = 8,
    threshold: float = 1.0,
    into: str | PathLike[str] | None = None,
    progress: bool | None = None,
    retry: RetryPolicy | int | None = None,
    again: Again = "errors",
    cache: str | PathLike[str] | None = None,
) -> GridReport:
    """Run several arms on each case. The arms alternate, so that an outage or a slow hour affects all arms.

    If the budget of an arm refuses a trial, this arm stops and the others continue. With `into`, each arm has
    its own folder inside `into`, which `load_run`, `compare` and `lutum eval` read. After a cancellation the
    folders contain the finished trials.

    This is a checkpoint only if it has to wait.

    Args:
      cases: as for `run`.
      arms: each arm by its name. An arm is an `Arm`, a pair of a `Lutum` (or a factory of a `Lutum`) and a
        task, or a function without arguments that returns such a pair.
      score: as for `run`, for all arms.
      judge: the `Lutum` of the evals; default: the `Lutum` of each arm.
      trials: the number of trials of each case in each arm.
      limit: the number of concurrent trials, for all arms together.
      threshold: the lowest score that passes a trial.
      into: the folder of the grid.
      progress: as for `run`.
      retry: as for `run`.
      again: as for `run`.
      cache: as for `run`.

    Raises:
      BadValue: `arms` is empty, a value in it is not an arm, or as for `run`.
      UsageError: a factory does not return a `Lutum`, or another process writes into `into`.
      OSError: a result cannot be written.
    """
    check_counts(trials, limit, threshold, again)
    policy = policy_of(retry)
    scorers = Scorers(score)
    given = {name: _arm(name, arm) for name, arm in arms.items()}
    if not given:
        raise BadValue("arms", "is empty; give at least one arm")
    if isinstance(cases, Sequence):
        cases = list(check_cases(cases))
    total = len(cases) * trials * len(given) if isinstance(cases, Sized) else None
    answers = None if cache is None else AnswerCache(Path(cache))
    async with AsyncExitStack() as stack:
        folders = stack.enter_context(ExitStack())
        bar = stack.enter_context(Progress(progress, total))
        opened = dict[str, tuple[Trials, RunFolder | None]]()
        infos = dict[str, RunInfo]()
        for place, (name, arm) in enumerate(given.items()):
            llm: Any = arm.llm if isinstance(arm.llm, Lutum) else arm.llm()
            if hasattr(llm, "__aenter__"):
                llm = await stack.enter_async_context(llm)
            if not isinstance(llm, Lutum):
                raise UsageError(f"arm {name!r}: the context manager yielded {llm!r}, which is not a Lutum")
            folder = None
            infos[name] = info_of(arm.task, scorers, llm, judge, threshold, arm=name, place=place)
            if into is not None:
                folder = folders.enter_context(RunFolder(Path(into) / folder_name(name), infos[name]))
                bar.count(folder.results)
            asked = llm if judge is None else judge
            own = Trials(arm.task, scorers, llm, asked, folder, bar, retry=policy, cache=answers)
            opened[name] = own, folder
        await Pool(limit, bar).run(_in_turn(cases, trials, list(opened.values()), again))
        return GridReport(
            {
                name: RunReport(
                    own.results,
                    threshold=threshold,
                    stopped=own.stopped,
                    info=infos[name],
                    folder=None if folder is None else folder.path,
                )
                for name, (own, folder) in opened.items()
            }
        )


def load_grid(path: str | PathLike[str]) -> GridReport:
    """Return the report of a grid's folder. The grid may still be running.

    Raises:
      BadValue: the folder does not contain a run.
    """
    reports = [load_run(folder) for folder in arm_folders(Path(path))]
    if not reports:
        raise BadValue("path", f"{path} is not the folder of a grid: no folder in it holds a run")
    reports.sort(key=lambda report: report.info.place)
    return GridReport({report.info.arm or str(report.folder): report for report in reports})


def arm_folders(path: Path) -> list[Path]:
    """Return the folders of a grid's arms, sorted by name; empty if `path` is not the folder of a grid."""
    return sorted(found.parent for found in path.glob("*/run.json"))


def folder_name(arm: str) -> str:
    """Return a folder name for an arm: its name if that is safe, else a safe and unique one."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}", arm) and arm.lower() not in ("shards", "traces"):
        return arm
    word = re.sub(r"[^A-Za-z0-9_]+", "-", arm).strip("-")[:40] or "arm"
    return f"{word}-{hashlib.blake2s(arm.encode(), digest_size=4).hexdigest()}"


def _arm(name: object, given: object) -> Arm[Any, Any, Any]:
    if not isinstance(name, str) or not name.strip():
        raise BadValue("arms", f"{name!r} is not a name, which must be a string that is not blank")
    if callable(given) and not _is_arm(given):
        try:
            given = given()
        except TypeError as exc:
            raise BadValue("arms", f"{name}: {given!r} cannot be called to make an arm: {exc}") from None
    if _is_pair(given):
        given = Arm(*given)
    if not _is_arm(given):
        raise BadValue("arms", f"{name}: {given!r} is neither an Arm nor a pair of a Lutum and a task")
    made = given
    if not callable(made.task):
        raise BadValue("arms", f"{name}: the task {made.task!r} is not a function")
    if not isinstance(made.llm, Lutum) and not callable(made.llm):
        raise BadValue("arms", f"{name}: {made.llm!r} is neither a Lutum nor a function that makes one")
    return made


def _is_pair(given: object) -> TypeIs[tuple[Any, Any]]:
    return isinstance(given, tuple) and len(given) == 2  # pyright: ignore[reportUnknownArgumentType]  # isinstance gives no parameters


def _is_arm(given: object) -> TypeIs[Arm[Any, Any, Any]]:
    return isinstance(given, Arm)


def _in_turn(
    cases: Iterable[Case[I, E]],
    trials: int,
    arms: list[tuple[Trials, RunFolder | None]],
    again: Again,
) -> Iterator[tuple[Trials, Due]]:
    """Yield each case for every arm before the next case."""
    for case in check_cases(cases):
        for trial in range(trials):
            for own, folder in arms:
                due = due_of(case, trial, folder, again)
                if own.stopped is None and due is not None:
                    yield own, due
        if all(own.stopped is not None for own, _ in arms):
            return
