"""`Session`: a cursor on a transcript. It moves only when you push, commit or assign a transcript.

A commit is a compare-and-set: a result can be committed only while the session's transcript is the one that
the turn was built on. Transcripts are compared by digest, so that a result that was made or loaded in another
process can be committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from lutum._lutum import Lutum, context_of
from lutum._tools.round import RoundPlan, ToolRound, open_round
from lutum._tools.toolset import Toolset
from lutum._turn.bills import Bills
from lutum._turn.builder import StructuredTurn, TextTurn, structured_turn, text_turn
from lutum._turn.plan import TurnSpec
from lutum._turn.preview import open_items
from lutum._values.check import check_type, describe
from lutum._values.errors import BadValue, StaleCommit, UsageError, after_sending
from lutum._values.items import Content, Item, ToolResult, message, raw, tool_result
from lutum._values.results import CommittedTurn, StructuredResult, TextResult
from lutum._values.settings import Settings
from lutum._values.transcript import Transcript
from lutum._values.wrong_calls import SESSION, no_such_name
from lutum.abc import TurnRequest

I = TypeVar("I")
T = TypeVar("T")

logger = logging.getLogger("lutum")


@final
class Session:
    """A conversation in progress. One task uses it at a time. Its transcripts may be shared freely.

    `transcript` can be read and assigned. To go back, assign an earlier one: `session.transcript = mark`.
    `defaults` are the settings that its turns inherit.
    """

    __slots__ = ("_committed", "_defaults", "_ephemerals", "_kept_bills", "_llm", "_stored", "_transcript")

    def __init__(self, llm: Lutum, transcript: Transcript | None = None) -> None:
        check_type("llm", llm, Lutum, "a Lutum: Session(Lutum(adapter))")
        check_type("transcript", transcript, Transcript | None, "a lutum.Transcript")
        self._llm = llm
        self._transcript = Transcript() if transcript is None else transcript
        self._ephemerals: tuple[tuple[int, Item], ...] = ()
        self._committed: TurnRequest | None = None
        self._kept_bills: Bills | None = None
        self._stored: tuple[object, Transcript] | None = None  # a branch, and the transcript last saved to it
        self._defaults = Settings()

    @property
    def _bills(self) -> Bills:
        """The bills, made when a turn needs them. Most forks of a fan-out run one turn or none."""
        bills = self._kept_bills
        if bills is None:
            bills = self._kept_bills = Bills()
        return bills

    @property
    def llm(self) -> Lutum:
        """The Lutum that its turns run on."""
        return self._llm

    @property
    def transcript(self) -> Transcript:
        """The session's transcript; assign an earlier one to go back."""
        return self._transcript

    @transcript.setter
    def transcript(self, transcript: Transcript) -> None:
        """Move the cursor; ephemerals beyond the new end are dropped."""
        check_type("transcript", transcript, Transcript, "a lutum.Transcript")
        self._transcript = transcript
        self._ephemerals = tuple(pair for pair in self._ephemerals if pair[0] <= len(transcript))

    @property
    def defaults(self) -> Settings:
        """The settings that apply where a turn sets none. They can be assigned."""
        return self._defaults

    @defaults.setter
    def defaults(self, defaults: Settings) -> None:
        check_type("defaults", defaults, Settings, "a lutum.Settings")
        self._defaults = defaults

    @property
    def ephemerals(self) -> tuple[tuple[int, Item], ...]:
        """The items for the next committed turn only: pairs of position and item, in order.

        They are not part of the transcript. Some providers have their own form of a one-turn item, and need
        it again in every later request. The item's text is then stored with the turn
        (`CommittedTurn.preface`).
        """
        return self._ephemerals

    @property
    def open_items(self) -> tuple[bytes, ...]:
        """Provider calls of the last turn that wait for your answer, as raw JSON. Answer with `push_raw`.

        While there are open items, the next turn raises UsageError when it starts, before anything is
        reserved.
        """
        return open_items(self._llm.adapter, self._transcript)

    def push_system(self, content: Content) -> None:
        """Add a system item at the end of the conversation; before any other item it belongs to the head."""
        self._push(message("system", content))

    def push_developer(self, content: Content) -> None:
        """Add a developer item. A provider without developer items gets it as a system item."""
        self._push(message("developer", content))

    def push_user(self, content: Content) -> None:
        """Add a user item: text, or parts."""
        self._push(message("user", content))

    def push_assistant(self, text: str) -> None:
        """Add an assistant item with your text, for example the text of a partial result.

        It is a plain message and not a committed turn, so it has no exact form to replay.
        """
        self._push(message("assistant", text))

    def push_tool_result(
        self,
        call_id: str,
        content: Content,
        *,
        is_error: bool = False,
        name: str | None = None,
        arguments: str | None = None,
    ) -> None:
        """Add the result of an open call; with `name` and `arguments`, of a call that no turn contains.

        Raises:
          TranscriptError: no such call is open.
        """
        self._push(tool_result(call_id, content, is_error=is_error, name=name, arguments=arguments))

    def push_turn(self, turn: CommittedTurn) -> None:
        """Add a committed turn, no matter on which transcript it was built."""
        check_type("turn", turn, CommittedTurn, "a committed turn, which is in result.turn")
        self._push(turn)

    def push_raw(self, adapter: str, json: str | bytes) -> None:
        """Add JSON of one adapter's own protocol, such as the answer to an open item.

        Raises:
          BadValue: `json` is not one JSON value.
        """
        self._push(raw(adapter, json))

    def push_ephemeral_system(self, content: Content) -> None:
        """Add a system item for the next committed turn only."""
        self._push_ephemeral(message("system", content))

    def push_ephemeral_developer(self, content: Content) -> None:
        """Add a developer item for the next committed turn only."""
        self._push_ephemeral(message("developer", content))

    def push_ephemeral_user(self, content: Content) -> None:
        """Add a user item for the next committed turn only."""
        self._push_ephemeral(message("user", content))

    def push_ephemeral_turn(self, turn: CommittedTurn) -> None:
        """Add a turn, in its exact form, for the next committed turn only.

        Raises:
          UsageError: the turn has tool calls, whose results cannot be pushed for one turn only.
        """
        check_type("turn", turn, CommittedTurn, "a committed turn, which is in result.turn")
        if turn.tool_calls:
            raise UsageError(
                "push_ephemeral_turn: the turn has tool calls, and their results cannot be pushed after it"
            )
        self._push_ephemeral(turn)

    def text_turn(self) -> TextTurn:
        """Return a text turn on the current transcript. Later pushes do not change the turn."""
        return text_turn(context_of(self._llm), self._spec())

    @overload
    def structured_turn(self, type: type[T], *, lenient: bool = False) -> StructuredTurn[T]: ...
    @overload
    def structured_turn(self, type: object, *, lenient: bool = False) -> StructuredTurn[Any]: ...
    def structured_turn(self, type: Any, *, lenient: bool = False) -> StructuredTurn[Any]:
        """Return a turn whose answer is a value of `type`, on the current transcript.

        Args:
          lenient: as for `Lutum.structured_turn`.

        Raises:
          BadValue: no schema can express the type; the message has the path.
        """
        return structured_turn(context_of(self._llm), type, self._spec(), lenient=lenient)

    def commit_text(self, result: TextResult) -> None:
        """Store the turn of a result.

        Raises:
          StaleCommit: the session's transcript is not the one that the turn was built on; nothing changed.
          UsageError: the turn has unanswered tool calls; use `commit_round`.
          BadValue: `result` is not a result.
        """
        if not isinstance(result, TextResult):
            raise BadValue(
                "result",
                f"needs the result of a turn, not {describe(result)}; match the outcome first, then commit"
                " Finished.result or NeedsTools.round",
            )
        if result.turn.tool_calls:
            raise after_sending(UsageError("commit: the turn has unanswered tool calls; commit its round"))
        self._commit(result, ())

    def commit_structured(self, result: StructuredResult[T]) -> None:
        """Store the turn of a structured result, which is a value or a refusal. Raises as `commit_text`."""
        check_type("result", result, StructuredResult, "the result of a structured turn")
        self.commit_text(result)

    def commit_round(self, round: ToolRound[Any] | RoundPlan[Any], results: Iterable[ToolResult]) -> None:
        """Store a turn with the results of its calls, all or nothing.

        For a plan, give the results of its pending calls.

        Raises:
          StaleCommit: the session's transcript is not the one that the turn was built on; nothing changed.
          UsageError: a result is missing, given twice, not of this turn or altered; nothing changed.
          BadValue: `round` is not a round, or `results` are not its results.
        """
        check_type("round", round, ToolRound | RoundPlan, "the round, which is in outcome.round")
        whole = round.round if isinstance(round, RoundPlan) else round
        self._commit(round.result, round.answered(results), whole)

    def open_round(self, tools: Toolset[I]) -> ToolRound[I]:
        """Return the round of the last turn, if some of its calls have no result yet.

        This can be so in a transcript that was loaded. `commit_round` then appends only the results.

        Raises:
          UsageError: no call waits for a result.
          BadValue: `tools` is not a toolset.
        """
        check_type("tools", tools, Toolset, "a lutum.Toolset")
        return open_round(self._transcript, tools)

    def fork(self, llm: Lutum | None = None) -> Session:
        """Return another session on the same transcript, with the same ephemerals and defaults. O(1)."""
        if llm is not None:
            check_type("llm", llm, Lutum, "a Lutum: session.fork(Lutum(adapter))")
        fork = Session.__new__(Session)  # without `__init__`, because its checks were made before
        fork._llm = self._llm if llm is None else llm
        fork._transcript = self._transcript
        fork._ephemerals = self._ephemerals
        fork._committed = self._committed
        fork._kept_bills = None
        fork._stored = self._stored
        fork._defaults = self._defaults
        return fork

    def turns(self) -> list[CommittedTurn]:
        """The committed turns, in order."""
        return [item for item in self._transcript if isinstance(item, CommittedTurn)]

    def __repr__(self) -> str:
        return f"<Session at {self._transcript!r}>"

    if not TYPE_CHECKING:  # a type checker that sees `__getattr__` would accept every name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, SESSION)

    def _spec(self) -> TurnSpec:
        return TurnSpec(
            base=self._transcript,
            ephemerals=self._ephemerals,
            settings=self.defaults,
            committed=self._committed,
            bills=self._bills,
        )

    def _push(self, item: Item) -> None:
        self._transcript = self._transcript.append(item)

    def _push_ephemeral(self, item: Item) -> None:
        self._ephemerals = (*self._ephemerals, (len(self._transcript), item))

    def _commit(
        self, result: TextResult, results: tuple[ToolResult, ...], round: ToolRound[Any] | None = None
    ) -> None:
        if self._transcript != result.base:
            raise StaleCommit(_moved(result.base, self._transcript))
        if round is None:
            transcript = self._transcript.append(result.turn)
        else:
            transcript = round.append_to(self._transcript, results)
        if round is None or not round.placed:
            self._bills.committed(result, transcript.prefix(len(self._transcript) + 1))
        carried = () if result._request is None else result._request.ephemerals
        self._ephemerals = tuple(pair for pair in self._ephemerals if not any(pair is c for c in carried))
        self._committed = result._request
        self._transcript = transcript
        if waiting := self.open_items:
            logger.info("commit: %d provider calls wait for an answer, see Session.open_items", len(waiting))


def _moved(base: Transcript, now: Transcript) -> str:
    shared = len(base.common_prefix(now))
    return (
        "commit: the session moved on since the turn was built:"
        f" {len(base) - shared} items removed and {len(now) - shared} added after item {shared}"
    )
