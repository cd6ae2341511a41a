"""`rescore`: score the stored answers of a run again, without running a task or calling its model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, final

from msgspec.structs import replace

from lutum._lutum import Lutum
from lutum._values.errors import BadValue
from lutum._values.results import CommittedTurn, Usage
from lutum._values.settings import RetryPolicy
from lutum.abc import Exchange, Prepared, ReplayForm, TurnRequest
from lutum.eval._dataset import Case, check_cases, input_digest_of
from lutum.eval._folder import RunFolder, read_run
from lutum.eval._identity import model_of, versions, where
from lutum.eval._progress import Progress
from lutum.eval._report import RunReport
from lutum.eval._results import TrialResult
from lutum.eval._retry import policy_of
from lutum.eval._run import check_counts
from lutum.eval._scoring import Scorer, Scorers
from lutum.eval._trials import Due, Pool, Trials

I = TypeVar("I")
E = TypeVar("E")
O = TypeVar("O")


async def rescore(
    folder: str | PathLike[str],
    cases: Iterable[Case[I, E]],
    output: type[O] | Any = None,
    *,
    score: Scorer[I, E, O] | Mapping[str, Scorer[I, E, O]],
    judge: Lutum | None = None,
    limit: int = 8,
    threshold: float | None = None,
    into: str | PathLike[str] | None = None,
    progress: bool | None = None,
    retry: RetryPolicy | int | None = None,
) -> RunReport:
    """Score the stored answers of a run again. No task runs, and only `judge` sends requests.

    The folder does not change. Trials whose task failed keep their error. Stored trials of cases that are not
    in `cases` are left out. After a cancellation, `into` contains the finished results, if it was given.

    This is a checkpoint only if it has to wait.

    Args:
      folder: the folder of the run.
      cases: the same cases. `expected` may differ from the run, `input` may not.
      output: the return type of the task, or a function that makes the output from its JSON. None is enough
        for plain JSON, and for types that the folder names and whose module is loaded.
      score: as for `run`.
      judge: the `Lutum` of the evals; required if an eval may call a model.
      limit: the number of concurrent trials.
      threshold: the lowest score that passes a trial; None for the threshold of the run.
      into: a new folder for the new scores; None keeps them in memory only.
      progress: as for `run`.
      retry: as for `run`, for scorers.

    Raises:
      BadValue: `folder` is not the folder of a run, the input of a case differs from the run, an output
        cannot be made again, or a scorer may call a model and `judge` is missing.
      UsageError: another process writes into `into`.
      OSError: a file cannot be read or written.
    """
    info, results = read_run(Path(folder))
    threshold = info.threshold if threshold is None else threshold
    check_counts(1, limit, threshold)
    scorers = Scorers(score)
    if judge is None and scorers.asks:
        raise BadValue(
            "judge", f"is missing; give a Lutum, because the scorer {scorers.asks[0]!r} may ask a model"
        )
    given = {case.id: case for case in check_cases(cases)}
    for result in results:
        case = given.get(result.case)
        if case is not None and result.input_digest and result.input_digest != input_digest_of(case):
            raise BadValue("cases", f"case {result.case!r} has another input than in {folder}")
    asked = Lutum(_NOBODY) if judge is None else judge
    new = replace(
        info,
        threshold=threshold,
        judge="" if judge is None else model_of(judge),
        scorers=scorers.signatures,
        versions=versions(),
        commit=where(),
        sessions=(),
    )
    opened = nullcontext() if into is None else RunFolder(Path(into), new)
    with opened as target, Progress(progress, sum(result.case in given for result in results)) as bar:
        trials = Trials(
            _no_task,
            scorers,
            asked,
            asked,
            target,
            bar,
            retry=policy_of(retry),
            hint=output,
            elsewhere=into is not None,
            only_score=True,
        )

        def due() -> Iterator[tuple[Trials, Due]]:
            for result in results:
                case = given.get(result.case)
                known = None if target is None or case is None else target.known(case, result.trial)
                if case is None or (known is not None and not known.errored):
                    continue
                trace = b"" if result.trace is None else _read(Path(folder) / result.trace)
                if not result.answered:
                    trials.keep(result, trace)
                elif known is not None:  # a judge's error from an earlier call into the same folder
                    yield trials, Due(case, result.trial, known, trace)
                else:
                    yield trials, Due(case, result.trial, _unscored(result), trace)

        await Pool(limit, bar).run(due())
        return RunReport(
            trials.results,
            threshold=threshold,
            stopped=trials.stopped,
            info=new,
            folder=Path(folder) if into is None else Path(into),
        )


def _unscored(result: TrialResult) -> TrialResult:
    """Return a result without the findings of scorers."""
    return replace(
        result,
        score=None,
        scores={},
        errors={},
        failure=None,
        repeats=(),
        report=None,
        judge_usage=Usage(),
        tries=0,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def _no_task(case: Case[Any, Any], llm: Lutum) -> NoReturn:
    raise AssertionError("a task runs while answers are scored again")


@final
class _Nobody:
    """An adapter for scorers that do not call a model."""

    name = "nobody"
    scope = ""

    def prepare(self, request: TurnRequest) -> Prepared:
        raise BadValue("judge", "is missing; give a Lutum, because a scorer asks a model")

    def exchange(self, prepared: Prepared) -> Exchange:
        raise BadValue("judge", "is missing; give a Lutum, because a scorer asks a model")

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return ReplayForm(False, "no request is sent")

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return None

    async def aclose(self) -> None:
        """Nothing to close."""


_NOBODY: Final = _Nobody()
