"""Sessions: commit is a compare-and-set, ephemerals last for one committed turn, branches cost nothing."""

import tracemalloc
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings, strategies as st

import lutum
from lutum import (
    BadValue,
    CommittedTurn,
    Interrupted,
    Item,
    Lutum,
    Message,
    ModelInput,
    Session,
    Settings,
    StaleCommit,
    Text,
    TextItem,
    TextResult,
    ToolCallItem,
    ToolCallReady,
    ToolResult,
    Transcript,
    TranscriptError,
    UsageError,
)
from lutum.testing import CUT, ScriptedAdapter


def say(text: str, role: Any = "user") -> Message:
    return Message(role, (Text(text),))


def session_of(*scripts: Any) -> tuple[Session, ScriptedAdapter]:
    adapter = ScriptedAdapter(scripts or [["one"], ["two"], ["three"]])
    return Session(Lutum(adapter)), adapter


TURN = CommittedTurn("scripted", "scripted", "m", b"[]", (TextItem("made elsewhere"),))
CALLING = CommittedTurn("scripted", "scripted", "m", b"[]", (ToolCallItem("c", "add", "{}"),))


# Pushing.


def test_pushes() -> None:
    """Each push adds one item, in order; the transcript that was there stays what it was."""
    session, _ = session_of()
    session.push_system("s")
    session.push_developer([Text("d")])
    session.push_user("u")
    before = session.transcript
    session.push_assistant("a")
    session.push_turn(CALLING)
    session.push_tool_result("c", "3", is_error=True)
    session.push_tool_result("d", "4", name="add", arguments="{}")
    assert list(session.transcript) == [
        say("s", "system"),
        say("d", "developer"),
        say("u"),
        say("a", "assistant"),
        CALLING,
        ToolResult("c", (Text("3"),), True),
        ToolResult("d", (Text("4"),), False, "add", "{}"),
    ]
    assert session.turns() == [CALLING]
    assert len(before) == 3
    assert before == session.transcript[:3]
    assert repr(session) == f"<Session at {session.transcript!r}>"


def test_a_push_that_cannot_be_changes_nothing() -> None:
    """A result without its call, an item before an open call has its result, bad content: as it was."""
    session, _ = session_of()
    session.push_user("u")
    before = session.transcript
    for push in (
        lambda: session.push_tool_result("x", "3"),
        lambda: session.push_user([]),
        lambda: session.push_tool_result("", "3"),
        lambda: session.push_turn("hello"),
    ):
        with pytest.raises(UsageError):
            push()
        assert session.transcript is before
    session.push_turn(CALLING)
    with pytest.raises(TranscriptError, match="call 'c' has no result yet"):
        session.push_user("too early")
    assert session.transcript.open_calls == ("c",)


async def test_an_open_call_is_not_sent() -> None:
    """A turn on a transcript whose call has no result is refused before anything is reserved or sent."""
    session, adapter = session_of()
    session.push_turn(CALLING)
    with pytest.raises(UsageError, match="call 'c' has no result yet"):
        await session.text_turn().collect()
    assert adapter.requests == []
    assert session.llm.budget.spent == lutum.Usage()


async def test_an_empty_session_is_not_sent() -> None:
    """There is nothing to answer; the message names the input."""
    session, adapter = session_of()
    with pytest.raises(BadValue) as caught:
        await session.text_turn().collect()
    assert caught.value.field == "input"
    session.push_ephemeral_user("something")
    assert (await session.text_turn().collect()).text == "one"
    assert len(adapter.requests) == 1


# Committing.


async def test_commit_stores_the_turn_and_nothing_else_does() -> None:
    """Running a turn changes nothing; committing appends its turn where it was built."""
    session, _ = session_of()
    session.push_user("u")
    before = session.transcript
    result = await session.text_turn().collect()
    assert session.transcript is before
    assert result.base is before
    session.commit_text(result)
    assert list(session.transcript) == [say("u"), result.turn]
    assert session.transcript[:1] is before
    assert session.turns() == [result.turn]


async def test_two_concurrent_turns() -> None:
    """The first to commit wins; the other is stale, is told what was added, and changes nothing."""
    session, _ = session_of()
    session.push_user("u")
    results: list[TextResult] = []

    async def ask() -> None:
        results.append(await session.text_turn().collect())

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
    first, second = results
    session.commit_text(first)
    won = session.transcript
    with pytest.raises(StaleCommit, match="0 items removed and 1 added after item 1"):
        session.commit_text(second)
    assert session.transcript is won
    session.push_turn(second.turn)  # on purpose
    assert list(session.transcript) == [say("u"), first.turn, second.turn]


async def test_a_double_commit_is_stale() -> None:
    """The first commit moved the session, so the second is not where its turn was built."""
    session, _ = session_of()
    session.push_user("u")
    result = await session.text_turn().collect()
    session.commit_text(result)
    after = session.transcript
    with pytest.raises(StaleCommit):
        session.commit_text(result)
    assert session.transcript is after


async def test_a_commit_after_a_push_is_stale() -> None:
    """Until an equal transcript is put there: what counts is the digest."""
    session, _ = session_of()
    session.push_user("u")
    base = session.transcript
    result = await session.text_turn().collect()
    session.push_user("more")
    pushed = session.transcript
    with pytest.raises(StaleCommit, match="0 items removed and 1 added after item 1"):
        session.commit_text(result)
    assert session.transcript is pushed
    session.transcript = Transcript(base)
    session.commit_text(result)
    assert list(session.transcript) == [*base, result.turn]
    session.transcript = base
    session.commit_text(result)


async def test_a_commit_after_going_back_is_stale() -> None:
    """It says how much was removed, and how much was added instead."""
    session, _ = session_of()
    session.push_user("a")
    mark = session.transcript
    session.push_user("b")
    session.push_user("c")
    result = await session.text_turn().collect()
    session.transcript = mark
    session.push_user("d")
    with pytest.raises(StaleCommit, match="2 items removed and 1 added after item 1"):
        session.commit_text(result)


async def test_best_of_n() -> None:
    """A result made on an unmoved fork commits to the original, and not to a fork that moved."""
    session, _ = session_of()
    session.push_user("u")
    forks = [session.fork() for _ in range(3)]
    results = [await fork.text_turn().collect() for fork in forks]
    forks[0].commit_text(results[0])
    session.commit_text(results[2])
    assert [turn.text for turn in session.turns()] == ["three"]
    assert [turn.text for turn in forks[0].turns()] == ["one"]
    with pytest.raises(StaleCommit):
        forks[0].commit_text(results[2])
    forks[1].commit_text(results[2])
    assert forks[1].transcript == session.transcript


async def test_what_commit_text_refuses() -> None:
    """A turn with unanswered calls, and what is not a result: your mistake, and nothing changes."""
    call = ToolCallReady("c", "add", "{}")
    session, _ = session_of([call])
    session.push_user("u")
    before = session.transcript
    tools = lutum.Toolset(lutum.raw_tool("add", {"type": "object"}))
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    for wrong in (outcome, outcome.round, outcome.round.turn, None):
        with pytest.raises(lutum.BadValue, match="result: needs the result of a turn"):
            session.commit_text(cast("Any", wrong))
    with pytest.raises(UsageError, match="unanswered tool calls; commit its round"):
        session.commit_text(outcome.round.result)
    assert session.transcript is before


MOVES = st.lists(
    st.sampled_from(["ask", "commit", "push", "back", "fork", "switch", "equal", "ephemeral"]), max_size=30
)


@settings(max_examples=30)
@given(MOVES, st.lists(st.integers(0, 7), min_size=30, max_size=30))
async def test_any_interleaving_of_commits(moves: list[str], picks: list[int]) -> None:
    """Whatever happened in between, a commit succeeds exactly where the session stands on the turn's base."""
    adapter = ScriptedAdapter([[f"answer {i}"] for i in range(31)])
    session = Session(Lutum(adapter))
    session.push_user("start")
    sessions = [session]
    results: list[TextResult] = []
    marks: list[Transcript] = [session.transcript]
    for move, pick in zip(moves, picks, strict=False):
        before = [one.transcript for one in sessions]
        match move:
            case "ask":
                results.append(await session.text_turn().collect())
                assert [one.transcript for one in sessions] == before
            case "commit" if results:
                result = results[pick % len(results)]
                here = session.transcript
                if here == result.base:
                    session.commit_text(result)
                    assert list(session.transcript) == [*result.base, result.turn]
                else:
                    with pytest.raises(StaleCommit):
                        session.commit_text(result)
                    assert session.transcript is here
            case "push":
                session.push_user(f"push {pick}")
            case "back":
                session.transcript = marks[pick % len(marks)]
            case "equal":
                session.transcript = Transcript(session.transcript)
            case "fork":
                sessions.append(session.fork())
            case "switch":
                session = sessions[pick % len(sessions)]
            case "ephemeral":
                here = session.transcript
                session.push_ephemeral_user(f"hint {pick}")
                assert session.transcript is here
            case _:
                pass
        marks.append(session.transcript)
        for one, was in zip(sessions, before, strict=False):
            assert one is session or one.transcript is was


# Ephemerals.


async def test_ephemerals_are_in_the_request_and_not_in_the_transcript() -> None:
    """Not in its length, digest, dump, equality, a result's base; in the request, where they were pushed."""
    session, adapter = session_of()
    session.push_user("u")
    before = session.transcript
    session.push_ephemeral_system("s")
    session.push_ephemeral_developer("d")
    session.push_ephemeral_user("e")
    session.push_ephemeral_turn(TURN)
    expected = [(1, say("s", "system")), (1, say("d", "developer")), (1, say("e")), (1, TURN)]
    assert session.transcript is before
    assert list(session.ephemerals) == expected
    assert session.turns() == []
    result = await session.text_turn().collect()
    assert list(adapter.requests[0].ephemerals) == expected
    assert adapter.requests[0].transcript is before
    assert result.base is before
    session.commit_text(result)
    assert session.ephemerals == ()
    assert list(session.transcript) == [say("u"), result.turn]


async def test_a_failed_turn_keeps_its_ephemerals() -> None:
    """So does one that is not committed: the turn can be tried again unchanged."""
    session, adapter = session_of(["cut", CUT], ["whole"], ["again"])
    session.push_user("u")
    session.push_ephemeral_user("e")
    with pytest.raises(Interrupted):
        await session.text_turn().collect()
    await session.text_turn().collect()
    assert session.ephemerals == ((1, say("e")),)
    session.commit_text(await session.text_turn().collect())
    assert session.ephemerals == ()
    assert adapter.requests[0] == adapter.requests[1] == adapter.requests[2]


async def test_a_commit_drops_what_its_turn_carried() -> None:
    """What was pushed after the turn was built is for the next one, also where it says the same."""
    session, adapter = session_of()
    session.push_user("u")
    session.push_ephemeral_user("e")
    turn = session.text_turn()
    session.push_ephemeral_user("e")
    session.push_ephemeral_user("later")
    session.commit_text(await turn.collect())
    assert list(adapter.requests[0].ephemerals) == [(1, say("e"))]
    assert list(session.ephemerals) == [(1, say("e")), (1, say("later"))]
    session.push_user("v")
    session.commit_text(await session.text_turn().collect())
    assert list(adapter.requests[1].ephemerals) == [(1, say("e")), (1, say("later"))]
    assert session.ephemerals == ()


async def test_a_fork_shares_ephemerals() -> None:
    """Each side drops them when it commits, also when it commits a result of the other."""
    session, adapter = session_of()
    session.push_user("u")
    session.push_ephemeral_user("e")
    fork = session.fork()
    assert fork.ephemerals is session.ephemerals
    result = await fork.text_turn().collect()
    fork.commit_text(result)
    assert fork.ephemerals == ()
    assert session.ephemerals == ((1, say("e")),)
    session.commit_text(result)
    assert session.ephemerals == ()
    assert len(adapter.requests) == 1


def test_going_back_drops_ephemerals_beyond_the_end() -> None:
    """Those at or before the end stay."""
    session, _ = session_of()
    marks = [session.transcript]
    for i in range(3):
        session.push_ephemeral_user(f"at {i}")
        session.push_user(f"u{i}")
        marks.append(session.transcript)
    session.push_ephemeral_user("at 3")
    session.transcript = marks[2]
    assert [at for at, _ in session.ephemerals] == [0, 1, 2]
    session.transcript = marks[3]
    assert [at for at, _ in session.ephemerals] == [0, 1, 2]
    session.transcript = marks[0]
    assert [at for at, _ in session.ephemerals] == [0]


def test_an_ephemeral_turn_with_calls_is_refused() -> None:
    """Its results could not be pushed for one turn, and no provider takes a call without its result."""
    session, _ = session_of()
    with pytest.raises(UsageError, match="has tool calls"):
        session.push_ephemeral_turn(CALLING)
    assert session.ephemerals == ()


async def test_a_commit_through_push_turn_keeps_ephemerals() -> None:
    """Only a commit consumes them; placing a turn on purpose is a push."""
    session, _ = session_of()
    session.push_user("u")
    session.push_ephemeral_user("e")
    session.push_turn((await session.text_turn().collect()).turn)
    assert session.ephemerals == ((1, say("e")),)


# Forks, settings, the cursor.


def test_forks_cost_nothing() -> None:
    """At most 200 bytes each, on a session of 10,000 turns, whatever it carries."""
    turns: list[Item] = [say("u"), TURN] * 10_000
    session = Session(Lutum(ScriptedAdapter()), Transcript(turns))
    session.push_ephemeral_user("e")
    session.defaults = Settings(temperature=0.5)
    session.fork()
    forks: list[Session | None] = [None] * 1_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(1_000):
            forks[i] = session.fork()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 1_000 <= 200
    assert all(fork is not None and fork.transcript is session.transcript for fork in forks)


def test_forks_are_apart() -> None:
    """What is done on one side is not seen on the other."""
    session, _ = session_of()
    session.push_user("u")
    session.defaults = Settings(temperature=0.5)
    fork = session.fork()
    fork.push_user("v")
    fork.push_ephemeral_user("e")
    fork.defaults = Settings(seed=7)
    session.push_user("w")
    assert list(session.transcript) == [say("u"), say("w")]
    assert list(fork.transcript) == [say("u"), say("v")]
    assert session.ephemerals == ()
    assert session.defaults == Settings(temperature=0.5)
    other = Lutum(ScriptedAdapter())
    assert session.fork(llm=other).llm is other
    assert session.fork().llm is session.llm


async def test_defaults_lie_under_the_settings_of_a_turn() -> None:
    """A turn's own settings win, field by field; the defaults are those of the moment the turn was built."""
    session, adapter = session_of()
    session.push_user("u")
    session.defaults = Settings(temperature=0.5, max_output_tokens=100, stop=("END",))
    turn = session.text_turn().temperature(1.0).seed(3)
    session.defaults = Settings()
    await turn.collect()
    await session.text_turn().collect()
    sent, later = adapter.requests[0].settings, adapter.requests[1].settings
    assert (sent.temperature, sent.max_output_tokens, sent.stop, sent.seed) == (1.0, 100, ("END",), 3)
    assert not isinstance(later.temperature, float)


async def test_a_turn_keeps_what_it_was_built_on() -> None:
    """Later pushes and moves do not reach a turn that was built before; one builder may run many times."""
    session, adapter = session_of()
    session.push_user("u")
    base = session.transcript
    turn = session.text_turn()
    session.push_user("later")
    session.transcript = Transcript()
    first, second = await turn.collect(), await turn.collect()
    assert first.base is second.base is base
    assert [request.transcript for request in adapter.requests] == [base, base]


def test_going_back_is_an_assignment() -> None:
    """Any transcript may be put there, also one made elsewhere."""
    session = Session(Lutum(ScriptedAdapter()), ModelInput().user("a").transcript)
    mark = session.transcript
    session.push_user("b")
    session.transcript = mark
    assert session.transcript is mark
    session.transcript = session.transcript.append(TURN)
    assert session.turns() == [TURN]


async def test_a_partial_is_kept_only_as_words() -> None:
    """A stopped turn is never a turn; its text may be kept by hand, as plain words."""
    session, adapter = session_of(["Hel", "lo"], ["again"])
    session.push_user("u")
    async with session.text_turn().stream() as turn:
        async for event in turn:
            if isinstance(event, lutum.TextDelta):
                turn.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()  # events already held would be given out without one
    session.push_assistant(turn.partial.text)
    with pytest.raises(lutum.TurnNotFinished):
        session.commit_text(turn.result)
    assert list(session.transcript) == [say("u"), say("Hel", "assistant")]
    assert session.turns() == []
    assert len(adapter.requests) == 1


def test_a_fork_is_small_whatever_the_length() -> None:
    """A cursor of some 90 bytes; nothing of the conversation is copied."""
    sizes = list[float]()
    for items in (2, 2_000):
        session = lutum.Session(lutum.Lutum(ScriptedAdapter()))
        for number in range(items):
            session.push_user(str(number))
        session.fork()
        forks: list[lutum.Session | None] = [None] * 1_000
        tracemalloc.start()
        for number in range(len(forks)):
            forks[number] = session.fork()
        sizes.append(tracemalloc.get_traced_memory()[0] / len(forks))
        tracemalloc.stop()
    assert max(sizes) < 120
    assert abs(sizes[0] - sizes[1]) < 16
