"""A folder knows what was run, and refuses another run by name."""

import functools
import json
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum.eval import Answer, Case, JudgeEval, PureEval, load_run, maximize, minimize, run
from lutum.eval._identity import git_commit, signed
from lutum.testing import ScriptedAdapter

CASES = [Case(f"c{i}", f"question {i}", "yes") for i in range(2)]
PROMPT = "Answer yes or no."


def house(model: str = "scripted-1", scope: str = "scripted") -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter(lambda request: ["yes"], model=model, scope=scope))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


async def other(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(f"{PROMPT} {case.input}").collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


def task_with(prompt: str) -> Callable[[Case[str, str], lutum.Lutum], Awaitable[str]]:
    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        return (await llm.text_turn(prompt + case.input).collect()).text

    return task


class Agent:
    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.calls = 0

    async def __call__(self, case: Case[str, str], llm: lutum.Lutum) -> str:
        self.calls += 1
        return await ask(case, llm)

    async def task(self, case: Case[str, str], llm: lutum.Lutum) -> str:
        self.calls += 1
        return await ask(case, llm)


async def prompted(prompt: str, case: Case[str, str], llm: lutum.Lutum) -> str:
    return await ask(case, llm)


@dataclass
class Verdict:
    points: int


@PureEval.of
def length(trace: lutum.trace.Trace, answer: Answer[str, str, str]) -> float:
    return min(1.0, len(answer.output) / 10)


def judge(prompt: str) -> Any:
    return JudgeEval[Any, Verdict](Verdict, lambda trace, answer: prompt).scored_by(
        maximize(lambda verdict: verdict.points / 10)
    )


BASE: dict[str, Any] = {"task": ask, "score": equal, "llm": house()}
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("the model was scripted:scripted-1, and is scripted:strong-2", {"llm": house("strong-2")}),
    ("the model was scripted:scripted-1, and is scripted:scripted-1 at box", {"llm": house(scope="box")}),
    ("the task was", {"task": other}),
    ("the task was", {"task": task_with("a")}),
    ("the scorer 'score' was", {"score": lambda case, output: 1.0}),
    ("the scorer 'score' was", {"score": length.scored_by(maximize(lambda value: value))}),
    ("the scorer 'exact' was nothing|the scorer 'score'", {"score": {"exact": equal}}),
    ("the scorer 'long' was missing", {"score": {"score": equal, "long": lambda case, output: 1}}),
]


@pytest.mark.parametrize(("words", "changed"), OTHERS, ids=range(len(OTHERS)))
async def test_another_run_is_refused_by_name(words: str, changed: dict[str, Any], tmp_path: Path) -> None:
    """The message says what differs; nothing is sent, and the folder is as it was."""
    given = {**BASE, **changed}
    await run(CASES, BASE["task"], score=BASE["score"], llm=house(), into=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(lutum.BadValue, match=r"into: .* holds another run: ") as raised:
        await run(CASES, given["task"], score=given["score"], llm=given["llm"], into=tmp_path)
    assert any(word in str(raised.value) for word in words.split("|"))
    assert given["llm"].adapter.requests == []
    assert contents(tmp_path) == before
    again = await run(CASES, BASE["task"], score=BASE["score"], llm=house(), into=tmp_path)
    assert len(again.results) == 2


async def test_another_judge_is_another_run(tmp_path: Path) -> None:
    one = {"score": judge("Points?"), "llm": house()}
    await run(CASES, ask, **one, judge=house("judge-1"), into=tmp_path)
    with pytest.raises(lutum.BadValue, match="the judge was scripted:judge-1, and is scripted:judge-2"):
        await run(CASES, ask, **one, judge=house("judge-2"), into=tmp_path)


agent = Agent("a")
PAIRS: list[tuple[Any, Any, bool]] = [
    (ask, ask, True),
    (ask, other, False),
    (task_with("a"), task_with("a"), True),
    (task_with("a"), task_with("b"), False),
    (functools.partial(prompted, "a"), functools.partial(prompted, "a"), True),
    (functools.partial(prompted, "a"), functools.partial(prompted, "b"), False),
    (functools.partial(prompted, prompt="a"), functools.partial(prompted, prompt="b"), False),
    (Agent("a"), Agent("a"), True),
    (Agent("a"), Agent("b"), False),
    (agent.task, agent.task, True),
    (Agent("a").task, Agent("b").task, False),
    (judge("a"), judge("a"), True),
    (judge("a"), judge("b"), False),
    (length.scored_by(maximize(abs)), length.scored_by(minimize(abs)), False),
    (task_with("/home/a/prompts"), task_with("/srv/prompts"), True),
    (lambda case, output: 1, lambda case, output: 1, True),
    (lambda case, output: 1, lambda case, output: 0, False),
    (lambda case, output: output in {"a", "b"}, lambda case, output: output in {"b", "a"}, True),
    (equal, equal, True),
]


@pytest.mark.parametrize(("one", "two", "same"), PAIRS, ids=range(len(PAIRS)))
def test_functions_are_told_apart_by_code_and_prompt(one: Any, two: Any, same: bool) -> None:
    assert (signed(one) == signed(two)) is same


def test_state_does_not_make_another_run() -> None:
    """Counters in closures and objects change while a run goes on."""
    calls = 0
    down = True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        nonlocal calls
        calls += 1
        return str(down)

    one = Agent("a")
    before = signed(task), signed(one)
    calls, down, one.calls = 7, False, 9
    assert (signed(task), signed(one)) == before


def test_a_constant_of_the_module_is_part_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt usually stands there."""
    before = signed(other)
    monkeypatch.setitem(other.__globals__, "PROMPT", "Answer at length.")
    assert signed(other) != before


async def test_run_json_says_what_was_run(tmp_path: Path) -> None:
    """Task, model, scorers, versions and commit, for each call of `run`."""
    await run(CASES[:1], ask, score={"right": equal}, llm=house(), into=tmp_path)
    await run(CASES, ask, score={"right": equal}, llm=house(), into=tmp_path)
    info = json.loads((tmp_path / "run.json").read_text())
    assert info["task"].partition("#")[0].endswith("ask")
    assert info["model"] == "scripted:scripted-1"
    assert list(info["scorers"]) == ["right"]
    assert info["versions"]["python"]
    assert "lutum" in info["versions"]
    assert info["commit"] == git_commit()
    assert len(info["sessions"]) == 2
    assert load_run(tmp_path).info.model == "scripted:scripted-1"


async def test_digests_of_another_python_are_not_compared(tmp_path: Path) -> None:
    """Its compiler makes other code of the same source; names are compared all the same."""
    await run(CASES[:1], ask, score=equal, llm=house(), into=tmp_path)
    file = tmp_path / "run.json"
    info = json.loads(file.read_text())
    info["versions"]["python"] = "3.9.1"
    info["task"] = info["task"].partition("#")[0] + "#000000000000"
    file.write_text(json.dumps(info))
    await run(CASES, ask, score=equal, llm=house(), into=tmp_path)
    info = json.loads(file.read_text())
    info["versions"]["python"] = "3.9.1"
    file.write_text(json.dumps(info))
    with pytest.raises(lutum.BadValue, match="the task was"):
        await run(CASES, other, score=equal, llm=house(), into=tmp_path)


async def test_parts_of_different_runs_are_not_one(tmp_path: Path) -> None:
    await run(CASES[:1], ask, score=equal, llm=house(), into=tmp_path / "a")
    await run(CASES[1:], ask, score=equal, llm=house("strong-2"), into=tmp_path / "b")
    with pytest.raises(lutum.BadValue, match=r"has another run than .*: the model was"):
        load_run(tmp_path / "a", tmp_path / "b")


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    """From a branch, a packed one, a detached head and a worktree; nothing where there is no repository."""
    assert git_commit(tmp_path) == ""

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("init", "-q")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git is not installed")
    git("commit", "-q", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    (tmp_path / "inner").mkdir()
    assert git_commit(tmp_path / "inner") == head
    git("pack-refs", "--all")
    assert git_commit(tmp_path) == head
    git("worktree", "add", "-q", "tree", "-b", "side")
    assert git_commit(tmp_path / "tree") == head
    git("checkout", "-q", "--detach")
    assert git_commit(tmp_path) == head
