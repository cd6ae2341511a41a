"""The runner: it runs each trial of each case, with a limit on concurrent trials.

It calls only your task and your scorer. Only these two send requests. They are repeated only if you set
`retry=`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar, cast

from anyio.lowlevel import current_token

from lutum._lutum import Lutum
from lutum._values.errors import BadValue
from lutum._values.settings import RetryPolicy
from lutum.eval._cache import AnswerCache
from lutum.eval._dataset import Case, check_cases
from lutum.eval._executor import Factory, Shard, check_factory, hand_out, run_shard
from lutum.eval._folder import RunFolder, RunInfo, read_run
from lutum.eval._identity import model_of, signed, versions, where
from lutum.eval._progress import Progress
from lutum.eval._report import RunReport
from lutum.eval._results import TrialResult
from lutum.eval._retry import policy_of
from lutum.eval._score import Score
from lutum.eval._scoring import Scorer, Scorers
from lutum.eval._trials import Due, Pool, Trials

I = TypeVar("I")
E = TypeVar("E")
O = TypeVar("O")

Again = Literal["errors", "unfinished"]


async def run(
    cases: Iterable[Case[I, E]],
    task: Callable[[Case[I, E], Lutum], Awaitable[O]],
    *,
    score: Scorer[I, E, O] | Mapping[str, Scorer[I, E, O]],
    llm: Lutum | Factory,
    judge: Lutum | Factory | None = None,
    trials: int = 1,
    limit: int = 8,
    threshold: float = 1.0,
    into: str | PathLike[str] | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
    retry: RetryPolicy | int | None = None,
    again: Again = "errors",
    cache: str | PathLike[str] | None = None,
) -> RunReport:
    """Run `task` on each case, `trials` times, and score its outputs.

    All trials share the ledger of `llm`. With `into`, each finished trial is stored in that folder, and its
    trace contains the prompts and answers. Another run into the folder runs only the missing trials, and the
    report contains all trials in the folder. After a cancellation or a kill, the folder contains the finished
    trials.

    This is a checkpoint only if it has to wait.

    Args:
      cases: the dataset. A sequence is checked first; any other iterable is read during the run.
      task: the function to try. It gets a `Lutum` that measures the usage of the trial, and must use no
        other. An exception of the task is stored as an error, which is not a score. If the model's answer
        caused the exception (`ContractViolation`, `OutputInvalid`, `OutputLimitExceeded`, `Refused`), the
        score is 0.
      score: a `Scorer`, or several scorers by name. If a scorer raises, its score is missing. The first
        scorer decides whether a trial passes.
      llm: the `Lutum` of the tasks.
      judge: the `Lutum` of the evals; default: `llm`.
      trials: the number of trials of each case.
      limit: the number of concurrent trials.
      threshold: the lowest score that passes a trial.
      into: the folder of the run.
      progress: True for a bar on stderr, False for nothing, None for a bar if stderr is a terminal, else one
        line a minute.
      executor: run the trials on the workers of this executor, `limit` trials in each call. `llm` and `judge`
        are then module-level functions that return an async context manager of a Lutum. It must be possible
        to send `task` and `score` to the workers. Each call stores its trials in its own folder under `into`.
      retry: repeat a task or a scorer that raised: the number of further tries, or a policy with pauses.
        Errors of the caller, of budgets and of the model's answer are not repeated.
      again: the trials that a run into a folder repeats. "unfinished" repeats only unfinished trials.
        "errors" also repeats trials that ended in an error. If only a scorer raised, the stored answer is
        scored again, and the task does not run.
      cache: a folder of answers, for work on a task. A request that was answered before is answered from the
        folder and is not sent. The usage of the original request is counted.

    Raises:
      concurrent.futures.BrokenExecutor: a worker of the executor died; finished trials are kept in `into`.
      BadValue: an argument is invalid, two cases have one id, or `into` holds another run: other cases with
        these ids, another task, model or scorers.
      UsageError: another process writes into `into`.
      OSError: a result cannot be written.
    """
    check_counts(trials, limit, threshold, again)
    policy = policy_of(retry)
    scorers = Scorers(score)
    if executor is not None:
        check_factory("llm", llm)
        if judge is not None:
            check_factory("judge", judge)
    elif not isinstance(llm, Lutum) or not isinstance(judge, Lutum | None):
        raise BadValue("llm", "llm= and judge= must be Lutum objects, unless executor= is given")
    if isinstance(cases, Sequence):
        cases = list(check_cases(cases))
    info = info_of(task, scorers, llm, judge, threshold)
    total = len(cases) * trials if isinstance(cases, Sized) else None
    path = None if into is None else Path(into)
    opened = nullcontext() if path is None else RunFolder(path, info)
    with opened as folder, Progress(progress, total) as bar:
        bar.count([] if folder is None else folder.results)
        if executor is None:
            asked = cast("Lutum", llm)
            whole = Trials(
                task,
                scorers,
                asked,
                cast("Lutum | None", judge) or asked,
                folder,
                bar,
                retry=policy,
                cache=None if cache is None else AnswerCache(Path(cache)),
            )
            pairs = ((whole, due) for due in due_trials(cases, trials, folder, again))
            await Pool(limit, bar).run(_until_stopped(whole, pairs))
            return RunReport(
                whole.results, threshold=threshold, stopped=whole.stopped, info=info, folder=path
            )
        shard = Shard(
            task,
            score,
            cast("Factory", llm),
            cast("Factory | None", judge),
            trials,
            threshold,
            None,
            _backend_name(),
            policy,
            None if cache is None else _absolute(cache),
        )
        due = due_trials(cases, trials, folder, again)
        results, stopped = await hand_out(executor, _work_in_worker, shard, due, limit, path, bar)
        if path is not None:
            return RunReport(read_run(path)[1], threshold=threshold, stopped=stopped, info=info, folder=path)
        return RunReport(results, threshold=threshold, stopped=stopped, info=info)


def check_counts(trials: int, limit: int, threshold: float, again: str = "errors") -> None:
    """Raise BadValue if one of these arguments of a run is invalid."""
    if trials < 1:
        raise BadValue("trials", f"{trials} is below 1")
    if limit < 1:
        raise BadValue("limit", f"{limit} is below 1")
    if again not in ("errors", "unfinished"):
        raise BadValue("again", f"{again!r} is neither 'errors' nor 'unfinished'")
    Score(threshold)  # raises if it is not from 0 to 1


def info_of(
    task: object,
    scorers: Scorers,
    llm: object,
    judge: object,
    threshold: float,
    arm: str = "",
    place: int = 0,
) -> RunInfo:
    """Return the description of a run that its folder stores."""
    return RunInfo(
        threshold=threshold,
        arm=arm,
        place=place,
        task=signed(task),
        model=model_of(llm),
        judge="" if judge is None else model_of(judge),
        scorers=scorers.signatures,
        versions=versions(),
        commit=where(),
    )


def due_trials(
    cases: Iterable[Case[I, E]], trials: int, folder: RunFolder | None, again: Again
) -> Iterator[Due]:
    """Yield the trials to run. Cases are read when they are needed."""
    for case in check_cases(cases):
        for trial in range(trials):
            if (due := due_of(case, trial, folder, again)) is not None:
                yield due


def due_of(case: Case[I, E], trial: int, folder: RunFolder | None, again: Again) -> Due | None:
    """Return the trial if it has to run, because it is unfinished or ended in an error; else None."""
    known = None if folder is None else folder.known(case, trial)
    if known is None or folder is None:
        return Due(case, trial)
    if not known.errored or again == "unfinished":
        return None
    return Due(case, trial, known, folder.trace_of(known) if known.answered else b"")


def _until_stopped(whole: Trials, due: Iterator[tuple[Trials, Due]]) -> Iterator[tuple[Trials, Due]]:
    while whole.stopped is None and (one := next(due, None)) is not None:
        yield one


def _absolute(path: str | PathLike[str]) -> str:
    return os.path.abspath(path)


def _backend_name() -> str:
    """Return the name of the running backend. Workers use the same one."""
    return "asyncio" if hasattr(current_token().native_token, "call_soon_threadsafe") else "trio"


def _work_in_worker(shard: Shard, due: Sequence[Due]) -> tuple[list[bytes], str | None]:
    return run_shard(shard, due, _run_due)


async def _run_due(
    shard: Shard, due: Sequence[Due], llm: Lutum, judge: Lutum, folder: RunFolder | None
) -> tuple[list[TrialResult], str | None]:
    """Run the trials that are not finished in the folder, with a `Lutum` of this process."""
    wanted = {(one.case.id, one.trial) for one in due}
    bar = Progress(False, len(due))
    trials = Trials(
        shard.task,
        Scorers(shard.score),
        llm,
        judge,
        folder,
        bar,
        retry=shard.retry,
        cache=None if shard.cache is None else AnswerCache(Path(shard.cache)),
        elsewhere=True,
    )
    left = [one for one in due if folder is None or folder.known(one.case, one.trial) is None]
    await Pool(max(1, len(left)), bar).run((trials, one) for one in left)
    return [result for result in trials.results if (result.case, result.trial) in wanted], trials.stopped
