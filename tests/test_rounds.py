"""Tool rounds: one result a call, in call order, or nothing is committed and the transcript is untouched."""

from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import (
    BadValue,
    CommittedTurn,
    Finished,
    Item,
    Lutum,
    Message,
    ModelInput,
    NeedsTools,
    Session,
    StaleCommit,
    Text,
    TextItem,
    ToolCallItem,
    ToolCallReady,
    ToolResult,
    ToolRound,
    Toolset,
    Transcript,
    UsageError,
    raw_tool,
)
from lutum.testing import Script, ScriptedAdapter, strategies

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 0},
        "mode": {"enum": ["fast", "slow"]},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
        "at": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Point"}]},
        "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
    },
    "required": ["a"],
    "$defs": {
        "Point": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "on": {"type": ["boolean", "null"]}},
        }
    },
}
TOOLS = Toolset(raw_tool("add", SCHEMA), raw_tool("find", {"type": "object"}))


async def round_of(*events: lutum.Event | str, tools: Toolset[Any] = TOOLS) -> tuple[Session, ToolRound[Any]]:
    session = Session(Lutum(ScriptedAdapter([Script(events, finish_reason="tool_calls"), ["done"]])))
    session.push_user("u")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


ADD = ToolCallReady("1", "add", '{"a": 1}')
FIND = ToolCallReady("2", "find", "{}")
UNKNOWN = ToolCallReady("3", "lose", "{}")
BROKEN = ToolCallReady("4", "add", '{"a": ')


async def test_a_committed_round_goes_on() -> None:
    """The turn and its results are stored, and the next turn runs on them."""
    session, round = await round_of("Let me see.", ADD, FIND)
    assert [call.input for call in round.calls] == [{"a": 1}, {}]
    session.commit_round(round, [call.complete({"ok": True}) for call in round.calls])
    assert list(session.transcript) == [
        Message("user", (Text("u"),)),
        round.turn,
        ToolResult("1", (Text('{"ok":true}'),)),
        ToolResult("2", (Text('{"ok":true}'),)),
    ]
    assert session.transcript.open_calls == ()
    strategies.check_rounds(session.transcript)
    outcome = await session.text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, Finished)
    session.commit_text(outcome.result)
    assert [turn.text for turn in session.turns()] == ["Let me see.", "done"]


async def test_results_are_put_into_call_order() -> None:
    """However they come in: a list, any order, a generator."""
    session, round = await round_of(ADD, FIND)
    results = [call.complete(call.name) for call in round.calls]
    session.commit_round(round, (result for result in reversed(results)))
    assert [item.call_id for item in session.transcript if isinstance(item, ToolResult)] == ["1", "2"]


WRONG = [
    ("no result for call '2' of 'find'", lambda one, two: [one]),
    ("no result for call '1' of 'add'", lambda one, two: []),
    ("two results for call '1' of 'add'", lambda one, two: [one, two, one]),
    ("result '9' answers no call of this turn", lambda one, two: [one, two, ToolResult("9", (Text("x"),))]),
    (
        "name of another tool, 'find'",
        lambda one, two: [ToolResult("1", one.content, False, "find", None), two],
    ),
    (
        "has other arguments",
        lambda one, two: [ToolResult("1", one.content, False, "add", '{"a":1}'), two],
    ),
    (r"results\[1\]: needs a ToolResult, .* not a str", lambda one, two: [one, "3"]),
    (r"results\[1\]: needs a ToolResult, .* not None", lambda one, two: [one, None]),
    ("content is str", lambda one, two: [one, ToolResult("2", "3")]),
]


@pytest.mark.parametrize(("problem", "change"), WRONG, ids=[problem for problem, _ in WRONG])
async def test_what_is_not_one_result_a_call(problem: str, change: Any) -> None:
    """Missing, doubled, extra, renamed, altered, no result at all: an error, and the identical transcript."""
    session, round = await round_of(ADD, FIND)
    session.push_ephemeral_user("e")
    before, ephemerals = session.transcript, session.ephemerals
    results = change(*(call.complete("ok") for call in round.calls))
    with pytest.raises(UsageError, match=problem):
        session.commit_round(round, results)
    assert session.transcript is before
    assert session.ephemerals is ephemerals
    with pytest.raises(UsageError, match=problem):
        round.commit_into(ModelInput(before), results)
    session.commit_round(round, [call.complete("ok") for call in round.calls])


async def test_results_that_fail_while_they_are_made() -> None:
    """An exception from the caller's own generator comes out as it is, and nothing is committed."""
    session, round = await round_of(ADD, FIND)
    before = session.transcript
    with pytest.raises(ZeroDivisionError):
        session.commit_round(round, (call.complete(1 // (2 - int(call.id))) for call in round.calls))
    assert session.transcript is before


async def test_what_commit_round_refuses() -> None:
    """What is no round, and a round that was made elsewhere."""
    session, round = await round_of(ADD)
    results = [round.calls[0].complete("ok")]
    before = session.transcript
    for wrong in (round.result, round.turn, NeedsTools(round)):
        with pytest.raises(UsageError, match="round: needs the round"):
            session.commit_round(cast("Any", wrong), results)
    assert session.transcript is before
    session.push_user("more")
    with pytest.raises(StaleCommit, match="0 items removed and 1 added"):
        session.commit_round(round, results)
    session.transcript = before
    session.commit_round(round, results)
    with pytest.raises(StaleCommit):
        session.commit_round(round, results)


async def test_issues_are_answered() -> None:
    """Calls that no tool can run get an error result, unless you answer them yourself."""
    session, round = await round_of(ADD, UNKNOWN, BROKEN)
    assert [call.id for call in round.calls] == ["1"]
    assert [(issue.id, issue.reason) for issue in round.issues] == [
        ("3", "unknown_tool"),
        ("4", "malformed_arguments"),
    ]
    fork = session.fork()
    session.commit_round(round, [round.calls[0].complete("ok")])
    one, three, four = session.transcript[2], session.transcript[3], session.transcript[4]
    assert one == ToolResult("1", (Text("ok"),))
    assert three == ToolResult("3", (Text("there is no tool 'lose'"),), True)
    assert isinstance(four, ToolResult)
    assert four.text.endswith('they began: {"a": ')

    own = ToolResult("3", (Text("try `find`"),))
    fork.commit_round(round, [own, round.calls[0].complete("ok")])
    assert list(fork.transcript)[2:] == [one, own, four]


async def test_a_round_of_nothing_but_issues() -> None:
    """It is a round, not a finished turn, and commits with no result of yours."""
    session, round = await round_of(UNKNOWN)
    assert round.calls == ()
    assert round.expect_at_most_one() is None
    session.commit_round(round, [])
    strategies.check_rounds(session.transcript)


async def test_a_broken_call_quotes_little() -> None:
    """The model sees the first 200 characters of what it wrote, and does not pay for all of it again."""
    session, round = await round_of(ToolCallReady("1", "add", "x" * 5_000))
    session.commit_round(round, [])
    answer = session.transcript[-1]
    assert isinstance(answer, ToolResult)
    assert answer.text.count("x") == 200


async def test_rounds_two_calls_with_one_id() -> None:
    """No result could tell them apart, so the round cannot be committed, and the session stays."""
    session, round = await round_of(ADD, ToolCallReady("1", "find", "{}"))
    before = session.transcript
    with pytest.raises(UsageError, match="two calls of this turn have the same id"):
        session.commit_round(round, [round.calls[0].complete("ok")])
    assert session.transcript is before


async def test_expecting_one_call() -> None:
    """`expect_one` and `expect_at_most_one` say how many there were."""
    _, one = await round_of(ADD)
    assert one.expect_one() is one.calls[0] is one.expect_at_most_one()
    _, two = await round_of(ADD, FIND)
    for expect in (two.expect_one, two.expect_at_most_one):
        with pytest.raises(UsageError, match="2 calls where one was expected"):
            expect()
    _, none = await round_of(UNKNOWN)
    with pytest.raises(UsageError, match="0 calls"):
        none.expect_one()


async def test_rounds_without_a_session() -> None:
    """`commit_into` does with an input what `commit_round` does with a session."""
    session, round = await round_of(ADD, FIND)
    base = ModelInput(session.transcript)
    results = [call.complete("ok") for call in round.calls]
    grown = round.commit_into(base, results[::-1])
    session.commit_round(round, results)
    assert grown.transcript == session.transcript
    assert len(base) == 1


async def test_a_round_of_a_fork_commits_to_the_original() -> None:
    """And drops there the ephemerals that its turn carried."""
    session = Session(Lutum(ScriptedAdapter([[ADD]])))
    session.push_user("u")
    session.push_ephemeral_user("e")
    outcome = await session.fork().text_turn().tools(TOOLS).collect()
    assert isinstance(outcome, NeedsTools)
    session.push_ephemeral_user("later")
    session.commit_round(outcome.round, [outcome.round.calls[0].complete("ok")])
    assert session.ephemerals == ((1, Message("user", (Text("later"),))),)


async def test_the_first_round_fixes_the_tools() -> None:
    """They are stored with the first committed turn, and a later toolset does not change the head."""
    session, round = await round_of(ADD)
    session.commit_round(round, [round.calls[0].complete("ok")])
    assert session.transcript.head.tools == TOOLS.definitions
    outcome = await session.text_turn().tools(Toolset(raw_tool("find", {"type": "object"}))).collect()
    assert isinstance(outcome, Finished)
    session.commit_text(outcome.result)
    assert session.transcript.head.tools == TOOLS.definitions


# Answers.


async def test_answers() -> None:
    """Text as it is, parts as they are, anything else as JSON; of an exception its type only."""
    _, round = await round_of(ADD)
    call = round.calls[0]
    image = lutum.Image.from_url("https://example.com/a.png")
    assert call.complete("plain").content == (Text("plain"),)
    assert call.complete(image).content == (image,)
    assert call.complete([Text("a"), image]).content == (Text("a"), image)
    assert call.complete([1, "a"]).content == (Text('[1,"a"]'),)
    assert call.complete([]).content == (Text("[]"),)
    assert call.complete(None).content == (Text("null"),)
    assert not call.complete("plain").is_error
    rejected = call.reject("not today")
    assert (rejected.text, rejected.is_error) == ("rejected: not today", True)
    failed = call.fail(ValueError("password=hunter2"))
    assert (failed.text, failed.is_error) == ("failed: ValueError", True)
    for odd in (object(), {1j}):
        with pytest.raises(BadValue) as caught:
            call.complete(odd)
        assert caught.value.field == "output of 'add'"


# Any round.


@given(strategies.tool_rounds(TOOLS), st.data())
def test_any_round(round: ToolRound[Any], data: st.DataObject) -> None:
    """In any order, with or without your own answer to an issue: valid, and in call order."""
    session = Session(Lutum(ScriptedAdapter()), round.base)
    results = [call.complete(call.input) for call in round.calls]
    results += [ToolResult(issue.id, (Text("no"),)) for issue in round.issues if data.draw(st.booleans())]
    session.commit_round(round, data.draw(st.permutations(results)))
    strategies.check_rounds(session.transcript)
    answered = [item.call_id for item in session.transcript if isinstance(item, ToolResult)]
    assert answered == [call.id for call in round.turn.tool_calls]
    strategies.check_replay(session.transcript, adapter=ScriptedAdapter())


@given(strategies.tool_rounds(TOOLS), st.data())
def test_any_wrong_answer_to_any_round(round: ToolRound[Any], data: st.DataObject) -> None:
    """One result too few, twice, or of another call: refused, and the transcript is the identical object."""
    if not round.calls:
        return
    session = Session(Lutum(ScriptedAdapter()), round.base)
    results = [call.complete("ok") for call in round.calls]
    at = data.draw(st.integers(0, len(results) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                results[:at] + results[at + 1 :],
                [*results, results[at]],
                [*results, ToolResult("other", (Text("x"),))],
                [*results[:at], ToolResult(results[at].call_id, (), False, "renamed"), *results[at + 1 :]],
                [*results[:at], ToolResult(results[at].call_id, (), False, None, "{ }"), *results[at + 1 :]],
            ]
        )
    )
    with pytest.raises(UsageError):
        session.commit_round(round, changed)
    assert session.transcript is round.base


@given(strategies.tool_rounds(TOOLS))
def test_drawn_rounds_are_what_a_turn_gives(round: ToolRound[Any]) -> None:
    """Calls and issues are together the calls of the turn, and inputs satisfy their tool's schema."""
    both = {call.id for call in round.calls} | {issue.id for issue in round.issues}
    assert both == {call.id for call in round.turn.tool_calls}
    assert len(both) == len(round.calls) + len(round.issues)
    for call in round.calls:
        if call.name == "add":
            assert call.input["a"] >= 0
            assert set(call.input) <= set(SCHEMA["properties"])


# The law itself, against what providers refuse.

CALLING = CommittedTurn("x", "x", "m", b"{}", (ToolCallItem("a", "f", "{}"), ToolCallItem("b", "f", "{}")))
PLAIN = CommittedTurn("x", "x", "m", b"{}", (TextItem("x"),))
A, B, C = (ToolResult(id, (Text("3"),)) for id in "abc")
ALONE = ToolResult("a", (Text("3"),), False, "f", "{}")
USER = Message("user", (Text("u"),))


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([CALLING], "have no result"),
        ([CALLING, A], "have no result"),
        ([CALLING, USER, A, B], "have no result before it"),
        ([CALLING, A, PLAIN], "have no result before it"),
        ([CALLING, A, B, A], "no call before it, or a second result"),
        ([CALLING, A, A, B], "is among the results of"),
        ([CALLING, A, B, ALONE], "a second result"),
        ([A], "no call before it"),
        ([USER, CALLING, A, B, USER, C], "no call before it"),
        ([CALLING, A, C, B], "is among the results of"),
        ([ALONE, ALONE], "a second result"),
        (
            [CommittedTurn("x", "x", "m", b"", (ToolCallItem("a", "f", "{}"),) * 2)],
            "two calls have the id 'a'",
        ),
    ],
)
def test_the_law_finds_what_providers_refuse(items: list[Item], problem: str) -> None:
    """`check_rounds` reads items, not transcripts, so it also judges what no transcript would take."""
    with pytest.raises(AssertionError, match=problem):
        strategies.check_rounds(items)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [USER],
        [CALLING, A, B],
        [CALLING, B, A, USER],
        [ALONE, USER],
        [CALLING, A, B, CALLING, A, B],
        [PLAIN] * 2,
    ],
)
def test_the_law_accepts_what_providers_take(items: list[Item]) -> None:
    """Results in any order; ids that a provider uses again in a later turn."""
    strategies.check_rounds(items)
    Transcript(items)


@pytest.mark.slow
@given(strategies.transcripts())
def test_drawn_transcripts_are_valid(transcript: Transcript) -> None:
    """No transcript parts a call from its result, whatever built it, and no slice between cuts."""
    strategies.check_rounds(transcript)
    cuts = transcript.cuts()
    strategies.check_rounds(transcript[cuts[len(cuts) // 2] :])


def test_tools_are_given_once() -> None:
    """A second toolset would hide the first: both belong into one."""
    tools = lutum.Toolset(lutum.raw_tool("a", {"type": "object"}))
    turn = lutum.Lutum(ScriptedAdapter()).text_turn("hello").tools(tools)
    with pytest.raises(lutum.UsageError, match="one Toolset"):
        turn.tools(tools)
