"""A cursor over a transcript that moves only when you say so.

Commit is a compare-and-set: a result may be committed where its turn was built, and nowhere else. Digests
are compared, so that a result that was made or loaded in another process can be committed.
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
    """A conversation in progress. Belongs to one task at a time; its transcripts may be shared freely.

    `transcript` is readable and assignable: going back is `session.transcript = mark`. `defaults`
    are the settings its turns inherit.
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
        self._stored: tuple[object, Transcript] | None = None  # a branch, and where it was last saved to
        self._defaults = Settings()

    @property
    def _bills(self) -> Bills:
        """Made when a turn needs them, because most forks of a fan-out run one turn or none."""
        bills = self._kept_bills
        if bills is None:
            bills = self._kept_bills = Bills()
        return bills

    @property
    def llm(self) -> Lutum:
        """Where its turns run."""
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
        """The settings of turns that give none of their own; assignable."""
        return self._defaults

    @defaults.setter
    def defaults(self, defaults: Settings) -> None:
        check_type("defaults", defaults, Settings, "a lutum.Settings")
        self._defaults = defaults

    @property
    def ephemerals(self) -> tuple[tuple[int, Item], ...]:
        """The items that only the next turn sees: (position, item), in order.

        They are not part of the transcript. If a provider has a one-turn form, it must be sent again with
        every later request, so their text is kept with the turn that saw them (`CommittedTurn.preface`).
        """
        return self._ephemerals

    @property
    def open_items(self) -> tuple[bytes, ...]:
        """Provider calls of the last turn that wait for an answer from you, as raw JSON, see `push_raw`.

        While there are any, the next turn raises UsageError as it starts, before anything is reserved.
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
        """Put words into the assistant's mouth, such as those of a partial; no turn, so no replay."""
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
        """Answer an open call; with `name` and `arguments`, a call that no turn holds.

        Raises:
          TranscriptError: no such call is open.
        """
        self._push(tool_result(call_id, content, is_error=is_error, name=name, arguments=arguments))

    def push_turn(self, turn: CommittedTurn) -> None:
        """Place a turn on purpose, wherever it was made."""
        check_type("turn", turn, CommittedTurn, "a committed turn, which is in result.turn")
        self._push(turn)

    def push_raw(self, adapter: str, json: str | bytes) -> None:
        """Add JSON of one adapter's own protocol, such as the answer to an open item.

        Raises:
          BadValue: it is not one JSON value.
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
        """Show a turn, in its exact form, to the next committed turn only.

        Raises:
          UsageError: it holds calls; their results cannot be pushed for one turn.
        """
        check_type("turn", turn, CommittedTurn, "a committed turn, which is in result.turn")
        if turn.tool_calls:
            raise UsageError("push_ephemeral_turn: the turn holds tool calls, which no result could follow")
        self._push_ephemeral(turn)

    def text_turn(self) -> TextTurn:
        """A text turn on the transcript as it is now; later pushes do not change it."""
        return text_turn(context_of(self._llm), self._spec())

    @overload
    def structured_turn(self, type: type[T], *, lenient: bool = False) -> StructuredTurn[T]: ...
    @overload
    def structured_turn(self, type: object, *, lenient: bool = False) -> StructuredTurn[Any]: ...
    def structured_turn(self, type: Any, *, lenient: bool = False) -> StructuredTurn[Any]:
        """A turn that answers with a value of `type`, on the transcript as it is now.

        Args:
          lenient: as for `Lutum.structured_turn`.

        Raises:
          BadValue: no schema can say the type; the message has the path.
        """
        return structured_turn(context_of(self._llm), type, self._spec(), lenient=lenient)

    def commit_text(self, result: TextResult) -> None:
        """Store the turn of a result.

        Raises:
          StaleCommit: the session is not where the turn was built; nothing changed.
          UsageError: the turn holds unanswered calls, which `commit_round` commits.
          BadValue: `result` is not a result.
        """
        if not isinstance(result, TextResult):
            raise BadValue(
                "result",
                f"needs the result of a turn, not {describe(result)}; match an outcome with tools first, and"
                " commit its .result or its .round",
            )
        if result.turn.tool_calls:
            raise after_sending(UsageError("commit: the turn holds unanswered tool calls; commit its round"))
        self._commit(result, ())

    def commit_structured(self, result: StructuredResult[T]) -> None:
        """Store the turn of a structured result, value or refusal. Raises as `commit_text`."""
        check_type("result", result, StructuredResult, "the result of a structured turn")
        self.commit_text(result)

    def commit_round(self, round: ToolRound[Any] | RoundPlan[Any], results: Iterable[ToolResult]) -> None:
        """Store a turn with the results of its calls, all or nothing; of a plan, those of its pending calls.

        Raises:
          StaleCommit: the session is not where the turn was built; nothing changed.
          UsageError: a result is missing, double, extra or altered; nothing changed.
          BadValue: `round` is not a round, or `results` are not its results.
        """
        check_type("round", round, ToolRound | RoundPlan, "the round, which is in outcome.round")
        whole = round.round if isinstance(round, RoundPlan) else round
        self._commit(round.result, round.answered(results), whole)

    def open_round(self, tools: Toolset[I]) -> ToolRound[I]:
        """The round of the last turn, when some of its calls have no result yet; such as in a transcript that
        was loaded. `commit_round` then appends the results only.

        Raises:
          UsageError: no call waits for a result.
          BadValue: `tools` is not a toolset.
        """
        check_type("tools", tools, Toolset, "a lutum.Toolset")
        return open_round(self._transcript, tools)

    def fork(self, llm: Lutum | None = None) -> Session:
        """Another cursor on the same transcript, with the same ephemerals and defaults; O(1)."""
        if llm is not None:
            check_type("llm", llm, Lutum, "a Lutum: session.fork(Lutum(adapter))")
        fork = Session.__new__(Session)  # without the checks of values that were checked before
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

    if not TYPE_CHECKING:  # a checker would take any name for one that exists

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
