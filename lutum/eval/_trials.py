"""Trials: each runs a task, scores its output and stores the result.

A trial is finished when it has its score. A trial that ended in an error is stored with the error, and a
later run repeats the task, or only the scorers that raised. A trial is not finished if it was cancelled or
killed, or if the shared budget refused it. After the first refused trial the run starts no further trial, and
the running trials continue to their end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast, final

import anyio
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from lutum._budget.budget import refusals
from lutum._lutum import Lutum, with_adapter
from lutum._values.errors import BadValue, BudgetExceeded, LedgerError
from lutum._values.results import Usage
from lutum._values.settings import RetryPolicy
from lutum.abc import Adapter
from lutum.eval._cache import AnswerCache, CachedAnswers
from lutum.eval._dataset import Case, digest_of, input_digest_of
from lutum.eval._folder import RunFolder, trace_name
from lutum.eval._output import KeptOutput, hint_of, keep_output, restored
from lutum.eval._progress import Progress
from lutum.eval._results import TrialResult, better, failure_of, is_model_fault, leaves_of, plain
from lutum.eval._retry import pause_after, wait_before_retry
from lutum.eval._scoring import Answer, Scorers, Scoring
from lutum.trace import Trace, capture

Task = Callable[[Case[Any, Any], Lutum], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Due:
    """A trial to run, with the error from an earlier run, and the stored trace if the task returned."""

    case: Case[Any, Any]
    trial: int
    earlier: TrialResult | None = None
    trace: bytes = b""


@final
class Trials:
    """Runs the trials of one task with one `Lutum`."""

    def __init__(
        self,
        task: Task,
        scorers: Scorers,
        llm: Lutum,
        judge: Lutum,
        folder: RunFolder | None,
        bar: Progress,
        *,
        retry: RetryPolicy | None = None,
        cache: AnswerCache | None = None,
        hint: Any = None,
        elsewhere: bool = False,
        only_score: bool = False,
    ) -> None:
        self.found: dict[tuple[str, int], TrialResult] = {}
        self.stopped: str | None = None
        self._task = task
        self._hint = hint if only_score else hint_of(task)
        self._only_score = only_score
        self._scorers = scorers
        self._llm = llm
        self._judge = judge
        self._folder = folder
        self._bar = bar
        self._retry = retry
        self._cache = cache
        self._elsewhere = elsewhere  # stored traces are in another folder than new results
        for result in [] if folder is None else folder.results:
            self.found[result.case, result.trial] = result

    @property
    def results(self) -> list[TrialResult]:
        """The finished trials, and those that ended in an error."""
        return list(self.found.values())

    async def run(self, due: Due) -> None:
        """Run a trial, or score its stored answer. If the budget refuses it, the run ends instead."""
        earlier = due.earlier
        if earlier is not None and earlier.answered:
            try:
                output = restored(earlier, self._hint)
            except BadValue:
                if self._only_score:
                    raise
                # The output cannot be made again from its stored text, so the task runs again.
            else:
                return await self._score_again(due, earlier, output)
        await self._try(due)

    def keep(self, result: TrialResult, dump: bytes) -> None:
        """Add a result unchanged, with its trace."""
        if self._elsewhere:
            result = replace(result, trace=trace_name(result.case, result.trial) if dump else None)
        self._add(result, dump or None)

    async def _try(self, due: Due) -> None:
        case, trial, earlier = due.case, due.trial, due.earlier
        before = refusals(self._llm.budget, self._judge.budget)
        failed: Exception | None = None
        output: Any = None
        tries = 0
        given, cached = self._llm, None
        if self._cache is not None:
            cached = CachedAnswers(self._llm.adapter, self._cache, trial)
            given = with_adapter(self._llm, cast("Adapter", cached))  # __getattr__ provides the other members
        began = anyio.current_time()
        async with capture(content=True) as trace, given.within(on_spent="drain") as own:
            while True:
                tries += 1
                failed = None
                try:
                    output = await self._task(case, own)
                    break
                except Exception as exc:
                    failed = exc
                pause = None if self._refused(failed, before) else pause_after(self._retry, tries, failed)
                if pause is None:
                    break
                await wait_before_retry(pause)
        seconds = anyio.current_time() - began
        if failed is not None and (why := self._refused(failed, before)) is not None:
            self.stopped = self.stopped or why
            return
        result = TrialResult(
            case=case.id,
            trial=trial,
            digest=digest_of(case),
            input_digest=input_digest_of(case),
            tags=tuple(map(plain, case.tags)),
            seconds=seconds,
            usage=own.budget.spent,
            trace=None if self._folder is None else trace_name(case.id, trial),
            tries=tries + (0 if earlier is None else earlier.tries),
            earlier=Usage() if earlier is None else earlier.earlier + earlier.usage + earlier.judge_usage,
            cached=0 if cached is None else cached.played,
        )
        if failed is not None:
            zero = 0.0 if is_model_fault(failed) else None
            scores = dict.fromkeys(self._scorers.names, 0.0) if zero == 0 and self._scorers.named else {}
            result = replace(result, score=zero, scores=scores, failure=failure_of(failed, "task"))
            return self._add(result, trace.dump())
        result = replace(result, **_output_fields(keep_output(output)))
        await self._score(result, Answer(case, output), trace, Scoring(), before, trace.dump())

    async def _score_again(self, due: Due, earlier: TrialResult, output: Any) -> None:
        """Score a stored answer with the scorers that have no score; the task does not run."""
        before = refusals(self._llm.budget, self._judge.budget)
        trace = Trace.load(due.trace) if due.trace else Trace(time.time(), anyio.current_time())
        scores = dict(earlier.scores)
        if not self._scorers.named and earlier.score is not None:
            scores = {self._scorers.names[0]: earlier.score}
        kept: Any = earlier.report
        reports = dict(cast("dict[str, Any]", kept)) if self._scorers.named and isinstance(kept, dict) else {}
        found = Scoring(scores, reports, {}, earlier.repeats)
        name, dump = earlier.trace, None
        if self._elsewhere and self._folder is not None:
            name, dump = trace_name(due.case.id, due.trial), trace.dump()
        # `rescore` may get cases with another `expected`, which changes the digest.
        result = replace(earlier, digest=digest_of(due.case), trace=name, tries=earlier.tries + 1)
        await self._score(result, Answer(due.case, output), trace, found, before, dump)

    async def _score(
        self,
        result: TrialResult,
        answer: Answer[Any, Any, Any],
        trace: Trace,
        found: Scoring,
        before: float,
        dump: bytes | None,
    ) -> None:
        names = [name for name in self._scorers.names if name not in found.scores]
        tries = 0
        async with self._judge.within(on_spent="drain") as asked:
            while names:
                tries += 1
                await self._scorers.score(names, asked, trace, answer, found)
                names = list(found.errors)
                pauses = [pause_after(self._retry, tries, found.errors[name]) for name in names]
                again = [pause for pause in pauses if pause is not None]
                if any(self._refused(found.errors[name], before) for name in names) or not again:
                    break
                names = [name for name, pause in zip(names, pauses, strict=True) if pause is not None]
                await anyio.sleep(max(again))
        for error in found.errors.values():
            if (why := self._refused(error, before)) is not None:
                self.stopped = self.stopped or why
                return
        judged = result.judge_usage + asked.budget.spent
        self._add(replace(result, judge_usage=judged, **self._scorers.fields(found)), dump)

    def _add(self, result: TrialResult, dump: bytes | None) -> None:
        if self._folder is not None:
            self._folder.add(result, dump)
        key = (result.case, result.trial)
        known = self.found.get(key)
        self.found[key] = result if known is None else better(known, result)
        self._bar.add(result, known)

    def _refused(self, failed: Exception, before: float) -> str | None:
        """Return the message of the shared budget if its refusal made the trial fail; else None."""
        leaves = list(leaves_of(failed))
        if away := next((leaf for leaf in leaves if isinstance(leaf, LedgerError)), None):
            return str(away)  # the shared ledger is not available, so no trial can run
        said = next((leaf for leaf in leaves if isinstance(leaf, BudgetExceeded)), None)
        if said is None or refusals(self._llm.budget, self._judge.budget) == before:
            return None
        return str(said)


@final
class Pool:
    """Runs trials of one or several arms, with a limit on concurrent trials."""

    def __init__(self, limit: int, bar: Progress) -> None:
        self._limit = limit
        self._bar = bar
        self._failure: Exception | None = None

    async def run(self, due: Iterator[tuple[Trials, Due]]) -> None:
        """Run these trials. If the run itself fails, raise a plain exception, never a group."""
        async with anyio.create_task_group() as around:
            around.start_soon(self._bar.tick)
            async with anyio.create_task_group() as group:
                for _ in range(self._limit):
                    group.start_soon(self._work, due, group.cancel_scope)
            around.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _work(self, due: Iterator[tuple[Trials, Due]], scope: anyio.CancelScope) -> None:
        try:
            while (next_one := next(due, None)) is not None:
                trials, one = next_one
                if trials.stopped is not None:
                    continue
                # A task may await nothing, but the run must still be cancellable.
                await checkpoint()
                await trials.run(one)
        except Exception as exc:  # not from a task or a scorer, because their exceptions are stored
            self._failure = self._failure or exc
            scope.cancel()


def _output_fields(kept: KeptOutput) -> dict[str, Any]:
    return {
        "output": kept.json,
        "output_type": kept.type,
        "output_turn": kept.turn,
        "finish_reason": kept.finish_reason,
    }
