"""Hooks for tools: they edit or answer calls before anybody runs them; the model's words stay as they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import (
    Lutum,
    NeedsTools,
    Session,
    ToolCall,
    ToolCallReady,
    ToolDef,
    ToolHooks,
    ToolResult,
    ToolRound,
    Toolset,
    UsageError,
)
from lutum.testing import Script, ScriptedAdapter


@lutum.tool_input
class Add(msgspec.Struct):
    """Add."""

    n: int


@lutum.tool
async def double(n: int) -> int:
    """Double."""
    return 2 * n


@lutum.tool
async def drop(table: str) -> str:
    """Drop a table."""
    return f"dropped {table}"


TOOLS = Toolset(Toolset(double, drop), Add)


async def round_of(*calls: tuple[str, str]) -> tuple[Session, ToolRound[Any]]:
    ready = tuple(ToolCallReady(str(i), *call) for i, call in enumerate(calls))
    session = Session(Lutum(ScriptedAdapter([Script(ready, finish_reason="tool_calls")])))
    session.push_user("u")
    outcome = await session.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


async def test_hooks_split_a_round_and_the_plan_is_committed() -> None:
    """Handled, rejected and pending; results are needed for the pending ones only, order is the call's."""

    async def cached(call: ToolCall[Add]) -> ToolResult | None:
        return call.complete(0) if call.input.n == 0 else None

    async def never(call: ToolCall[Any]) -> ToolResult:
        return call.reject("not today")

    hooks = ToolHooks().on(Add, cached).on(drop, never)
    session, round = await round_of(
        ("add", '{"n":0}'), ("drop", '{"table":"t"}'), ("double", '{"n":4}'), ("nope", "{}")
    )
    plan = await round.apply_hooks(hooks)
    assert [call.id for call in plan.pending] == ["2"]
    assert [result.text for result in plan.handled] == ["0"]
    assert [result.text for result in plan.rejected] == ["rejected: not today"]
    with pytest.raises(UsageError, match="no result for call '2'"):
        session.commit_round(plan, [])
    with pytest.raises(UsageError, match="two results for call '0'"):
        session.commit_round(plan, [*plan.handled, *await plan.run()])
    session.commit_round(plan, await plan.run())
    told = [item.text for item in session.transcript if isinstance(item, ToolResult)]
    assert told == ["0", "rejected: not today", "8", "there is no tool 'nope'"]


async def test_an_edited_input_runs_and_the_arguments_stay() -> None:
    """Each hook sees what the one before it made; what is committed is what the model said."""

    async def more(call: ToolCall[Any]) -> ToolCall[Any]:
        return call.with_input(double.Input(n=call.input.n + 1))

    session, round = await round_of(("double", '{"n":4}'))
    plan = await round.apply_hooks(ToolHooks(ToolHooks().on(double, more)).on(double, more))
    [call] = plan.pending
    assert (call.input.n, call.arguments) == (6, '{"n":4}')
    [result] = await plan.run()
    assert (result.text, result.arguments) == ("12", '{"n":4}')
    session.commit_round(plan, [result])
    assert session.turns()[0].tool_calls[0].arguments == '{"n":4}'


async def test_a_person_edits_a_call_in_json() -> None:
    """`with_arguments` reads it as the model's would be read; what does not fit is named, with its path."""
    session, round = await round_of(("double", '{"n":4}'))
    call = round.expect_one()
    edited = call.with_arguments('{"n":5}')
    assert (edited.input, edited.arguments) == (double.Input(n=5), '{"n":4}')
    with pytest.raises(lutum.BadValue, match=r"arguments of 'double': Expected `int`, got `str` - at \$.n"):
        call.with_arguments('{"n":"five"}')
    session.commit_round(round, [await edited.run()])
    result = session.transcript[2]
    assert isinstance(result, ToolResult)
    assert result.text == "10"


async def test_a_plan_can_be_hooked_again() -> None:
    """A second pass sees what is pending only; what was answered accumulates."""
    seen = list[str]()

    async def watch(call: ToolCall[Any]) -> ToolResult | None:
        seen.append(call.id)
        return call.complete("done") if call.id == "1" else None

    session, round = await round_of(*[("double", '{"n":1}')] * 3)
    plan = await (await round.apply_hooks(watch)).apply_hooks(watch)
    assert seen == ["0", "1", "2", "0", "2"]
    assert [call.id for call in plan.pending] == ["0", "2"]
    session.commit_round(plan, await plan.run())


async def test_the_first_answer_ends_a_pipeline() -> None:
    """Hooks behind it are not asked."""
    asked = list[str]()

    def hook(name: str, answer: bool) -> Any:
        async def one(call: ToolCall[Any]) -> ToolResult | None:
            asked.append(name)
            return call.complete(name) if answer else None

        return one

    _, round = await round_of(("double", '{"n":1}'))
    hooks = ToolHooks().on(double, hook("a", False)).on(double, hook("b", True)).on(double, hook("c", True))
    plan = await round.apply_hooks(hooks)
    assert asked == ["a", "b"]
    assert plan.handled[0].text == "b"


async def test_without_hooks_everything_is_pending() -> None:
    """And nothing was run."""
    _, round = await round_of(("double", '{"n":1}'))
    plan = await round.apply_hooks(ToolHooks())
    assert plan.pending == round.calls
    assert round.calls[0].answer is None


async def test_a_hook_that_raises_names_the_tool() -> None:
    """What it raised comes out, with a note; nothing is committed."""

    async def broken(call: ToolCall[Any]) -> None:
        raise KeyError("x")

    session, round = await round_of(("double", '{"n":1}'))
    before = session.transcript
    with pytest.raises(KeyError) as caught:
        await round.apply_hooks(ToolHooks().on(double, broken))
    assert caught.value.__notes__ == ["in a hook for tool 'double'"]
    assert session.transcript is before


async def test_a_hook_answers_its_own_call_only() -> None:
    """Another call's result, or something that is none, is refused with the tool's name."""
    _, round = await round_of(("double", '{"n":1}'), ("double", '{"n":2}'))

    async def other(call: ToolCall[Any]) -> ToolResult:
        return round.calls[1].complete(1)

    async def nonsense(call: ToolCall[Any]) -> Any:
        return True

    with pytest.raises(UsageError, match="hook for 'double': it answered another call"):
        await round.apply_hooks(other)
    with pytest.raises(UsageError, match="hook for 'double': bool is not a call, a result or None"):
        await round.apply_hooks(nonsense)


async def test_description_hooks_feed_the_next_turn() -> None:
    """Given the static definition; None keeps it; nested sets count, and the last for a tool."""

    async def louder(tool: ToolDef) -> str:
        return tool.description.upper()

    async def same(tool: ToolDef) -> None:
        return None

    hooks = ToolHooks(ToolHooks().describe(Add, louder)).describe(drop, same).describe("double", louder)
    found = await hooks.descriptions(TOOLS)
    assert found == {"double": "DOUBLE.", "add": "ADD."}
    turn = Lutum(ScriptedAdapter([])).text_turn("u").tools(TOOLS)
    for name, text in found.items():
        turn = turn.describe(name, text)
    assert {tool.name: tool.description for tool in turn._spec.toolset.definitions}  # unchanged itself
    assert dict(turn._spec.descriptions) == found


def test_sets_are_values() -> None:
    """Adding to one changes neither it nor those it was nested in."""

    async def hook(call: ToolCall[Any]) -> None: ...

    empty = ToolHooks()
    full = empty.on(Add, hook)
    assert (len(empty._hooks), len(full._hooks), len(ToolHooks(full, full)._hooks)) == (0, 1, 2)
    with pytest.raises(lutum.BadValue, match="is not a tool"):
        empty.on(int, hook)


DECISIONS = st.sampled_from(["none", "edit", "complete", "reject"])


@given(
    st.lists(st.tuples(st.sampled_from(["double", "drop"]), DECISIONS), max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
async def test_a_pipeline_against_a_model(hooks: list[tuple[str, str]], calls: list[bool]) -> None:
    """Any hooks for any calls: edits add up until the first answer."""

    def make(kind: str) -> Any:
        async def hook(call: ToolCall[Any]) -> ToolCall[Any] | ToolResult | None:
            if kind == "edit":
                return call.with_input([*(call.input if isinstance(call.input, list) else []), "e"])
            return {
                "none": lambda: None,
                "complete": lambda: call.complete("c"),
                "reject": lambda: call.reject("r"),
            }[kind]()

        return hook

    made = ToolHooks()
    for name, kind in hooks:
        made = made.on({"double": double, "drop": drop}[name], make(kind))
    named = ["double" if one else "drop" for one in calls]
    arguments = {"double": '{"n":1}', "drop": '{"table":"t"}'}
    _, round = await round_of(*[(name, arguments[name]) for name in named])
    plan = await round.apply_hooks(made)
    pending, handled, rejected = dict[str, int](), list[str](), list[str]()
    for i, name in enumerate(named):
        edits = 0
        for kind in [kind for of, kind in hooks if of == name]:
            edits += kind == "edit"
            if kind in ("complete", "reject"):
                (handled if kind == "complete" else rejected).append(str(i))
                break
        else:
            pending[str(i)] = edits
    assert {
        call.id: len(call.input) if isinstance(call.input, list) else 0 for call in plan.pending
    } == pending
    assert [result.call_id for result in plan.handled] == handled
    assert [result.call_id for result in plan.rejected] == rejected
