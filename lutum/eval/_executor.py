"""Trials on the workers of an executor: processes, or the machines of a cluster.

The parent submits lists of trials to a `concurrent.futures.Executor`. One call runs one list. The call opens
its own `Lutum`, runs its trials concurrently, and stores finished trials in its own folder. If a call is run
again because its worker died, it runs only the trials that are not finished in that folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from lutum._lutum import Lutum
from lutum._values.errors import BadValue, UsageError
from lutum._values.settings import RetryPolicy
from lutum.eval._folder import RunFolder, RunInfo, shard_path
from lutum.eval._progress import Progress
from lutum.eval._results import TrialResult
from lutum.eval._trials import Due

Factory = Callable[[], AbstractAsyncContextManager[Lutum]]
"""A module-level function that returns an async context manager of a `Lutum`, for workers."""

Work = Callable[["Shard", Sequence[Due]], tuple[list[bytes], str | None]]

AHEAD = 256
"""The largest number of calls that an executor holds at a time."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The parameters of a call, without its trials. They are sent to another process."""

    task: Callable[..., Any]
    score: Any
    llm: Factory
    judge: Factory | None
    trials: int
    threshold: float
    folder: str | None
    backend: str
    retry: RetryPolicy | None = None
    cache: str | None = None


def check_factory(field: str, factory: object) -> None:
    """Raise BadValue if `factory` cannot make a `Lutum` in another process."""
    if isinstance(factory, Lutum):
        raise BadValue(
            field,
            "is a Lutum, which cannot be sent to another process; with executor=, give a function of a module"
            " that returns an async context manager of a Lutum",
        )
    name = getattr(factory, "__qualname__", "")
    if not callable(factory) or "<locals>" in name or "<lambda>" in name:
        raise BadValue(
            field, f"{factory!r} is not a function of a module, so a worker cannot import it by its name"
        )


def run_shard(shard: Shard, pairs: Sequence[Due], run: Any) -> tuple[list[bytes], str | None]:
    """Run trials in a worker. Return the results as JSON, and the reason if the budget ended the run early.

    `run` is the coroutine function that runs the trials with a `Lutum`; see `_run._run_due`.
    """
    return anyio.run(_run_shard, shard, pairs, run, backend=shard.backend)


async def _run_shard(shard: Shard, pairs: Sequence[Due], run: Any) -> tuple[list[bytes], str | None]:
    async with AsyncExitStack() as stack:
        folder = None if shard.folder is None else stack.enter_context(_open(shard))
        llm = await stack.enter_async_context(shard.llm())
        if not isinstance(llm, Lutum):
            raise UsageError(f"llm: the context manager yielded {llm!r}, which is not a Lutum")
        judge = llm if shard.judge is None else await stack.enter_async_context(shard.judge())
        results, stopped = await run(shard, pairs, llm, judge, folder)
    return [msgspec.json.encode(result) for result in results], stopped


def _open(shard: Shard) -> RunFolder:
    """Open the folder of a call. If a paused copy of the call still holds its lock, use the next name."""
    assert shard.folder is not None
    for attempt in itertools.count():
        path = Path(shard.folder if attempt == 0 else f"{shard.folder}.{attempt}")
        try:
            return RunFolder(path, RunInfo(threshold=shard.threshold))
        except UsageError:
            if attempt == 20:
                raise
    raise AssertionError


async def hand_out(
    executor: Executor,
    work: Work,
    shard: Shard,
    pairs: Iterator[Due],
    size: int,
    into: Path | None,
    bar: Progress,
) -> tuple[list[TrialResult], str | None]:
    """Run all pairs on the executor. On cancellation no further call starts, but running calls finish.

    Raises:
      BrokenExecutor: a worker of a process pool died; finished trials are kept.
    """
    numbers = _free_numbers(into)
    results, stopped = list[TrialResult](), list[str]()
    open_calls = set[Future[Any]]()
    slots = anyio.Semaphore(AHEAD)
    failed = list[BaseException]()
    earlier = dict[tuple[str, int], TrialResult]()

    async def follow(future: Future[Any]) -> None:
        try:
            await _done(future)
            found, why = future.result()
            for line in found:
                result = msgspec.json.decode(line, type=TrialResult)
                results.append(result)
                bar.add(result, earlier.get((result.case, result.trial)))
            if why is not None:
                stopped.append(why)
        except Exception as error:
            if isinstance(error, BrokenExecutor) and into is not None:
                error.add_note(f"a worker died; finished trials are in {into}. Run again with a new executor")
            failed.append(error)
        finally:
            open_calls.discard(future)
            slots.release()

    async def submit(group: TaskGroup) -> None:
        while not stopped and not failed:
            chunk = list(itertools.islice(pairs, size))
            if not chunk:
                break
            for due in chunk:
                if due.earlier is not None:
                    earlier[due.case.id, due.trial] = due.earlier
            await slots.acquire()
            folder = None if into is None else str(shard_path(into, next(numbers)))
            future = executor.submit(work, replace(shard, folder=folder), chunk)
            open_calls.add(future)
            group.start_soon(follow, future)

    try:
        async with anyio.create_task_group() as around:
            around.start_soon(bar.tick)
            async with anyio.create_task_group() as group:
                try:
                    await submit(group)
                except Exception as error:  # from the dataset, or from a broken or closed executor
                    failed.append(error)
            around.cancel_scope.cancel()
    finally:
        for future in open_calls:
            future.cancel()
    if failed:
        raise failed[0]
    return results, stopped[0] if stopped else None


def _free_numbers(into: Path | None) -> Iterator[int]:
    used = 0
    if into is not None:
        for path in (into / "shards").glob("*"):
            used = max(used, int(path.name.split(".")[0]) if path.name.split(".")[0].isdecimal() else 0)
    return itertools.count(used + 1)


async def _done(future: Future[Any]) -> None:
    """Wait until a future is done. Cancellation does not stop the future."""
    event = anyio.Event()
    loop: Any = current_token().native_token
    soon = cast(
        "Callable[[Callable[[], None]], Any]",
        getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon,
    )

    def done(_: Future[Any]) -> None:
        try:
            soon(event.set)
        except RuntimeError:  # the loop has ended
            pass

    future.add_done_callback(done)
    await event.wait()
