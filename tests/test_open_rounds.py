"""Open rounds as values: dumped, loaded, claimed, and committed in a process that never saw the turn."""

from typing import Annotated, Any

import anyio
import pytest

import lutum
from lutum import (
    BadValue,
    CallTaken,
    Lutum,
    NeedsTools,
    Session,
    StaleCommit,
    Started,
    ToolCall,
    ToolCallReady,
    ToolResult,
    ToolRound,
    Toolset,
    Transcript,
    TranscriptError,
    UsageError,
)
from lutum.testing import Script, ScriptedAdapter, virtual_time

RAN = list[str]()
KEYS = list[str]()


@lutum.tool
async def pay(to: str) -> str:
    """Pay."""
    RAN.append(to)
    await anyio.sleep(1)
    return f"paid {to}"


@lutum.tool
async def keyed(n: int, call: Annotated[lutum.ToolCall, lutum.Injected]) -> str:
    """Return the key of the call."""
    KEYS.append(call.key)
    return f"{call.name} {n}"


TOOLS = Toolset(pay, keyed)
ANN = ToolCallReady("1", "pay", '{"to":"Ann"}')
BO = ToolCallReady("2", "pay", '{"to":"Bo"}')

VIRTUAL = pytest.mark.parametrize(
    "anyio_backend",
    [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")],
)


class Journal:
    """A journal in memory, as a user writes one."""

    def __init__(self) -> None:
        self.claims = dict[str, Started | None]()
        self.results = dict[str, ToolResult]()
        self.failing = ""
        self.released = list[bool]()

    async def start(self, call: ToolCall[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failing == "start":
            raise OSError("no disk")
        if call.key in self.claims and call.started is None:
            raise CallTaken("taken", key=call.key)
        self.claims[call.key] = call.started

    async def finish(self, call: ToolCall[Any], result: ToolResult) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failing == "finish":
            raise OSError("no disk")
        self.results[call.key] = result


class Releasing(Journal):
    async def release(self, call: ToolCall[Any], *, began: bool) -> None:
        self.released.append(began)
        if not began:
            del self.claims[call.key]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RAN.clear()
    KEYS.clear()


async def round_of(*events: Any, tools: Toolset[Any] = TOOLS) -> tuple[Session, ToolRound[Any]]:
    session = Session(Lutum(ScriptedAdapter([Script(events, finish_reason="tool_calls"), ["done"]])))
    session.push_user("u")
    outcome = await session.text_turn().tools(tools).collect()
    assert isinstance(outcome, NeedsTools)
    return session, outcome.round


def elsewhere(session: Session) -> Session:
    """The session as another process loads it."""
    return Session(session.llm, Transcript.load(session.transcript.dump()))


@VIRTUAL
async def test_a_loaded_round_is_run_and_committed() -> None:
    """All that a round is comes back: typed calls, issues, usage; and the commit is the same items."""
    session, round = await round_of("Well.", ANN, BO, ToolCallReady("3", "lose", "{}"))
    other = elsewhere(session)
    loaded = ToolRound.load(round.dump(), TOOLS, base=other.transcript)
    assert [call.input for call in loaded.calls] == [call.input for call in round.calls]
    assert loaded.issues == round.issues
    assert (loaded.turn, loaded.usage, loaded.finish_reason) == (round.turn, round.usage, round.finish_reason)
    assert [call.key for call in loaded.calls] == [call.key for call in round.calls]
    other.commit_round(loaded, await loaded.run())
    session.commit_round(round, await round.run())
    assert other.transcript == session.transcript
    with pytest.raises(StaleCommit):
        other.commit_round(loaded, loaded.results)
    assert (await other.text_turn().tools(TOOLS).collect()) is not None


async def test_a_round_of_another_process_is_committed_by_digest() -> None:
    """The base of a round is a value: equal items are the same base, in whatever object."""
    session, round = await round_of(ANN)
    other = elsewhere(session)
    other.commit_round(round, [round.calls[0].complete("ok")])
    assert len(other.transcript) == 3


async def test_another_base_is_refused() -> None:
    """A dump belongs to one transcript; on another one its turn would lie."""
    session, round = await round_of(ANN)
    session.push_user("more")
    with pytest.raises(TranscriptError, match="it belongs to the transcript"):
        ToolRound.load(round.dump(), TOOLS, base=session.transcript)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: b"", "not a dumped round"),
        (lambda data: b"{}", "not a dumped round"),
        (lambda data: data[:-9], "not a dumped round"),
        (lambda data: data.replace(b'"round"', b'"transcript"', 1), "not a dumped round"),
        (
            lambda data: data.replace(b'"version":1', b'"version":2', 1),
            "version 2; this lutum reads version",
        ),
    ],
    ids=["nothing", "an empty object", "cut", "a transcript", "a newer version"],
)
async def test_bytes_that_are_not_a_round(change: Any, problem: str) -> None:
    """Each is a TranscriptError that names what is wrong."""
    session, round = await round_of(ANN)
    with pytest.raises(TranscriptError, match=problem):
        ToolRound.load(change(round.dump()), TOOLS, base=session.transcript)


async def test_a_removed_tool_becomes_an_issue() -> None:
    """And arguments that no longer fit; both are answered at the commit, and nothing is lost."""
    session, round = await round_of(ANN, ToolCallReady("2", "keyed", '{"n":1}'))
    loaded = ToolRound.load(round.dump(), Toolset(keyed), base=session.transcript)
    assert [(issue.name, issue.reason) for issue in loaded.issues] == [("pay", "unknown_tool")]
    session.commit_round(loaded, await loaded.run())
    assert [item.is_error for item in session.transcript if isinstance(item, ToolResult)] == [True, False]


@VIRTUAL
async def test_what_was_answered_before_the_dump_stays_answered() -> None:
    """Results, approvals and starts are in the dump; only the rest runs."""
    session, round = await round_of(ANN, BO)
    round.calls[1].approve("ann")
    await round.run(only=[round.calls[0]])
    with anyio.move_on_after(0.5):
        await round.run()
    assert sorted(RAN) == ["Ann", "Bo"]
    loaded = ToolRound.load(round.dump(), TOOLS, base=session.transcript)
    assert [call.name for call in loaded.unanswered] == ["pay"]
    assert [result.text for result in loaded.results] == ["paid Ann"]
    approved, started = loaded.calls[1].approved, loaded.calls[1].started
    assert approved is not None
    assert approved.by == "ann"
    assert started is not None
    assert not started.alive
    with pytest.raises(CallTaken, match=r"call '2' of 'pay' .* may have happened"):
        await loaded.run()
    reported = await loaded.run(restarted="report")
    assert "may have happened" in reported[1].text
    again = ToolRound.load(round.dump(), TOOLS, base=session.transcript)
    assert [result.text for result in await again.run(restarted=lambda call: "run")] == [
        "paid Ann",
        "paid Bo",
    ]
    assert RAN == ["Ann", "Bo", "Bo"]


@VIRTUAL
async def test_the_same_object_runs_again_after_a_cancellation() -> None:
    """No dump and no journal: the caller cancelled the run, and knows it."""
    _, round = await round_of(ANN)
    with anyio.move_on_after(0.5):
        await round.run()
    assert [result.text for result in await round.run()] == ["paid Ann"]


async def test_an_open_round_of_a_transcript() -> None:
    """Only the results that are missing are appended, in call order."""
    session, round = await round_of(
        ToolCallReady("1", "keyed", '{"n":1}'), ToolCallReady("2", "keyed", '{"n":2}')
    )
    session.push_turn(round.turn)
    session.push_tool_result("2", "by hand")
    other = elsewhere(session)
    opened = other.open_round(TOOLS)
    assert [call.key for call in opened.calls] == [call.key for call in round.calls]
    assert [call.id for call in opened.unanswered] == ["1"]
    other.commit_round(opened, await opened.run())
    assert [item.text for item in other.transcript if isinstance(item, ToolResult)] == ["by hand", "keyed 1"]
    assert other.transcript.open_calls == ()
    with pytest.raises(StaleCommit):
        other.commit_round(opened, opened.results)
    with pytest.raises(UsageError, match="no call of the transcript waits"):
        other.open_round(TOOLS)
    loaded = ToolRound.load(opened.dump(), TOOLS, base=session.transcript)
    session.commit_round(loaded, loaded.results)
    assert session.transcript == other.transcript


async def test_an_open_round_needs_a_result_for_each_call() -> None:
    """As any round: all or nothing."""
    session, round = await round_of(ANN, BO)
    session.push_turn(round.turn)
    opened, before = session.open_round(TOOLS), session.transcript
    with pytest.raises(UsageError, match="no result for call '2'"):
        session.commit_round(opened, [opened.calls[0].complete("ok")])
    assert session.transcript is before


async def test_keys_differ_where_ids_repeat() -> None:
    """Some hosts begin each round with `call_0`; a key is of one call of one round. The tool gets it."""
    calls = [[ToolCallReady("call_0", "keyed", '{"n":1}')]] * 2
    session, keys = Session(Lutum(ScriptedAdapter(calls))), list[str]()
    session.push_user("u")
    for _ in range(2):
        outcome = await session.text_turn().tools(TOOLS).collect()
        assert isinstance(outcome, NeedsTools)
        keys += [call.key for call in outcome.round.calls]
        session.commit_round(outcome.round, await outcome.round.run())
    assert len(set(keys)) == 2
    assert keys == KEYS


async def test_a_call_without_a_round_has_no_key() -> None:
    """Before its turn has completed, nothing that could be a key is known."""
    with pytest.raises(UsageError, match="a call has no key before its turn has completed"):
        _ = ToolCall("1", "pay", "{}", {}).key
    assert "call" not in keyed.definition.schema


@VIRTUAL
async def test_a_journal_claims_and_records() -> None:
    """Each call is claimed before it runs; its result is recorded, and a second run starts nothing."""
    _, round = await round_of(ANN, BO)
    journal = Journal()
    results = await round.run(journal=journal)
    assert journal.results == {call.key: result for call, result in zip(round.calls, results, strict=True)}
    assert await round.run(journal=journal) == results
    assert sorted(RAN) == ["Ann", "Bo"]


@VIRTUAL
async def test_a_second_claim_is_refused() -> None:
    """Two loads of one round, run at once: each call runs once, and the loser is told."""
    session, round = await round_of(ANN)
    journal, taken = Journal(), list[CallTaken]()
    one, two = (ToolRound.load(round.dump(), TOOLS, base=session.transcript) for _ in range(2))

    async def run(round: ToolRound[Any]) -> None:
        try:
            await round.run(journal=journal)
        except CallTaken as exc:
            taken.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(run, one)
        group.start_soon(run, two)
    assert RAN == ["Ann"]
    assert len(taken) == 1


@VIRTUAL
async def test_a_start_that_fails_runs_nothing() -> None:
    """The error is the journal's own, and names the call."""
    _, round = await round_of(ANN, BO)
    journal = Journal()
    journal.failing = "start"
    with pytest.raises(OSError, match="no disk") as caught:
        await round.run(journal=journal)
    notes = "".join(caught.value.__notes__)  # two calls start at once, and trio chooses which one goes first
    assert "call '1' of 'pay' was not run" in notes or "call '2' of 'pay' was not run" in notes
    assert RAN == []
    assert round.results == ()


@VIRTUAL
async def test_a_finish_that_fails_keeps_the_result() -> None:
    """It stays on the round, and the next run records it without running the tool again."""
    _, round = await round_of(ANN)
    journal = Journal()
    journal.failing = "finish"
    with pytest.raises(OSError, match="no disk") as caught:
        await round.run(journal=journal)
    assert "call '1' of 'pay' was run" in "".join(caught.value.__notes__)
    assert [result.text for result in round.results] == ["paid Ann"]
    journal.failing = ""
    await round.run(journal=journal)
    assert [result.text for result in journal.results.values()] == ["paid Ann"]
    assert RAN == ["Ann"]


@VIRTUAL
async def test_a_journal_that_does_not_answer_is_bounded() -> None:
    """A record has 10 s, shielded or not."""

    class Silent(Journal):
        async def start(self, call: ToolCall[Any]) -> None:
            await anyio.sleep_forever()

    _, round = await round_of(ANN)
    before = anyio.current_time()
    with pytest.raises(TimeoutError, match="call '1' of 'pay' was not run"):
        await round.run(journal=Silent())
    assert anyio.current_time() - before == pytest.approx(10)
    assert RAN == []


@VIRTUAL
async def test_a_cancelled_run_tells_its_journal() -> None:
    """The claim stays, marked as ended; what to do with it is the caller's next decision."""
    _, round = await round_of(ANN)
    journal = Releasing()
    with anyio.move_on_after(0.5):
        await round.run(journal=journal)
    assert journal.released == [True]
    started = round.calls[0].started
    assert started is not None
    assert not started.alive
    with pytest.raises(CallTaken, match="may have happened"):
        await round.run(journal=journal)
    assert [result.text for result in await round.run(journal=journal, restarted="run")] == ["paid Ann"]
    assert RAN == ["Ann", "Ann"]


@VIRTUAL
async def test_a_call_that_never_began_is_not_claimed() -> None:
    """A cancellation that arrives while the claim is written lets the claim go again."""
    _, round = await round_of(ANN)

    class Slow(Releasing):
        async def start(self, call: ToolCall[Any]) -> None:
            await anyio.sleep(1)
            await super().start(call)

    journal = Slow()
    with anyio.move_on_after(0.5):
        await round.run(journal=journal)
    assert journal.released == [False]
    assert journal.claims == {}
    assert RAN == []
    await round.run(journal=journal)
    assert RAN == ["Ann"]


@VIRTUAL
async def test_a_report_is_recorded_as_a_result() -> None:
    """The model learns that the call may have happened, and the tool does not run."""
    session, round = await round_of(ANN)
    journal = Releasing()
    with anyio.move_on_after(0.5):
        await round.run(journal=journal)
    loaded = ToolRound.load(round.dump(), TOOLS, base=session.transcript)
    [result] = await loaded.run(journal=journal, restarted="report")
    assert result.is_error
    assert journal.results[loaded.calls[0].key] == result
    assert RAN == ["Ann"]


async def test_bad_arguments_of_run() -> None:
    """Each names its parameter, and nothing runs."""
    _, round = await round_of(ANN)
    for only, problem in [(["nonsense"], "'nonsense' is not the key"), (round.calls[0].key, "is a str")]:
        with pytest.raises(BadValue, match=problem):
            await round.run(only=only)
    with pytest.raises(BadValue, match="restarted: 'again' is not"):
        await round.run(restarted="again")  # type: ignore[arg-type]
    assert await round.run(only=[]) == ()
    assert RAN == []


def test_transcript_prefix() -> None:
    """A prefix may part a call from its result; a slice may not."""
    session = Session(Lutum(ScriptedAdapter([])))
    session.push_user("u")
    turn = lutum.CommittedTurn("scripted", "s", "m", b"[]", (lutum.ToolCallItem("c", "pay", "{}"),))
    session.push_turn(turn)
    session.push_tool_result("c", "ok")
    assert [len(session.transcript.prefix(n)) for n in range(4)] == [0, 1, 2, 3]
    assert session.transcript.prefix(2).open_calls == ("c",)
    for length in (-1, 4):
        with pytest.raises(IndexError):
            session.transcript.prefix(length)
