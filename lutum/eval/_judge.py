"""`JudgeEval`: an eval by a model, whose report is the value of a structured turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lutum._lutum import Lutum
from lutum._turn.builder import StructuredTurn
from lutum._turn.plan import Input
from lutum.eval._evals import Eval

if TYPE_CHECKING:
    from lutum.trace import Trace

A = TypeVar("A")
T = TypeVar("T")


class JudgeEval(Eval[A, T]):
    """An eval that requests a value of `type` from a model. `render` returns the model's input.

    Each judgement is one request.

    Args:
      type: the type of the report that the judge fills in.
      render: makes the judge's input from trace and artifact: a `str`, `ModelInput` or `Transcript`.
      setup: sets options of the turn with its methods:
        `setup=lambda turn: turn.temperature(0).max_output_tokens(500)`.
    """

    def __init__(
        self,
        type: type[T],
        render: Callable[[Trace, A], Input],
        *,
        setup: Callable[[StructuredTurn[T]], StructuredTurn[T]] | None = None,
    ) -> None:
        self._type = type
        self._render = render
        self._setup = setup

    async def evaluate(self, llm: Lutum, trace: Trace, artifact: A) -> T:
        """Return the judgement. On cancellation the turn is closed and settled.

        This is a checkpoint only if it has to wait.

        Raises:
          Refused: the judge refused to judge.
          TurnError: the turn did not complete, or its value does not decode.
        """
        turn = llm.structured_turn(self._type, self._render(trace, artifact))
        if self._setup is not None:
            turn = self._setup(turn)
        return (await turn.collect()).value
