"""The runner: cases x trials, so many at a time. It starts your task and your scorer, and nothing else: no
request is sent, and none is sent again, but by them.

A trial is finished when it ended by itself, with a value or with an exception; then its result is kept and
it is not run again. One that was cancelled or killed is not finished, nor is one that the shared budget
refused: the first of those ends the run, those under way go on to their end.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, final

import anyio
from anyio.lowlevel import checkpoint, current_token

from lutum._lutum import Lutum
from lutum._values.errors import BadValue, BudgetExceeded, LedgerError
from lutum._values.results import Usage
from lutum.eval._dataset import Case, digest_of
from lutum.eval._evals import Eval, PureEval
from lutum.eval._executor import Factory, Pair, Shard, check_factory, hand_out, run_shard
from lutum.eval._folder import RunFolder, RunInfo, read_run, trace_name
from lutum.eval._progress import Progress
from lutum.eval._report import RunReport
from lutum.eval._results import TrialResult, as_json, failure_of, leaves_of, plain
from lutum.eval._score import Repeats, Score, Scored
from lutum.trace import Trace, capture

I = TypeVar("I")
E = TypeVar("E")
O = TypeVar("O")


@final
@dataclass(frozen=True, slots=True)
class Answer(Generic[I, E, O]):
    """The artifact of a trial: what the task returned, and for which case.

    An eval of outputs alone is made one of answers by `.contramap(lambda answer: answer.output)`.
    """

    case: Case[I, E]
    output: O


Scorer = (
    Callable[[Case[I, E], O], float | Scored[Any] | Awaitable[float | Scored[Any]]]
    | PureEval[Answer[I, E, O], Scored[Any]]
    | Eval[Answer[I, E, O], Scored[Any]]
)
"""A function of case and output, sync or async, or an eval of `Answer`s that is `scored_by` an objective."""


async def run(
    cases: Iterable[Case[I, E]],
    task: Callable[[Case[I, E], Lutum], Awaitable[O]],
    *,
    score: Scorer[I, E, O],
    llm: Lutum | Factory,
    judge: Lutum | Factory | None = None,
    trials: int = 1,
    limit: int = 8,
    threshold: float = 1.0,
    into: str | PathLike[str] | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> RunReport:
    """Run `task` on each case, `trials` times, and score what it returns.

    All trials share the ledger of `llm`. With `into`, finished trials are kept in that folder as they
    end, with what the model was asked and said in their traces, and a run into it again does the rest; the
    report is of everything in it. Cancelled, or killed, what had finished is there.

    A checkpoint only if it has to wait.

    Args:
      cases: the dataset; read as the run goes on, and only as far as it gets.
      task: what is tried; an exception of it is a score of 0. It gets a `Lutum` that knows what this trial
        spends, and is to use no other.
      score: see `Scorer`; an exception of it leaves the trial without a score.
      llm: whom the tasks ask.
      judge: whom the evals ask; `llm` where it is not given.
      trials: how often each case is tried.
      limit: how many trials at a time.
      threshold: the score from which a trial passes.
      into: the folder of the run.
      progress: whether to show a line on stderr; None for where it is a terminal.
      executor: run the trials on its workers, `limit` of them in each call. `llm` and `judge` then are
        functions of a module that return an async context manager of a Lutum, and `task` and `score` must
        reach the workers too. Each call keeps its trials in a folder of its own under `into`.

    Raises:
      concurrent.futures.BrokenExecutor: a worker of the executor died; finished trials are kept in `into`.
      BadValue: an argument cannot be right, two cases have one id, or `into` holds other cases' results.
      UsageError: another process runs into that folder.
      OSError: a result cannot be written.
    """
    if trials < 1:
        raise BadValue("trials", f"{trials} is below 1")
    if limit < 1:
        raise BadValue("limit", f"{limit} is below 1")
    Score(threshold)  # is between 0 and 1
    info = RunInfo(threshold=threshold)
    if executor is not None:
        check_factory("llm", llm)
        if judge is not None:
            check_factory("judge", judge)
    elif not isinstance(llm, Lutum) or not isinstance(judge, Lutum | None):
        raise BadValue("llm", "and judge= are Lutum objects unless executor= is given")
    evaluation = _as_eval(score)
    total = len(cases) * trials if isinstance(cases, Sized) else None
    opened = nullcontext() if into is None else RunFolder(Path(into), info)
    with opened as folder, Progress(progress, total) as bar:
        if executor is None:
            asked = cast("Lutum", llm)
            run = _Run(task, evaluation, asked, cast("Lutum | None", judge) or asked, folder, bar)
            await run.all(_due(cases, trials, folder), limit)
            return RunReport(run.results, threshold=threshold, stopped=run.stopped)
        known = [] if folder is None else folder.results
        bar.count(known)
        shard = Shard(
            task,
            score,
            cast("Factory", llm),
            cast("Factory | None", judge),
            trials,
            threshold,
            None,
            _backend_name(),
        )
        pairs = _due(cases, trials, folder)
        path = None if into is None else Path(into)
        results, stopped = await hand_out(executor, _work_in_worker, shard, pairs, limit, path, bar)
        if path is not None:
            return RunReport(read_run(path)[1], threshold=threshold, stopped=stopped)
        return RunReport(results, threshold=threshold, stopped=stopped)


def _backend_name() -> str:
    """Return the name of the running backend, on which the workers run too."""
    return "asyncio" if hasattr(current_token().native_token, "call_soon_threadsafe") else "trio"


def _work_in_worker(shard: Shard, pairs: Sequence[Pair]) -> tuple[list[bytes], str | None]:
    return run_shard(shard, pairs, _run_pairs)


async def _run_pairs(
    shard: Shard, pairs: Sequence[Pair], llm: Lutum, judge: Lutum, folder: RunFolder | None
) -> tuple[list[TrialResult], str | None]:
    """Run trials with a `Lutum` of this process, those that are not finished in the folder."""
    wanted = {(case.id, trial) for case, trial in pairs}
    bar = Progress(False, len(pairs))
    run = _Run[Any, Any, Any](shard.task, _as_eval(shard.score), llm, judge, folder, bar)
    due = [pair for pair in pairs if folder is None or not folder.holds(*pair)]
    await run.all(iter(due), max(1, len(due)))
    return [result for result in run.results if (result.case, result.trial) in wanted], run.stopped


def _due(
    cases: Iterable[Case[I, E]], trials: int, folder: RunFolder | None
) -> Iterator[tuple[Case[I, E], int]]:
    """The trials that are not finished, read from the cases as they are wanted."""
    seen = set[str]()
    for case in cases:
        if not isinstance(case, Case):
            raise BadValue("cases", f"{case!r} is no Case")
        if not isinstance(case.id, str) or plain(case.id) != case.id:
            raise BadValue("cases", f"{case.id!r} is no id: it must be text")
        if case.id in seen:
            raise BadValue("cases", f"two cases have the id {case.id!r}")
        seen.add(case.id)
        for trial in range(trials):
            if folder is None or not folder.holds(case, trial):
                yield case, trial


def _as_eval(score: Scorer[I, E, O]) -> Eval[Answer[I, E, O], Scored[Any]]:
    # issubclass, because isinstance narrows to an eval of unknown types.
    if issubclass(type(score), PureEval):
        return cast("PureEval[Answer[I, E, O], Scored[Any]]", score).lift()
    if issubclass(type(score), Eval):
        return cast("Eval[Answer[I, E, O], Scored[Any]]", score)
    fn = cast("Callable[[Case[I, E], O], Any]", score)

    async def evaluate(llm: Lutum, trace: Trace, answer: Answer[I, E, O]) -> Scored[Any]:
        found = fn(answer.case, answer.output)
        if inspect.isawaitable(found):
            found = await found
        return cast("Scored[Any]", found) if issubclass(type(found), Scored) else Scored(None, Score(found))

    return Eval.of(evaluate)


@final
class _Run(Generic[I, E, O]):
    """One run under way."""

    def __init__(
        self,
        task: Callable[[Case[I, E], Lutum], Awaitable[O]],
        evaluation: Eval[Answer[I, E, O], Scored[Any]],
        llm: Lutum,
        judge: Lutum,
        folder: RunFolder | None,
        bar: Progress,
    ) -> None:
        self.results: list[TrialResult] = [] if folder is None else list(folder.results)
        self.stopped: str | None = None
        self._task = task
        self._evaluation = evaluation
        self._llm = llm
        self._judge = judge
        self._folder = folder
        self._bar = bar
        self._failure: Exception | None = None
        bar.count(self.results)

    async def all(self, due: Iterator[tuple[Case[I, E], int]], limit: int) -> None:
        """Run these trials. A plain exception, never a group, when the run itself fails."""
        async with anyio.create_task_group() as group:
            for _ in range(limit):
                group.start_soon(self._work, due, group.cancel_scope)
        if self._failure is not None:
            raise self._failure

    async def _work(self, due: Iterator[tuple[Case[I, E], int]], scope: anyio.CancelScope) -> None:
        try:
            while self.stopped is None and (next_one := next(due, None)) is not None:
                await (
                    checkpoint()
                )  # a task need not await anything, and the run is to be cancelled all the same
                await self._try(*next_one)
        except Exception as exc:  # of the dataset, of the folder, or ours: tasks' and scorers' are kept
            self._failure = self._failure or exc
            scope.cancel()

    async def _try(self, case: Case[I, E], trial: int) -> None:
        """Run a trial, score it and keep its result; one that the budget refused ends the run instead."""
        before = _refusals(self._llm, self._judge)
        failed: Exception | None = None
        scored: Scored[Any] | None = Scored(None, Score(0))
        stage: Literal["task", "score"] = "task"
        output: O | None = None
        asked: Lutum | None = None
        began = anyio.current_time()
        async with capture(content=True) as trace, self._llm.within(on_spent="drain") as own:
            try:
                output = await self._task(case, own)
            except Exception as exc:
                failed = exc
        seconds = anyio.current_time() - began
        if failed is None:
            stage = "score"
            answer = Answer(case, cast("O", output))
            async with self._judge.within(on_spent="drain") as asked:
                try:
                    found = await self._evaluation.evaluate(asked, trace, answer)
                    scored = Scored(found.report, Score(found.score))
                except Exception as exc:
                    failed, scored = exc, None
        if failed is not None and (why := self._refused(failed, before)) is not None:
            self.stopped = self.stopped or why
            return
        report: Any = None if scored is None else scored.report
        result = TrialResult(
            case=case.id,
            trial=trial,
            digest=digest_of(case),
            tags=tuple(map(plain, case.tags)),
            score=None if scored is None else float(scored.score),
            failure=None if failed is None else failure_of(failed, stage),
            seconds=seconds,
            usage=own.budget.spent,
            judge_usage=Usage() if asked is None else asked.budget.spent,
            repeats=_repeats(report),
            output=as_json(output),
            report=as_json(report),
            trace=None if self._folder is None else trace_name(case.id, trial),
        )
        if self._folder is not None:
            self._folder.add(result, trace.dump())
        self.results.append(result)
        self._bar.add(result)

    def _refused(self, failed: Exception, before: float) -> str | None:
        """What the shared budget said, if it is why the trial failed, and not a budget of the task's own."""
        leaves = list(leaves_of(failed))
        if away := next((leaf for leaf in leaves if isinstance(leaf, LedgerError)), None):
            return str(away)  # the shared ledger cannot answer, so that nothing can be tried
        said = next((leaf for leaf in leaves if isinstance(leaf, BudgetExceeded)), None)
        if said is None or _refusals(self._llm, self._judge) == before:
            return None
        return str(said)


def _repeats(report: Any) -> tuple[float, ...]:
    return tuple(map(float, report.scores)) if isinstance(report, Repeats) else ()


def _refusals(*llms: Lutum) -> float:
    """Rises whenever a ledger behind these refuses; not a number when one is spent, or foreign."""
    ledgers = {id(ledger): ledger for llm in llms for ledger in llm.budget._chain()}.values()
    if any(ledger.exhausted or ledger._root is not None for ledger in ledgers):
        return math.nan  # which equals nothing: taken to refuse always
    return sum(ledger._refused for ledger in ledgers)
