"""What type checkers make of evals: reports, artifacts and scores keep their types through every step."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import assert_type

import lutum
import lutum.eval
from lutum.eval import (
    Answer,
    Branches,
    Case,
    Eval,
    EvalRecord,
    JudgeEval,
    Objective,
    Probe,
    ProbeHandle,
    PureEval,
    Rate,
    Repeats,
    Score,
    Scored,
    maximize,
    pass_fail,
)
from lutum.trace import Trace


@dataclass
class Verdict:
    points: int


@PureEval.of
def words(trace: Trace, text: str) -> int:
    return len(text.split())


@Eval.of
async def asked(llm: lutum.Lutum, trace: Trace, text: str) -> str:
    return (await llm.text_turn(text).collect()).text


def render(trace: Trace, answer: Answer[str, str, str]) -> str:
    return answer.output


def points(verdict: Verdict) -> float:
    return verdict.points / 10


async def evals(llm: lutum.Lutum, trace: Trace) -> None:
    assert_type(words, PureEval[str, int])
    assert_type(asked, Eval[str, str])
    assert_type(words.evaluate(trace, "a b"), int)
    assert_type(await asked.evaluate(llm, trace, "a"), str)
    assert_type(words.map_report(str), PureEval[str, str])
    assert_type(words.lift(), Eval[str, int])
    assert_type(words.lift().combine(asked, lambda n, text: (n, text)), Eval[str, tuple[int, str]])

    many: Objective[int] = maximize(lambda n: n / 100)
    assert_type(many.score(3), Score)
    assert_type(words.scored_by(many), PureEval[str, Scored[int]])
    some: Objective[str] = pass_fail(bool)
    assert_type(asked.scored_by(some), Eval[str, Scored[str]])
    assert_type(asked.scored_over(3, some), Eval[str, Scored[Repeats[str]]])

    async def task() -> str:
        return "a b c"

    assert_type(await lutum.eval.evaluate(words, task), int)
    assert_type(await lutum.eval.record(words.scored_by(many), task), EvalRecord[int])

    judge = JudgeEval(Verdict, render)
    assert_type(judge, JudgeEval[Answer[str, str, str], Verdict])
    assert_type(judge.scored_by(maximize(points)), Eval[Answer[str, str, str], Scored[Verdict]])


async def runs(llm: lutum.Lutum) -> None:
    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        return case.input

    def exact(case: Case[str, str], said: str) -> bool:
        return said == case.expected

    async def slow(case: Case[str, str], said: str) -> Scored[int]:
        return Scored(1, Score(1))

    cases = [Case("a", "question", "answer")]
    judge = JudgeEval(Verdict, render).scored_by(maximize(points))
    report = await lutum.eval.run(cases, task, score=exact, llm=llm)
    await lutum.eval.run(cases, task, score=slow, llm=llm)
    await lutum.eval.run(cases, task, score=judge, llm=llm)
    assert_type(report.score, Rate)
    assert_type(report.pass_at_k(1), Rate)


async def probes(llm: lutum.Lutum) -> None:
    probe = Probe.of(words)
    assert_type(probe, Probe[str, int])

    async def half(n: int) -> float:
        return n / 2

    async def task(handle: ProbeHandle) -> str:
        assert_type(await handle.dispatch(half, 3), float)
        return "a"

    assert_type(await lutum.eval.run_probe(probe, task, llm=llm), int)


async def branches(session: lutum.Session) -> None:
    async def attempt(branch: lutum.Session) -> str:
        return (await branch.text_turn().collect()).text

    def passed(text: str) -> bool | Awaitable[bool]:
        return bool(text)

    found = await lutum.eval.run_branches(session, attempt, 4, passed=passed, tokens=100)
    assert_type(found, Branches[str])
    if found.first is not None:
        assert_type(found.first.output, str | None)
