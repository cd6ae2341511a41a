"""Bills: what the turns of a session were charged, until a store has them.

A bill belongs to one turn, by its random id, because two forks can get equal answers.
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
      at: when it was settled.
      usage: all its attempts, with the label of how they are known.
      error: the class of the error that ended it; empty for a turn that completed.
      tokens: the token ids and log probabilities of a turn that has a result.
      committed: the transcript that ends in the turn, once it was committed and while it is in use.
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
    """The bills of a session that no store has. Those that a store is about to write stay until it has."""

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
        """Add the transcript that a result was committed to. A result of another session brings its bill."""
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
        """The bills that no store has, in the order in which they came."""
        return tuple(self._kept.values())

    def written(self, bills: tuple[TurnBill, ...]) -> None:
        """Drop what a store has written, but not what changed since."""
        for bill in bills:
            if self._kept.get(bill.turn) is bill:
                del self._kept[bill.turn]

    def _keep(self, bill: TurnBill) -> None:
        self._kept.pop(bill.turn, None)
        self._kept[bill.turn] = bill
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
