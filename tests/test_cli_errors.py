"""The commonest errors, each really raised, in the three lines that `lutum.explain` makes of them.

`errors.txt` is what they say. LUTUM_WRITE_ERRORS=1 writes it again; read the difference before you keep it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

import lutum
from lutum.testing.wire import (
    Answer,
    BeforeHead,
    Call,
    Cut,
    ErrorEvent,
    Garbage,
    NeverEnding,
    Refuse,
    Reply,
    Say,
    Stall,
    Status,
    WireServer,
)
from lutum_claude import ClaudeAdapter, ClaudeOptions

GOLDEN = Path(__file__).parent / "errors.txt"
MODEL = "claude-sonnet-4-5"
TOOLS = lutum.Toolset(lutum.raw_tool("weather", {"type": "object", "properties": {}}))

Case = Callable[[], Awaitable[object]]
CASES: dict[str, Case] = {}


def case(title: str) -> Callable[[Case], Case]:
    """Put a function that raises among the cases."""

    def put(function: Case) -> Case:
        CASES[title] = function
        return function

    return put


class City(msgspec.Struct):
    """A value to ask for."""

    name: str
    people: int


@asynccontextmanager
async def claude(*answers: Answer, **more: object) -> AsyncIterator[lutum.Lutum]:
    """A boundary on a provider that answers so."""
    server = WireServer(answers)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = ClaudeAdapter(MODEL, base_url=server.url, api_key="sk-test", http_client=client)
        yield lutum.Lutum(adapter, **more)


def asked(*answers: Answer, **more: object) -> Case:
    """A case that collects one turn."""

    async def collect() -> object:
        async with claude(*answers, **more) as llm:
            return await llm.text_turn("Hello?").max_output_tokens(100).collect()

    return collect


@case("no key")
async def _() -> object:
    return lutum.Lutum(ClaudeAdapter(MODEL)).text_turn("Hello?").preview()


@case("a key with a line end")
async def _() -> object:
    return ClaudeAdapter(MODEL, api_key="sk-test\n")


@case("a base URL that is not a URL")
async def _() -> object:
    return ClaudeAdapter(MODEL, base_url="api.example.com")


@case("no message")
async def _() -> object:
    async with claude() as llm:
        return await lutum.Session(llm).text_turn().collect()


@case("an option that the model does not accept")
async def _() -> object:
    async with claude() as llm:
        return await llm.text_turn("Hello?").ext(ClaudeOptions(thinking="adaptive")).collect()


@case("a loop inside a loop")
async def _() -> object:
    async def main() -> None: ...

    return lutum.run(main)


@case("a coroutine instead of its function")
async def _() -> object:
    async def main() -> None: ...

    return lutum.run(main())


@case("a tool parameter without a type")
async def _() -> object:
    async def weather(city) -> str:
        return str(city)

    return lutum.tool(weather)


@case("a type without a strict schema")
async def _() -> object:
    async with claude() as llm:
        return llm.structured_turn(dict[int, complex], "Hello?")


@case("a result before the end of the turn")
async def _() -> object:
    async with claude(Reply("Well?")) as llm, llm.text_turn("Hello?").stream() as turn:
        return turn.result


@case("a commit that comes too late")
async def _() -> object:
    async with claude(Reply("Well?")) as llm:
        session = lutum.Session(llm)
        session.push_user("Hello?")
        result = await session.text_turn().collect()
        session.push_user("Are you there?")
        session.commit_text(result)


@case("a commit of an outcome with tools")
async def _() -> object:
    async with claude(Reply(Call("weather", {}))) as llm:
        session = lutum.Session(llm)
        session.push_user("Hello?")
        session.commit_text(await session.text_turn().tools(TOOLS).collect())


@case("a round without results")
async def _() -> object:
    async with claude(Reply(Call("weather", {}, id="toolu_1"))) as llm:
        session = lutum.Session(llm)
        session.push_user("Hello?")
        match await session.text_turn().tools(TOOLS).collect():
            case lutum.NeedsTools(round):
                session.commit_round(round, [])
            case _:
                pass


@case("a call in a turn without tools")
async def _() -> object:
    return await asked(Reply(Call("weather", {})))()


@case("a file that is not a transcript")
async def _() -> object:
    return lutum.Transcript.load(b'{"role":"user"}\n')


@case("a transcript that was edited")
async def _() -> object:
    data = lutum.ModelInput().user("Two rivers.").transcript.dump()
    return lutum.Transcript.load(data.replace(b"Two", b"Six"))


@case("a budget that is too small")
async def _() -> object:
    return await asked(Reply("Well?"), budget=lutum.Budget(tokens=50))()


@case("a budget that ends in the middle of an answer")
async def _() -> object:
    async with claude(Reply(NeverEnding()), budget=lutum.Budget(tokens=100)) as llm:
        return await llm.text_turn("Hello?").reserve(lutum.Estimate(30, 10)).collect()


@case("a scope after its block")
async def _() -> object:
    async with claude() as llm:
        async with llm.within(tokens=1_000) as scoped:
            pass
        return await scoped.text_turn("Hello?").collect()


@case("a limit in dollars without a price")
async def _() -> object:
    return await asked(Reply("Well?"), budget=lutum.Budget(cost_usd=1))()


@case("no bound on the cost")
async def _() -> object:
    async with claude(budget=lutum.Budget(tokens=1_000)) as llm:
        image = lutum.Image.from_url("https://example.com/a.png")
        return await llm.text_turn(lutum.ModelInput().user(image)).collect()


CASES |= {
    "400, a bad request": asked(Status(400, message="messages: too many")),
    "401, a bad key": asked(Status(401, message="invalid x-api-key")),
    "404, no such model": asked(Status(404, message="model: claude-nothing")),
    "429, too many requests": asked(Status(429, message="Slow down.", headers={"retry-after": "7"})),
    "500": asked(Status(500, message="Internal server error")),
    "529, overloaded": asked(Status(529, message="Overloaded")),
    "overloaded in the middle of an answer": asked(
        Reply(Say("Well", ErrorEvent("overloaded_error", "Overloaded")))
    ),
    "malformed data": asked(Reply(Say("Well", Garbage(b"event: x\ndata: <html>\n\n")))),
    "no connection": asked(Refuse()),
    "an answer that is cut in the middle": asked(Reply(Say("Well", Cut()))),
}


@case("no answer before the timeout")
async def _() -> object:
    async with claude(Reply(BeforeHead(Stall()))) as llm:
        return await llm.text_turn("Hello?").timeout(first_event=0.01).collect()


def valued(answer: Answer) -> Case:
    """A case that asks for a value."""

    async def collect() -> object:
        async with claude(answer) as llm:
            return (await llm.structured_turn(City, "Which city?").max_output_tokens(100).collect()).value

    return collect


CASES |= {
    "a value of the wrong type": valued(Reply('{"name":"Oslo","people":"many"}')),
    "a value that was cut": valued(Reply('{"name":"Os', stop_reason="max_tokens")),
    "a refusal instead of a value": valued(Reply("I would rather not.", stop_reason="refusal")),
}


async def text_of(title: str) -> str:
    """What the error of a case says, under its title."""
    try:
        await CASES[title]()
    except lutum.LutumError as error:
        return f"# {title}\n{lutum.explain(error)}\n"
    raise AssertionError(f"{title}: no error was raised")


async def test_cli_errors_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what happened, whose fault it is and what to do, in these words."""
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
    said = "\n".join([await text_of(title) for title in CASES])
    if os.environ.get("LUTUM_WRITE_ERRORS"):
        GOLDEN.write_text(said, "utf-8")
    assert said == GOLDEN.read_text("utf-8")
    assert len(CASES) >= 30


@pytest.mark.parametrize(
    "error",
    [
        lutum.ToolError("no such city"),
        FileNotFoundError(2, "No such file or directory", "x"),
        ZeroDivisionError("division by zero"),
        lutum.Stopped("stop"),
        lutum.HookBusy("slot", "hook"),
        lutum.TurnTimeout("connect", 10),
        lutum.TurnError("of a class of its own"),
        lutum.UsageError("one\n\ntwo"),
    ],
)
def test_three_lines(error: Exception) -> None:
    """Whatever it is and however many lines its message has, there are three."""
    what, whose, todo = lutum.explain(error).split("\n")
    assert what.startswith(f"{type(error).__name__}: ")
    assert whose.startswith("Cause: ")
    assert todo.startswith("What to do: ")
