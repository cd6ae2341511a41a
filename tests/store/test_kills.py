"""Processes that are killed at random points, and processes that want the same branch at once."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import lutum
from lutum import CommittedTurn, ToolResult
from lutum.store import connect

pytestmark = pytest.mark.process

KILLS = int(os.environ.get("LUTUM_KILLS", "10"))
PROGRAM = Path(__file__).parent / "program.py"
RACER = Path(__file__).parent / "racer.py"
ROUNDS = 5


def run(url: str, log: Path, backend: str, policy: str, branch: str, kill_after: float | None) -> bool:
    """Run the program, and kill it so many seconds after its start. Returns whether it was killed."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), url, str(log), backend, policy, branch],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            _, error = process.communicate(timeout=60)
            raise AssertionError(f"the program failed: {error}")
        try:
            process.wait(timeout=60 if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            assert kill_after is not None, "the program hangs"
            process.kill()
            process.wait(timeout=60)
            return True
        assert process.returncode == 0, process.communicate()[1]
        return False
    finally:
        process.kill()
        process.communicate()


def check(lines: list[list[str]], policy: str) -> None:
    """What the log of a branch must show, whenever its processes were killed."""
    asked, ran = Counter[str](), Counter[str]()
    recorded, claimed = set[str](), set[str]()
    longest = 0
    confirmed = dict[int, str]()
    for kind, *rest in lines:
        match kind, rest:
            case "ran", [key]:
                ran[key] += 1
                assert key not in recorded, f"{key} ran although its result was recorded"
                assert key not in claimed or policy == "run", f"{key} ran although it was claimed"
            case "recorded", [key]:
                recorded.add(key)
            case "found", [key, "result"]:
                recorded.add(key)
            case "found", [key, "started"]:
                assert key not in recorded, f"the result of {key} was lost"
                claimed.add(key)
            case "found", [key, "nothing"]:
                assert key not in ran, f"{key} ran without a claim"
            case "held" | "saved", [length, digest]:
                longest = max(longest, int(length) - (kind == "held"))
                if kind == "saved":
                    confirmed[int(length)] = digest
            case "loaded", [length, digest]:
                assert int(length) >= longest, f"{longest - int(length)} committed items were lost"
                assert confirmed.get(int(length), digest) == digest, "the head is another one"
            case "asked", [turn]:
                asked[turn] += 1
            case _:
                assert kind == "done", kind
    if policy == "report":
        assert max(ran.values()) == 1, f"a call ran twice: {ran}"
    assert lines[-1] == ["done"]


@pytest.mark.slow
async def test_kills(url: str, tmp_path: Path, anyio_backend: str) -> None:
    """No committed turn is lost, no transcript is torn, and no call runs twice while its result or claim is
    recorded."""
    chance = random.Random(f"{url.partition(':')[0]} {anyio_backend}")
    kills, number, wanted = 0, 0, (KILLS + 1) // 2  # half of them on each backend
    while kills < wanted:
        number += 1
        assert number <= 4 * KILLS, "the program ends before it can be killed"
        policy, branch = ("run", "report")[number % 2], f"branch {number}"
        log = tmp_path / f"log {number}"
        finished = False
        while not finished:
            kill_after = chance.uniform(0, 0.25) if kills < wanted else None
            killed = run(url, log, anyio_backend, policy, branch, kill_after)
            kills += killed
            finished = not killed
        check([line.split() for line in log.read_text().splitlines()], policy)
        async with connect(url) as store:
            found = await store.branch(branch)
            assert await found.held(lutum.Toolset()) is None
            kinds = [type(item) for item in found.transcript]
            one = [CommittedTurn, ToolResult, ToolResult]
            assert kinds == [lutum.Message, *one * ROUNDS, CommittedTurn]
            assert (await found.usage()).input_tokens >= ROUNDS + 1


def race(url: str, go: Path, steps: int, number: int) -> subprocess.Popen[str]:
    """Start a racer; every second one runs on trio."""
    backend = ("trio", "asyncio")[number % 2]
    command = [sys.executable, str(RACER), url, str(go), str(steps), str(number), backend]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
async def test_one_of_eight_processes_moves_a_branch(url: str, tmp_path: Path) -> None:
    """Each step has exactly one winner, and the branch holds the winners' items in order."""
    steps, go = 6, tmp_path / "go"
    async with connect(url) as store:
        await store.create("race")
    racers = [race(url, go, steps, number) for number in range(8)]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        go.touch()
        deadline = time.monotonic() + 60
        wins = list[str]()
        for racer in racers:
            said, _ = racer.communicate(timeout=max(1, deadline - time.monotonic()))
            assert racer.returncode == 0
            wins += said.split("\n")[:-1]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(int(win.split()[0]) for win in wins) == list(range(steps))
    async with connect(url) as store:
        transcript = (await store.branch("race")).transcript
    assert [item.text for item in transcript] == sorted(wins)
