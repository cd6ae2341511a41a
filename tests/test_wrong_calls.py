"""The commonest wrong calls name the remedy; by tests/typing/wrong_calls.py checkers find them too."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
import trio

import lutum
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, Status, WireServer

ADAPTER: Any = ScriptedAdapter(lambda _: ["hi"])
LLM: Any = lutum.Lutum(ADAPTER)
SESSION: Any = lutum.Session(LLM)
TURN: Any = LLM.text_turn("x")
MESSAGES: Any = [{"role": "user", "content": "x"}]
MAKE: Any = lutum.Lutum
NAMES: Any = lutum


@lutum.tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return city


async def undecorated(city: str) -> str:
    return city


async def outcome() -> Any:
    return await LLM.text_turn("x").tools(lutum.Toolset(weather)).collect()


async def called() -> Any:
    llm = lutum.Lutum(ScriptedAdapter([[lutum.ToolCallReady("1", "weather", '{"city":"x"}')]]))
    return await llm.text_turn("x").tools(lutum.Toolset(weather)).collect()


async def text_of_outcome() -> object:
    return (await outcome()).text


async def calls_of_outcome() -> object:
    return (await called()).calls


async def results_without_await() -> object:
    found = await called()
    return found.round.run().results


async def iterated_outside() -> None:
    async for _ in TURN.stream():
        pass


async def value_of_text() -> object:
    return (await TURN.collect()).value


def commit(result: Any) -> None:
    try:
        SESSION.commit_text(result)
    finally:
        result.close()


def loaded(data: Any) -> None:
    lutum.Transcript.load(data)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "messages": (lambda: LLM.text_turn(MESSAGES), r"ModelInput\(\)\.system\(.*from_messages"),
    "a message": (lambda: LLM.text_turn(MESSAGES[0]), "from_messages"),
    "tools(f)": (lambda: TURN.tools(weather), re.escape(".tools(lutum.Toolset(weather))")),
    "tools([f])": (lambda: TURN.tools([weather]), re.escape(".tools(lutum.Toolset(weather))")),
    "tools(plain f)": (lambda: TURN.tools(undecorated), r"Toolset\(undecorated\)\).*@lutum\.tool"),
    "Session(adapter)": (lambda: lutum.Session(ADAPTER), re.escape("Session(Lutum(adapter))")),
    "push_user({})": (lambda: SESSION.push_user(MESSAGES[0]), "user: a dict is neither text nor parts"),
    "push_user([{}])": (lambda: SESSION.push_user(MESSAGES), r"user\[0\]: needs lutum\.Text.*not a dict"),
    "load(str)": (lambda: loaded("chat.jsonl"), re.escape("Path('chat.jsonl').read_bytes()")),
    "load(Path)": (lambda: loaded(Path("chat.jsonl")), re.escape("Path('chat.jsonl').read_bytes()")),
    "Lutum(str)": (lambda: MAKE("sonnet"), re.escape("lutum.adapter('provider:sonnet')")),
    "Lutum(name)": (lambda: MAKE("claude:sonnet"), re.escape("lutum.adapter('claude:sonnet')")),
    "Lutum(class)": (lambda: MAKE(lutum.ClaudeAdapter), "adapter: .*make an instance"),
    "timeout(30)": (lambda: TURN.timeout(30), re.escape(".timeout(total=30)")),
    "max_tokens": (lambda: TURN.max_tokens(5), re.escape(".max_output_tokens(n)")),
    "max_output_token": (lambda: TURN.max_output_token(5), re.escape("did you mean .max_output_tokens")),
    "collect().text": (lambda: TURN.collect().text, "`await` is missing"),
    "collect_with().text": (lambda: TURN.collect_with(print).text, "`await` is missing"),
    "commit(collect())": (lambda: commit(TURN.collect()), "a coroutine; write `await`"),
    "round.run()": (results_without_await, "`await` is missing"),
    "outcome.text": (text_of_outcome, r"case lutum\.Finished\(result\)"),
    "outcome.calls": (calls_of_outcome, r"case lutum\.NeedsTools\(round\)"),
    "result.value": (value_of_text, r"structured_turn\(T"),
    "temperature": (lambda: TURN.temperature("hot"), "temperature: needs a number, not a str"),
    "llm.chat": (lambda: LLM.chat("x"), re.escape("await llm.text_turn(...).collect()")),
    "session.messages": (lambda: SESSION.messages, r"session\.transcript"),
    "session.send": (lambda: SESSION.send("x"), r"session\.push_user"),
    "an iteration": (iterated_outside, r"async with turn\.stream\(\)"),
}


@pytest.mark.parametrize("call", WRONG)
async def test_a_wrong_call_names_the_remedy(call: str) -> None:
    make, remedy = WRONG[call]
    with pytest.raises(lutum.UsageError, match=remedy) as caught:
        found = make()
        if inspect.isawaitable(found):
            await found
    assert "has no attribute" not in str(caught.value)


def test_a_wrong_name_of_the_module() -> None:
    with pytest.raises(AttributeError, match=r"did you mean lutum\.Session"):
        print(NAMES.Sesion)


async def test_what_looks_for_names_finds_none() -> None:
    """`hasattr`, copies and pickles see ordinary objects."""
    result = await TURN.collect()
    for thing in (TURN, LLM, SESSION, result, await outcome()):
        assert not hasattr(thing, "no_such_name")
        assert not hasattr(thing, "_repr_mimebundle_")
        with pytest.raises(AttributeError):
            thing.no_such_name()
    assert copy.deepcopy(result).text == pickle.loads(pickle.dumps(result.turn)).text == "hi"


async def test_a_turn_is_a_coroutine_for_everybody(anyio_backend_name: str) -> None:
    """Task groups, tasks, `gather` and loops take what `collect` returns."""
    done = list[str]()

    async def keep(coroutine: Awaitable[Any]) -> None:
        done.append((await coroutine).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(TURN.collect)
        tasks.start_soon(keep, TURN.collect())
    if anyio_backend_name == "asyncio":
        done.append((await asyncio.create_task(TURN.collect())).text)
        done += [result.text for result in await asyncio.gather(TURN.collect(), TURN.collect())]
        done.append((await asyncio.wait_for(TURN.collect(), 60)).text)
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(TURN.collect)
        done += ["hi"] * 4
    assert done == ["hi"] * 5
    unused = TURN.collect()
    assert "not awaited" in repr(unused)
    unused.close()


def test_loops_run_a_turn() -> None:
    assert asyncio.run(TURN.collect()).text == "hi"
    assert trio.run(TURN.collect).text == "hi"
    assert anyio.run(TURN.collect).text == "hi"
    assert lutum.run(TURN.collect).text == "hi"


def library_frames(error: BaseException) -> int:
    """How many lines of a traceback, causes included, are not of this file."""
    text = "".join(traceback.format_exception(error))
    return len([line for line in re.findall(r'^  File "(.*)", line', text, re.MULTILINE) if line != __file__])


async def refused(status: int) -> None:
    async with WireServer(default=Status(status, "not_found_error", "model: claude-foo")) as server:
        claude = lutum.ClaudeAdapter("claude-foo", base_url=server.url, api_key="k")
        await lutum.Lutum(claude).text_turn("x").collect()


async def nobody_there() -> None:
    claude = lutum.ClaudeAdapter("claude-foo", base_url="http://127.0.0.1:9", api_key="k")
    await lutum.Lutum(claude).text_turn("x").collect()


async def no_budget() -> None:
    await lutum.Lutum(ADAPTER, budget=lutum.Budget(tokens=1)).text_turn("x").max_output_tokens(9).collect()


async def no_value() -> None:
    async with WireServer(default=Reply("no JSON")) as server:
        claude = lutum.ClaudeAdapter("claude-foo", base_url=server.url, api_key="k")
        await lutum.Lutum(claude).structured_turn(int, "x").collect()


async def no_number() -> None:
    TURN.temperature("hot")


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize(
    ("program", "last"),
    [
        (
            lambda: refused(404),
            r"lutum\.ProviderError: 404 not_found: model: .* \(http://127.*/v1/messages, request req_0000\)",
        ),
        (
            lambda: refused(529),
            r"lutum\.ProviderError: 529 overloaded: .* \(127\.0\.0\.1, request req_0000\)",
        ),
        (nobody_there, r"lutum\.NetworkError: no connection to 127\.0\.0\.1:9: .*\(model claude-foo\)"),
        (no_budget, r"lutum\.BudgetExceeded: .*tokens do not fit.*"),
        (no_value, r"lutum\.OutputInvalid: .*127\.0\.0\.1, model claude-foo, request req_0000\)"),
        (no_number, r"lutum\.BadValue: temperature: needs a number, not a str"),
    ],
    ids=["404", "529", "network", "budget", "value", "number"],
)
def test_a_traceback_teaches(
    program: Callable[[], Awaitable[None]], last: str, backend: Literal["trio", "asyncio"]
) -> None:
    """The last line says it all, the explanation follows, and few frames of libraries come before."""

    async def main() -> None:
        await program()

    with pytest.raises(lutum.LutumError) as caught:
        lutum.run(main, backend=backend)
    *_, message, cause, advice = "".join(traceback.format_exception(caught.value)).rstrip().split("\n")
    assert re.fullmatch(last, message)
    assert cause.startswith("Cause: ")
    assert advice.startswith("What to do: ")
    assert "\n".join(lutum.explain(caught.value).split("\n")[1:]) == f"{cause}\n{advice}"
    assert library_frames(caught.value) <= 5


async def test_frames_of_the_caller_stay() -> None:
    """An error that a hook of the program raises keeps the way to the hook."""

    async def own_hook(turn: object, adapter: object) -> lutum.Estimate:
        raise lutum.UsageError("own")

    estimate: Any = own_hook
    with pytest.raises(lutum.UsageError) as caught:
        await lutum.Lutum(ADAPTER, budget=lutum.Budget(tokens=9), estimate=estimate).text_turn("x").collect()
    assert "own_hook" in "".join(traceback.format_exception(caught.value))


def test_notes() -> None:
    """A note that is added stands before the explanation, once, and survives a copy."""
    error = lutum.ProviderError("x", kind="server", status=500)
    error.add_note("in the third attempt")
    assigned = copy.copy(error)
    assigned.__notes__ = list(error.__notes__)  # as tblib does, which dask unpickles errors with
    for one in (error, copy.copy(error), assigned):
        assert one.__notes__ == ["in the third attempt", *one.explanation]
    error.usage = lutum.Usage(3, 4)
    assert "; 7 tokens were charged." in error.__notes__[1]
