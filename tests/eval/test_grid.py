"""Several arms in one run, and answers that are paid for once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import lutum
from lutum.eval import Arm, Case, compare, grid, load_grid, load_run, run
from lutum.testing import ScriptedAdapter

CASES = [Case(f"c{i}", f"question {i}", "yes") for i in range(6)]


def house(answer: str = "yes", model: str = "scripted-1", **kwargs: Any) -> lutum.Lutum:
    return lutum.Lutum(ScriptedAdapter(lambda request: [answer], model=model), **kwargs)


def sent(llm: lutum.Lutum) -> int:
    assert isinstance(llm.adapter, ScriptedAdapter)
    return len(llm.adapter.requests)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def ask(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(case.input).collect()).text


async def plead(case: Case[str, str], llm: lutum.Lutum) -> str:
    return (await llm.text_turn(f"Please: {case.input}").collect()).text


def equal(case: Case[str, str], output: str) -> bool:
    return output == case.expected


async def test_arms_are_a_model_and_a_task(tmp_path: Path) -> None:
    """Each has a report and a folder; factories are open while the grid runs, and closed behind it."""
    weak, strong = house("no", "weak-1"), house("yes", "strong-2")
    open_now = list[str]()

    @asynccontextmanager
    async def factory() -> AsyncGenerator[lutum.Lutum]:
        open_now.append("strong")
        yield strong
        open_now.remove("strong")

    arms: Any = {
        "weak": Arm(lambda: weak, ask),
        "strong": Arm(factory, ask),
        "strong, please": lambda: (factory, plead),
    }
    report = await grid(CASES, arms, score=equal, trials=2, into=tmp_path)
    assert open_now == []
    assert {name: float(part.score) for name, part in report.arms.items()} == {
        "weak": 0,
        "strong": 1,
        "strong, please": 1,
    }
    assert (sent(weak), sent(strong)) == (12, 24)
    found = report.compare("weak", "strong")
    assert found.score is not None
    assert (found.score.change, found.score.significant) == (1, True)
    with pytest.raises(lutum.BadValue, match="arm: 'none' is not one of weak, strong"):
        report.compare("weak", "none")
    lines = str(report).split("\n")
    assert len(lines) == 7
    assert lines[5] == "strong - weak: +1.000, 95 % 1.000 to 1.000 *"
    assert max(map(len, lines)) <= 80
    loaded = load_grid(tmp_path)
    assert list(loaded.arms) == list(report.arms)
    assert str(loaded) == str(report)
    assert all(loaded.arms[name].results == report.arms[name].results for name in report.arms)
    assert compare(tmp_path / "weak", tmp_path / "strong").score == found.score
    assert load_run(tmp_path / "weak").info.model == "scripted:weak-1"
    again = await grid(CASES, arms, score=equal, trials=2, into=tmp_path)
    assert (sent(weak), sent(strong)) == (12, 24)
    assert again.arms["weak"].results == report.arms["weak"].results


async def test_arms_take_turns() -> None:
    """So that an outage or a rate limit meets all of them."""
    order = list[str]()

    def task(name: str) -> Any:
        async def one(case: Case[str, str], llm: lutum.Lutum) -> str:
            order.append(f"{name} {case.id}")
            await anyio.lowlevel.checkpoint()
            return "yes"

        return one

    llm = house()
    await grid(CASES[:2], {"a": (llm, task("a")), "b": (llm, task("b"))}, score=equal, limit=1)
    assert order == ["a c0", "b c0", "a c1", "b c1"]


async def test_an_arm_whose_budget_refuses_stops_alone() -> None:
    poor = house(budget=lutum.Budget(tokens=1_050))
    report = await grid(CASES, {"poor": (poor, ask), "rich": (house(), ask)}, score=equal, limit=1)
    assert report.arms["poor"].stopped is not None
    assert len(report.arms["poor"].results) < 6
    assert (report.arms["rich"].stopped, len(report.arms["rich"].results)) == (None, 6)


async def test_errors_of_an_arm_are_repeated(tmp_path: Path) -> None:
    down = True

    async def task(case: Case[str, str], llm: lutum.Lutum) -> str:
        if down and case.id == "c3":
            raise ConnectionError("gone")
        return await ask(case, llm)

    llm = house()
    arms = {"a": Arm(llm, task), "b": Arm(llm, task)}
    first = await grid(CASES, arms, score=equal, into=tmp_path)
    assert [len(part.errors) for part in first.arms.values()] == [1, 1]
    down = False
    second = await grid(CASES, arms, score=equal, into=tmp_path)
    assert [len(part.errors) for part in second.arms.values()] == [0, 0]
    assert sent(llm) == 12


@pytest.mark.parametrize(
    "arms", [{}, {"": (None, ask)}, {"a": (7, ask)}, {"a": Arm(house(), "task")}, {"a": ask}, {1: (1, 2, 3)}]
)
async def test_what_is_no_arm_is_refused(arms: Any) -> None:
    with pytest.raises(lutum.BadValue, match="arms: "):
        await grid(CASES, arms, score=equal)


async def test_what_is_no_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lutum.BadValue, match="is not the folder of a grid"):
        load_grid(tmp_path)


async def test_a_cached_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    """Same events, same value, same usage; another request is sent."""
    llm = house()
    first = await run(CASES, ask, score=equal, llm=llm, cache=tmp_path)
    second = await run(CASES, ask, score=lambda case, output: 0.5, llm=llm, cache=tmp_path)
    assert sent(llm) == 6
    assert [r.output for r in first.results] == [r.output for r in second.results]
    assert first.usage == second.usage
    assert (first.cached, second.cached) == (0, 6)
    assert "from the cache  6 requests, which cost nothing this time" in str(second)
    await run(CASES, plead, score=equal, llm=llm, cache=tmp_path)
    assert sent(llm) == 12


async def test_nothing_is_cached_unless_asked_for(tmp_path: Path) -> None:
    llm = house()
    await run(CASES, ask, score=equal, llm=llm)
    await run(CASES, ask, score=equal, llm=llm)
    assert sent(llm) == 12


async def test_trials_keep_different_answers(tmp_path: Path) -> None:
    """The n-th equal request of each trial has an answer of its own."""
    count = 0

    def answer(request: Any) -> list[str]:
        nonlocal count
        count += 1
        return [f"answer {count}"]

    async def twice(case: Case[str, str], llm: lutum.Lutum) -> list[str]:
        return [await ask(case, llm), await ask(case, llm)]

    llm = lutum.Lutum(ScriptedAdapter(answer))
    first = await run(CASES[:1], twice, score=lambda c, o: 1, llm=llm, trials=3, limit=1, cache=tmp_path)
    second = await run(CASES[:1], twice, score=lambda c, o: 1, llm=llm, trials=3, cache=tmp_path)
    outputs = [result.output for result in first.results]
    assert outputs == [["answer 1", "answer 2"], ["answer 3", "answer 4"], ["answer 5", "answer 6"]]
    assert [result.output for result in second.results] == outputs
    assert count == 6


async def test_only_whole_answers_are_cached(tmp_path: Path) -> None:
    """An outage is not, nor is a cut stream, nor a damaged file."""
    from lutum.testing import CUT

    answers: list[Any] = [[lutum.NetworkError("down")], ["ye", CUT], ["yes"]]
    llm = lutum.Lutum(ScriptedAdapter(answers))
    for errors in (1, 1, 0):
        report = await run(CASES[:1], ask, score=equal, llm=llm, cache=tmp_path)
        assert len(report.errors) == errors
    assert (await run(CASES[:1], ask, score=equal, llm=llm, cache=tmp_path)).score == 1
    [file] = files(tmp_path)
    file.write_bytes(b"\xff")
    well = house()
    await run(CASES[:1], ask, score=equal, llm=well, cache=tmp_path)
    assert sent(well) == 1


async def test_another_model_has_other_answers(tmp_path: Path) -> None:
    """The digest covers the adapter, the endpoint and the body."""
    first, second = house("a"), lutum.Lutum(ScriptedAdapter(lambda request: ["b"], scope="other"))
    one = await run(CASES[:1], ask, score=equal, llm=first, cache=tmp_path)
    two = await run(CASES[:1], ask, score=equal, llm=second, cache=tmp_path)
    assert (one.results[0].output, two.results[0].output) == ("a", "b")


async def test_a_grid_shares_its_cache(tmp_path: Path) -> None:
    llm = house()
    for expected in (12, 12):
        report = await grid(
            CASES,
            {"a": (llm, ask), "b": (llm, plead)},
            score=equal,
            cache=tmp_path / "cache",
        )
        assert sent(llm) == expected
        assert report.arms["a"].score == 1
