"""Bills: the charges of a session's turns, kept until a store has written them.

A bill is identified by the random id of its turn. The answer cannot identify it, because two forks can get
equal answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import final
from weakref import ref

from msgspec import Struct

from lutum._values.results import TextResult, Tokens, Usage
from lutum._values.transcript import Transcript

# The number of newest bills that a session keeps if it is never saved.
KEPT = 4096


class TurnBill(Struct, frozen=True):
    """The charge of one turn.

    Attributes:
      turn: the random id of the turn.
      at: the time when the bill was made.
      usage: the usage of all attempts. Its label shows the source of the figures.
      error: the class of the error that ended the turn; empty for a turn that completed.
      tokens: the token ids and log probabilities of the answer, if the turn has a result.
      committed: a weak reference to the transcript that ends in the turn; None before the commit.
    """

    turn: str
    at: datetime
    adapter: str
    model: str
    usage: Usage
    error: str = ""
    committed: ref[Transcript] | None = None
    tokens: Tokens | None = None


@final
class Bills:
    """The bills of a session that no store has written yet. A bill is removed after the store has written
    it."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = dict[str, TurnBill]()

    def settled(
        self,
        turn: str,
        adapter: str,
        model: str,
        usage: Usage,
        error: BaseException | None,
        tokens: Tokens | None = None,
    ) -> None:
        """Add the bill of a turn that ended, however it ended."""
        known = self._kept.get(turn)
        name = "" if error is None else type(error).__name__
        committed = None if known is None else known.committed
        self._keep(TurnBill(turn, datetime.now(UTC), adapter, model, usage, name, committed, tokens))

    def committed(self, result: TextResult, transcript: Transcript) -> None:
        """Record that a result was committed to `transcript`.

        If the result is from another session, this also adds its bill to this session.
        """
        if result._turn_id:
            turn = result.turn
            self._keep(
                TurnBill(
                    result._turn_id,
                    datetime.now(UTC),
                    turn.adapter,
                    turn.model,
                    result.cumulative_usage,
                    committed=ref(transcript),
                    tokens=turn.tokens,
                )
            )

    def pending(self) -> tuple[TurnBill, ...]:
        """The bills that no store has written, in the order in which they were added or last changed."""
        return tuple(self._kept.values())

    def written(self, bills: tuple[TurnBill, ...]) -> None:
        """Remove the bills that a store has written. A bill that changed since then stays."""
        for bill in bills:
            if self._kept.get(bill.turn) is bill:
                del self._kept[bill.turn]

    def _keep(self, bill: TurnBill) -> None:
        self._kept.pop(bill.turn, None)
        self._kept[bill.turn] = bill
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
