"""What type checkers know of tools and rounds; checked by pyright strict and mypy strict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, assert_never, assert_type

import msgspec

import lutum


class Db: ...


@lutum.tool
async def weather(city: str, days: int = 1) -> str:
    """The weather."""
    return f"{city} {days}"


@lutum.tool(thread=True)
def orders(customer: str, db: Annotated[Db, lutum.Injected]) -> list[int]:
    """The orders."""
    return [len(customer)]


@lutum.tool_input
class Search(msgspec.Struct):
    """Search the web."""

    query: str


@lutum.tool_input(output=str)
@dataclass
class Read:
    """Read a page."""

    url: str


raw = lutum.raw_tool("raw", {"type": "object"})


async def inputs(llm: lutum.Lutum) -> None:
    assert_type(await weather("Rome"), str)  # what a tool is made of can still be called
    inner = lutum.Toolset(Search, lutum.off(Read))
    assert_type(inner, lutum.Toolset[Search | Read])
    assert_type(lutum.Toolset[Search | Read](Search, Read), lutum.Toolset[Search | Read])
    assert_type(lutum.Toolset(inner, raw), lutum.Toolset[Search | Read | dict[str, Any]])
    turn = llm.text_turn("hello").tools(inner).available(plus=[Read]).require(Search).describe(Search, "x")
    outcome = await turn.collect()
    match outcome:
        case lutum.Finished(result=result):
            assert_type(result, lutum.TextResult)
        case lutum.NeedsTools(round=round):
            assert_type(round.calls[0].input, Search | Read)
            for call in round.calls:
                match call.input:
                    case Search(query=query):
                        assert_type(query, str)
                    case Read(url=url):
                        assert_type(url, str)
                    case _ as never:
                        assert_never(never)
            assert_type(await round.run(timeout=1), tuple[lutum.ToolResult, ...])
        case _ as unknown:
            assert_never(unknown)


async def functions(llm: lutum.Lutum) -> None:
    tools = lutum.Toolset(orders, Search).bind(db=Db())
    outcome = await llm.text_turn("hello").tools(tools).collect()
    if isinstance(outcome, lutum.NeedsTools):
        for call in outcome.round.calls:
            match call.input:
                case orders.Input(customer=customer):
                    assert_type(customer, Any)
                case Search(query=query):
                    assert_type(query, str)
                case _ as never:
                    assert_never(never)
    assert_type(orders("me", Db()), list[int])
    await llm.text_turn("hello").tools(lutum.Toolset(weather, orders, Search)).collect()


async def hooks(round: lutum.ToolRound[Search | Read]) -> None:
    async def cached(call: lutum.ToolCall[Search]) -> lutum.ToolCall[Search] | lutum.ToolResult | None:
        if call.input.query == "rivers":
            return call.complete(["Po"])
        return call.with_input(Search("rivers"))

    policy = lutum.ToolHooks().on(Search, cached)
    plan = await round.apply_hooks(policy)
    assert_type(plan.pending, tuple[lutum.ToolCall[Search | Read], ...])
    lutum.ToolHooks().on(Read, cached)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lutum.ToolHooks().on(Search, wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrong(call: lutum.ToolCall[Search]) -> str:
    return call.input.query
