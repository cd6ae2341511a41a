"""A run that is killed and run again: nothing is done twice, nothing is lost, whatever moment it was."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import lutum
from lutum.eval import Case, load_run, run
from lutum.eval._folder import RunFolder, RunInfo, read_run, trace_name
from lutum.eval._results import TrialResult
from lutum.testing import ScriptedAdapter

CASES = 200

# What a user's program looks like. It says which trial begins, and from case `STOP` on it only waits.
PROGRAM = f"""
import sys
import anyio
import lutum
import lutum.eval
from lutum.testing import ScriptedAdapter

backend, into, stop = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def task(case, llm):
    print(case.id, flush=True)
    if case.input >= stop:
        await anyio.sleep_forever()
    return (await llm.text_turn(f"question {{case.input}}").collect()).text

async def main():
    cases = [lutum.eval.Case(f"c{{i:03}}", i, "yes") for i in range({CASES})]
    llm = lutum.Lutum(ScriptedAdapter([["yes"]] * {CASES}))
    await lutum.eval.run(cases, task, score=lambda case, said: said == case.expected, llm=llm, into=into)

lutum.run(main, backend=backend)
"""


def begun(into: Path, backend: str, *, stop: int = CASES, kill_after: int | None = None) -> list[str]:
    """Run the program; returns the ids of the trials that began. Killed after that many, if it says so."""
    command = [sys.executable, "-c", PROGRAM, backend, str(into), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = list[str]()
        for line in process.stdout:
            found.append(line.strip())
            if len(found) == kill_after:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL)
    return found


def finished(into: Path) -> list[str]:
    """The ids of the trials whose line is whole, read without our help."""
    data = (into / "results.jsonl").read_text()
    return [json.loads(line)["case"] for line in data[: data.rfind("\n") + 1].splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="has neither SIGKILL nor the lock")
def test_kill_9_and_run_again(tmp_path: Path) -> None:
    """Two kills, then to the end, on both backends in turn: each of 200 cases is finished once, and what
    was finished is never begun again."""
    done = set[str]()
    for backend, stop, kill_after in ("asyncio", 90, 60), ("trio", 170, 80), ("asyncio", CASES, None):
        started = begun(tmp_path, backend, stop=stop, kill_after=kill_after)
        assert not done & set(started)
        assert len(started) == len(set(started))
        now = finished(tmp_path)
        assert len(now) == len(set(now))
        assert done <= set(now)
        assert set(now) - done <= set(started)
        assert kill_after is None or len(set(now) - done) >= kill_after - 8 - 1
        done = set(now)
    assert len(done) == CASES
    report = load_run(tmp_path)
    assert (len(report.results), report.score) == (CASES, 1)
    assert all((tmp_path / str(result.trace)).is_file() for result in report.results)
    assert begun(tmp_path, "trio") == []


async def answer(case: Case[str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_a_file_cut_anywhere_goes_on(tmp_path: Path, cut: float, seed: int) -> None:
    """Whatever byte the file ends at, the whole lines count, the rest of the last one is cut off, and the
    run does what is missing."""
    into = tmp_path / f"{seed}-{cut}"
    cases = [Case(f"c{i}", f"question {i}") for i in range(6)]

    async def once() -> int:
        adapter = ScriptedAdapter([["y\u00e9s"]] * 6)
        await run(cases, answer, score=lambda case, said: 1, llm=lutum.Lutum(adapter), into=into)
        return len(adapter.requests)

    assert anyio.run(once) in (0, 6)
    file = into / "results.jsonl"
    data = file.read_bytes()
    os.truncate(file, round(cut * len(data)))
    whole = file.read_bytes().count(b"\n")
    assert len(load_run(into).results) == whole
    assert anyio.run(once) == 6 - whole
    assert sorted(finished(into)) == [case.id for case in cases]
    assert file.read_bytes().count(b"\n") == 6


@pytest.mark.skipif(sys.platform == "win32", reason="has no such lock")
async def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one says so before it starts anything; when the first is over it may."""
    llm = lutum.Lutum(ScriptedAdapter([["yes"]] * 2))

    async def task(case: Case[str], llm: lutum.Lutum) -> str:
        with pytest.raises(lutum.UsageError, match="another run writes into"):
            await run([case], answer, score=lambda case, said: 1, llm=llm, into=tmp_path)
        return ""

    assert (await run([Case("a", "q")], task, score=lambda case, said: 1, llm=llm, into=tmp_path)).score == 1
    await run([Case("a", "q")], task, score=lambda case, said: 1, llm=llm, into=tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """A folder without `run.json`, one of another format, a line that is no result or that repeats one."""
    with pytest.raises(lutum.BadValue, match=r"no run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 3}')
    with pytest.raises(lutum.BadValue, match="format 3"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(lutum.BadValue, match="does not describe a run"):
        RunFolder(tmp_path, RunInfo())
    (tmp_path / "run.json").write_text('{"format": 1}')
    line = b'{"case":"a","trial":0}\n'
    (tmp_path / "results.jsonl").write_bytes(line * 2)
    with pytest.raises(lutum.BadValue, match=r"results\.jsonl:2 repeats trial 0 of case 'a'"):
        load_run(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(line + b"{}\n" + line)
    with pytest.raises(lutum.BadValue, match=r"results\.jsonl:2 is not a result"):
        RunFolder(tmp_path, RunInfo())


@given(st.lists(st.text(max_size=80), unique=True, max_size=30), st.integers(0, 9))
def test_names_of_traces_are_safe_and_unique(ids: list[str], trial: int) -> None:
    """Any id gives a file directly under `traces/`, of a length that every file system takes."""
    names = [trace_name(id, trial) for id in ids]
    assert len({name.lower() for name in names}) == len(ids)
    for name in names:
        folder, _, file = name.partition("/")
        assert folder == "traces"
        assert file.isascii()
        assert len(file) < 80
        assert not set(file) & set('/\\:*?"<>|\0 ')
        assert not file.startswith(("-", ".."))


def test_a_folder_keeps_when_it_began(tmp_path: Path) -> None:
    """Opened again it keeps its first time, and takes the threshold of the last run."""
    with RunFolder(tmp_path, RunInfo(threshold=0.5)) as folder:
        folder.add(TrialResult(case="a", trial=0), b"")
    first, _ = read_run(tmp_path)
    with RunFolder(tmp_path, RunInfo(threshold=0.9, started="other")):
        pass
    second, [result] = read_run(tmp_path)
    assert (second.started, second.threshold) == (first.started, 0.9)
    assert (result.case, result.score) == ("a", None)
