"""Trials on workers of other processes: a process pool and a dask cluster, with one ledger in Redis."""

import os
import sys
from collections import Counter
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import eval_workers as workers
import pytest
from redis_server import PrivateRedis, needs_redis

import lutum
from lutum.eval import Case, RunReport, load_run, run
from lutum.eval._folder import RunFolder, RunInfo, shard_path
from lutum.redis import RedisLedger
from lutum.testing import ScriptedAdapter

pytestmark = pytest.mark.process


def cases(starts: Path, number: int = 12, dies: int | None = None) -> list[Case]:
    return [
        Case(
            f"c{i:02}", i, i * 2, ("even",) if i % 2 == 0 else (), {"starts": str(starts), "dies": i == dies}
        )
        for i in range(number)
    ]


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def started(folder: Path) -> Counter[str]:
    return Counter((folder / "starts").read_text().split())


async def evaluate(tmp_path: Path, executor: Any, llm: Any = workers.local, **options: Any) -> RunReport:
    given = options.pop("cases", None) or cases(tmp_path)
    return await run(
        given, workers.task, score=workers.score, llm=llm, executor=executor, progress=False, **options
    )


async def test_a_process_pool_runs_each_trial_once(tmp_path: Path) -> None:
    into = tmp_path / "run"
    with pool() as executor:
        report = await evaluate(tmp_path, executor, limit=3, into=into)
        assert (len(report.results), float(report.score), report.stopped) == (12, 1.0, None)
        again = await evaluate(tmp_path, executor, limit=3, into=into)
        assert again.results == report.results
    assert set(started(tmp_path).values()) == {1}
    loaded = load_run(into)
    assert loaded.results == report.results
    assert loaded.tags["even"].score == 1
    assert all((into / str(result.trace)).exists() for result in loaded.results)
    assert len(list((into / "shards").iterdir())) == 4


async def test_without_a_folder_the_results_come_back(tmp_path: Path) -> None:
    with pool() as executor:
        report = await evaluate(tmp_path, executor, trials=2)
    assert len(report.results) == 24
    assert report.usage.total_tokens == 24 * 11


async def test_a_killed_workers_trials_run_again_and_finished_ones_never(tmp_path: Path) -> None:
    into = tmp_path / "run"
    given = cases(tmp_path, dies=5)
    with pool() as executor, pytest.raises(BrokenExecutor) as raised:
        await evaluate(tmp_path, executor, limit=4, into=into, cases=given)
    assert "Run again with a new executor" in raised.value.__notes__[0]
    before = {(result.case, result.trial) for result in load_run(into).results}
    first = started(tmp_path)
    with pool() as executor:
        report = await evaluate(tmp_path, executor, limit=4, into=into, cases=given)
    assert (len(report.results), float(report.score)) == (12, 1.0)
    assert all(started(tmp_path)[case] == first[case] for case, _ in before)
    assert ("c05", 0) not in before


async def test_a_second_writer_is_refused_and_takes_another_folder(tmp_path: Path) -> None:
    into = tmp_path / "run"
    with RunFolder(into, RunInfo()), pool() as executor:
        with pytest.raises(lutum.UsageError, match="another run writes"):
            await evaluate(tmp_path, executor, into=into)
    with RunFolder(shard_path(into, 1), RunInfo()):  # a paused twin
        with pool() as executor:
            report = await evaluate(tmp_path, executor, limit=12, into=into)
    assert len(report.results) == 12
    assert len(load_run(into, tmp_path / "run").results) == 12


async def test_errors_are_repeated_by_workers_too(tmp_path: Path) -> None:
    """A failed task runs again, an answer without a score is only scored again."""
    into, down = tmp_path / "run", tmp_path / "down"
    down.touch()
    given = cases(tmp_path)

    async def once(**options: Any) -> RunReport:
        with ThreadPoolExecutor(2) as executor:
            return await run(
                given,
                workers.outage,
                score=workers.moody,
                llm=workers.local,
                executor=executor,
                progress=False,
                limit=4,
                into=into,
                **options,
            )

    first = await once(retry=1)
    assert (len(first.errors), first.scores) == (12, {})
    assert set(started(tmp_path).values()) == {1, 2}
    assert (await once(again="unfinished")).results == first.results
    down.unlink()
    second = await once()
    assert (len(second.errors), float(second.score), len(second.results)) == (0, 1.0, 12)
    assert started(tmp_path) == {f"c{i:02}": 3 if i % 2 == 0 else 1 for i in range(12)}
    assert load_run(into).results == second.results
    assert all((into / str(result.trace)).exists() for result in second.results)


@pytest.mark.slow
@needs_redis
async def test_all_workers_draw_on_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PrivateRedis() as server:
        monkeypatch.setenv("LUTUM_TEST_REDIS", f"{server.url} eval")
        with pool() as executor:
            report = await evaluate(tmp_path, executor, workers.shared, limit=2)
        assert (len(report.results), report.stopped) == (12, None)
        async with RedisLedger(server.url, "eval") as ledger:
            assert ledger.state.spent.total_tokens == report.usage.total_tokens == 12 * 11
        # A limit below what is spent ends the run, and what is not finished is not a score of 0.
        monkeypatch.setenv("LUTUM_TEST_TOKENS", "150")
        with pool() as executor:
            report = await evaluate(tmp_path, executor, workers.shared, limit=2, into=tmp_path / "run")
        assert report.stopped is not None
        assert "under 'run'" in report.stopped
        assert len(report.results) < 12
        assert report.failures == {}


@pytest.mark.filterwarnings("ignore")  # what dask and tornado warn of
@needs_redis
def test_a_dask_cluster_with_a_worker_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    import anyio

    with PrivateRedis() as server:
        monkeypatch.setenv("LUTUM_TEST_REDIS", f"{server.url} dask")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent), *sys.path]))
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
            executor = client.get_executor(retries=2)
            into = tmp_path / "run"

            async def main() -> RunReport:
                given = cases(tmp_path, dies=5)
                return await evaluate(tmp_path, executor, workers.shared, limit=3, into=into, cases=given)

            report = anyio.run(main, backend="trio")
            assert (len(report.results), float(report.score), report.failures) == (12, 1.0, {})
            assert load_run(into).results == report.results
            died = started(tmp_path)
            # Each that was finished when the worker died ran once.
            assert died["c05"] == 2
            assert sum(died.values()) <= 12 + 6


@pytest.mark.parametrize(
    ("llm", "words"),
    [
        (lutum.Lutum(ScriptedAdapter([])), "cannot be sent to another process"),
        (lambda: None, "is not a function of a module"),
        (7, "is not a function of a module"),
    ],
    ids=["lutum", "lambda", "number"],
)
async def test_what_cannot_go_to_a_worker_is_refused(llm: Any, words: str, tmp_path: Path) -> None:
    with pool() as executor, pytest.raises(lutum.BadValue, match=words) as raised:
        await evaluate(tmp_path, executor, llm)
    assert raised.value.field == "llm"
    with pool() as executor, pytest.raises(lutum.BadValue) as raised:
        await evaluate(tmp_path, executor, workers.local, judge=llm)
    assert raised.value.field == "judge"


async def test_a_factory_without_an_executor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lutum.BadValue, match="unless executor= is given"):
        await evaluate(tmp_path, None, workers.local)


async def test_a_factory_that_gives_something_else_is_named(tmp_path: Path) -> None:
    with pool() as executor, pytest.raises(lutum.UsageError, match="yielded 7, which is not a Lutum"):
        await evaluate(tmp_path, executor, workers.nothing)


def traces(folder: Path) -> set[str]:
    return {path.as_posix() for path in folder.rglob("traces/*")}


async def test_load_run_merges_folders(tmp_path: Path) -> None:
    llm = lutum.Lutum(ScriptedAdapter([["a"]] * 100))
    given = cases(tmp_path)
    for name, part in (("a", given[:7]), ("b", given[5:])):
        await run(part, workers.task, score=workers.score, llm=llm, into=tmp_path / name, progress=False)
    report = load_run(tmp_path / "a", tmp_path / "b")
    assert [result.case for result in report.results] == [case.id for case in given]
    assert traces(tmp_path) >= {str(result.trace) for result in report.results}
    other = [Case("c00", 99, 198, (), {"starts": str(tmp_path)})]
    await run(other, workers.task, score=workers.score, llm=llm, into=tmp_path / "c", progress=False)
    with pytest.raises(lutum.BadValue, match="different cases with the id 'c00'"):
        load_run(tmp_path / "a", tmp_path / "c")
    await run(
        given[:1],
        workers.task,
        score=workers.score,
        llm=llm,
        into=tmp_path / "d",
        progress=False,
        threshold=0.5,
    )
    with pytest.raises(lutum.BadValue, match="threshold"):
        load_run(tmp_path / "a", tmp_path / "d")
