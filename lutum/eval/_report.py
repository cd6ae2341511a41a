"""The report of a run. Its properties are the figures; `print(report)` shows them at 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from os import PathLike
from pathlib import Path
from statistics import fmean, stdev
from typing import final

from msgspec import Struct
from msgspec.structs import replace

from lutum._values.errors import BadValue
from lutum._values.results import Usage
from lutum.eval._folder import RunInfo, read_run
from lutum.eval._html import write_page
from lutum.eval._results import TrialResult, better
from lutum.eval._statistics import Rate, mean_pass_at_k, mean_pass_hat_k, mean_rate, percentile
from lutum.eval._table import clipped, money, rate, table, words
from lutum.trace import Trace, load


class Disagreement(Struct, frozen=True):
    """The disagreement between repeated judgements of the same artifact.

    Attributes:
      judged: the number of trials that were judged several times.
      spread: the standard deviation of the scores of one artifact, averaged over the trials.
      split: the share of trials with both results, passed and not passed.
    """

    judged: int
    spread: float
    split: Rate


@final
class RunReport:
    """The results of a run, in order of case and trial.

    Attributes:
      results: every finished trial.
      threshold: the lowest score that passes a trial.
      stopped: the message of the budget that ended the run early; None if the run was completed.
      info: the description of the run in its folder.
      folder: the folder of the traces; None if no traces were kept, or if each trace has its own folder.
    """

    def __init__(
        self,
        results: Iterable[TrialResult],
        *,
        threshold: float = 1.0,
        stopped: str | None = None,
        info: RunInfo | None = None,
        folder: Path | None = None,
    ) -> None:
        self.results: tuple[TrialResult, ...] = tuple(
            sorted(results, key=lambda result: (result.case, result.trial))
        )
        self.threshold = threshold
        self.info: RunInfo = RunInfo(threshold=threshold) if info is None else info
        self.stopped = stopped
        self.folder = folder

    @cached_property
    def cases(self) -> dict[str, tuple[TrialResult, ...]]:
        """The trials of each case, by its id."""
        cases = dict[str, list[TrialResult]]()
        for result in self.results:
            cases.setdefault(result.case, []).append(result)
        return {case: tuple(trials) for case, trials in cases.items()}

    @cached_property
    def scores(self) -> dict[str, float]:
        """The mean score of each case that has one, by its id."""
        found = dict[str, float]()
        for case, trials in self.cases.items():
            if scores := [result.score for result in trials if result.score is not None]:
                found[case] = fmean(scores)
        return found

    @cached_property
    def score(self) -> Rate:
        """The mean score over cases.

        Raises:
          BadValue: no case has a score.
        """
        return mean_rate(list(self.scores.values()))

    @cached_property
    def outcomes(self) -> dict[str, tuple[bool, ...]]:
        """For each case, True for a trial that passed, else False. Trials without a score are left out."""
        return {
            case: tuple(r.passed(self.threshold) for r in self.cases[case] if r.score is not None)
            for case in self.scores
        }

    def pass_at_k(self, k: int) -> Rate:
        """Return an unbiased estimate of the chance that at least one of `k` trials of a case passes.

        It is the mean over cases.

        Raises:
          BadValue: no case has a score, or a case has fewer than `k` trials with a score.
        """
        return mean_pass_at_k(self.outcomes.values(), k)

    def pass_hat_k(self, k: int) -> Rate:
        """Return an estimate of the chance that all of `k` trials of a case pass. Raises as `pass_at_k`."""
        return mean_pass_hat_k(self.outcomes.values(), k)

    @cached_property
    def usage(self) -> Usage:
        """The usage of the tasks."""
        return sum((result.usage for result in self.results), Usage())

    @cached_property
    def judge_usage(self) -> Usage:
        """The usage of the scoring."""
        return sum((result.judge_usage for result in self.results), Usage())

    def seconds(self, percent: float) -> float:
        """Return a percentile of the durations of the tasks, in seconds; 0 for an empty run."""
        ordered = sorted(result.seconds for result in self.results)
        return percentile(ordered, percent) if ordered else 0.0

    @cached_property
    def failures(self) -> dict[str, int]:
        """The number of failed trials by the class of the task's exception. A failure that the model's answer
        caused has a score of 0; other failures have no score, see `errors`."""
        return self._failures("task")

    @cached_property
    def unscored(self) -> dict[str, int]:
        """The number of trials whose scoring raised, by the class of the exception."""
        return self._failures("score")

    @cached_property
    def errors(self) -> tuple[TrialResult, ...]:
        """The trials that ended in an error of the task or of a scorer. Their score is missing, not 0."""
        return tuple(result for result in self.results if result.errored)

    @cached_property
    def earlier(self) -> Usage:
        """The usage of earlier runs for trials that ended in an error and were repeated. `usage` does not
        include it."""
        return sum((result.earlier for result in self.results), Usage())

    @cached_property
    def named(self) -> dict[str, RunReport]:
        """A report for each named score, by name; empty if the run has one scorer without a name."""
        names = dict.fromkeys(name for result in self.results for name in (*result.scores, *result.errors))
        if not any(result.scores for result in self.results):
            return {}
        return {
            name: RunReport(
                (_of_scorer(result, name) for result in self.results),
                threshold=self.threshold,
                stopped=self.stopped,
                info=self.info,
                folder=self.folder,
            )
            for name in names
        }

    @cached_property
    def cached(self) -> int:
        """The number of requests that were answered from a cache."""
        return sum(result.cached for result in self.results)

    @cached_property
    def tags(self) -> dict[str, RunReport]:
        """A report for each tag, of the cases with that tag."""
        tags = sorted({tag for result in self.results for tag in result.tags})
        return {tag: self._of(tag) for tag in tags}

    @cached_property
    def disagreement(self) -> Disagreement | None:
        """The disagreement between repeated judgements (`scored_over`); None without such judgements."""
        judged = [result.repeats for result in self.results if len(result.repeats) > 1]
        if not judged:
            return None
        split = [min(scores) < self.threshold <= max(scores) for scores in judged]
        return Disagreement(len(judged), fmean(map(stdev, judged)), mean_rate(split))

    def trace_of(self, result: TrialResult) -> Trace | None:
        """Return the stored trace of a trial; None if no trace was kept.

        Raises:
          OSError: its file cannot be read.
          BadValue: its file is damaged.
        """
        if result.trace is None:
            return None
        return load((Path() if self.folder is None else self.folder).joinpath(result.trace).read_bytes())

    def to_html(self, path: str | PathLike[str], *, title: str = "Run") -> None:
        """Write one self-contained HTML page: trials with scores, cost and time, each with its trace.

        Raises:
          OSError: the page cannot be written.
        """
        write_page({"": self}, path, title)

    def _of(self, tag: str) -> RunReport:
        return RunReport((r for r in self.results if tag in r.tags), threshold=self.threshold)

    def _failures(self, stage: str) -> dict[str, int]:
        kinds = (r.failure.kind for r in self.results if r.failure is not None and r.failure.stage == stage)
        return dict(Counter(kinds).most_common())

    def __repr__(self) -> str:
        return f"<RunReport of {len(self.results)} trials of {len(self.cases)} cases>"

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _of_scorer(result: TrialResult, name: str) -> TrialResult:
    """Return a result with one of its named scores as its score, and the error of that scorer only."""
    failure = result.errors.get(name) if result.errors else result.failure
    return replace(result, score=result.scores.get(name), failure=failure, errors={})


def load_run(path: str | PathLike[str], *more: str | PathLike[str]) -> RunReport:
    """Return the report of a run's folder, or of several folders that are parts of one run.

    The run may still be running. If two folders contain the same trial, the first result without an error
    counts. With several folders, the path of a trace includes its folder.

    Raises:
      BadValue: a path is not the folder of a run, the folders belong to different runs, an id belongs to
        different cases, or the thresholds differ.
    """
    info, results = read_run(Path(path))
    if not more:
        return RunReport(results, threshold=info.threshold, info=info, folder=Path(path))
    found = dict[tuple[str, int], TrialResult]()
    for folder in map(Path, (path, *more)):
        other, results = read_run(folder)
        if differences := info.differences(other):
            raise BadValue("path", f"{folder} has another run than {path}: {'; '.join(differences)}")
        if other.threshold != info.threshold:
            raise BadValue(
                "path",
                f"{folder} has the threshold {other.threshold}, but {path} has {info.threshold};"
                " they must be equal",
            )
        for result in results:
            trace = result.trace and (folder / result.trace).as_posix()
            key, named = (result.case, result.trial), replace(result, trace=trace)
            known = found.setdefault(key, named)
            found[key] = better(known, named)
            if known.digest != result.digest:
                raise BadValue(
                    "path",
                    f"{folder} and an earlier folder have different cases with the id {result.case!r}",
                )
    return RunReport(found.values(), threshold=info.threshold, info=info)


def _lines(report: RunReport) -> list[str]:
    """Return the report at 80 columns. Control characters are removed from texts of models and tasks."""
    rows = [["trials", f"{len(report.results):,} of {len(report.cases):,} cases"]]
    if report.scores:
        rows += [["score", rate(report.score)], *_passes(report)]
    for name, part in list(report.named.items())[1:]:
        rows += [[clipped(name, 24), rate(part.score) if part.scores else "-"]]
    rows += [["cost", money(report.usage)]]
    if report.judge_usage != Usage():
        rows += [["judge's cost", money(report.judge_usage)]]
    if report.earlier != Usage():
        rows += [["errors' cost", money(report.earlier)]]
    if report.cached:
        rows += [["from the cache", f"{report.cached:,} requests, which cost nothing this time"]]
    rows += [["time", f"p50 {report.seconds(50):.2f} s, p95 {report.seconds(95):.2f} s"]]
    if (judge := report.disagreement) is not None:
        rows += [
            [
                "judge",
                f"{judge.judged} trials judged again: spread {judge.spread:.3f}, split {judge.split:.1%}",
            ]
        ]
    rows += [["failed", words(report.failures)]] if report.failures else []
    rows += [["unscored", words(report.unscored)]] if report.unscored else []
    if report.errors:
        count = len(report.errors)
        rows += [["errors", f"{count:,} {'trials' if count > 1 else 'trial'} ended in an error; run again"]]
    rows += [["stopped", clipped(report.stopped, 64)]] if report.stopped else []
    lines = table(rows)
    if report.tags:
        head = ["tag", "cases", "score", "failed"]
        tags = [
            [
                clipped(tag, 24),
                str(len(part.cases)),
                rate(part.score) if part.scores else "-",
                str(sum(part.failures.values())),
            ]
            for tag, part in report.tags.items()
        ]
        lines += ["", *table([head, *tags])]
    return lines


def _passes(report: RunReport) -> list[list[str]]:
    """Return rows with pass@1, and with pass@k and pass^k for the number of trials that every case has."""
    most = min(map(len, report.outcomes.values()))
    rows = [["passed", rate(report.pass_at_k(1))]]
    if most > 1:
        rows += [
            [f"pass@{most}", rate(report.pass_at_k(most))],
            [f"pass^{most}", rate(report.pass_hat_k(most))],
        ]
    return rows
