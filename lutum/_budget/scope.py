"""A budget as a block: `async with llm.within(...) as scoped`.

It works as a deadline does: `on_spent="raise"` is like `fail_after`, `on_spent="stop"` is like
`move_on_after`. The turns that are started through `scoped` are limited, by the smallest remainder of the
chain of ledgers. A turn that no longer fits waits for the block's cancellation, and does not raise into a
nursery. `"drain"` cancels nothing: a turn that no longer fits raises in its own task, and the other turns
continue.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Generic, Literal, TypeVar, final

import anyio

from lutum._budget.budget import Budget
from lutum._budget.lease import BudgetLease, Reservation
from lutum._values.errors import BadValue, BudgetExceeded, UsageError, after_sending
from lutum._values.results import Estimate

L = TypeVar("L")

# The most seconds that the end of the block waits until turns outside of it have closed their sockets. Each
# socket has a limit of 2 s.
ENDING = 5.0


@final
class BudgetScope(Generic[L]):
    """A block with a budget, made by `Lutum.within`.

    Entering waits only with `guaranteed`, for the reservation. Leaving ends the turns that still run outside
    of the block, waits until they are settled (5 s at the most) and closes the budget.

    With `on_spent="drain"` nothing is cancelled. Such a block may therefore be left in another task than the
    one that entered it, as fixtures of pytest-asyncio do.

    Raises (leaving):
      BudgetExceeded: the budget was spent, and `on_spent` is "raise".
      UsageError: it is left in another task, and `on_spent` is not "drain".
    """

    __slots__ = (
        "_budget",
        "_guarantee",
        "_held",
        "_make",
        "_on_spent",
        "_parent",
        "_scope",
        "_task",
        "_used",
    )

    def __init__(
        self,
        make: Callable[[Budget], L],
        parent: Budget,
        *,
        tokens: int | None,
        cost_usd: Decimal | str | int | float | None,
        on_exhausted: Literal["refuse", "wait"],
        on_spent: Literal["raise", "stop", "drain"],
        guaranteed: bool,
    ) -> None:
        if on_spent not in ("raise", "stop", "drain"):
            raise BadValue("on_spent", f"{on_spent!r} is not one of 'raise', 'stop' and 'drain'")
        self._make = make
        self._parent = parent
        self._on_spent = on_spent
        self._scope: anyio.CancelScope | None = None
        self._held: BudgetLease | None = None
        self._used = False
        if not guaranteed:
            self._guarantee = None
            self._budget = Budget._child(parent, tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
            return
        # A prepaid ledger: its whole amount is reserved on the parent while the block runs.
        self._budget = Budget._prepaid(parent, tokens=tokens, cost_usd=cost_usd, on_exhausted=on_exhausted)
        if tokens is None and parent._tokens_limited:
            raise BadValue("guaranteed", "needs tokens=, because the budget around it limits tokens")
        if cost_usd is None and parent._cost_limited:
            raise BadValue("guaranteed", "needs cost_usd=, because the budget around it limits the cost")
        cost = self._budget.remaining.cost_usd
        self._guarantee = Estimate(tokens or 0, cost_usd=cost)

    async def __aenter__(self) -> L:
        """This is a checkpoint only if it has to wait."""
        if self._used:
            raise after_sending(UsageError("within: this block was entered before; call .within(...) again"))
        self._used = True
        if self._guarantee is not None:
            self._held = await Reservation(self._parent, self._guarantee, aside=True)
        self._budget._when_spent = self._spent
        self._parent._children.append(self._budget)
        if self._on_spent != "drain":
            self._scope = anyio.CancelScope()  # here, because it needs an event loop
            self._scope.__enter__()
        self._task = anyio.get_current_task().id
        return self._make(self._budget)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """This is a checkpoint only if it has to wait."""
        interrupted = await self._close()
        self._parent._children.remove(self._budget)
        if self._held is not None:
            self._held.settle(self._budget.spent)
        if self._scope is None:
            if interrupted is not None:
                raise interrupted
            return False
        if anyio.get_current_task().id != self._task:
            raise after_sending(
                UsageError(
                    "within: the task that leaves the block is not the one that entered it (a fixture of"
                    " pytest-asyncio?); use on_spent='drain' there, see docs/testing.md, 'Fixtures'"
                )
            )
        if interrupted is not None:
            self._scope.__exit__(type(interrupted), interrupted, interrupted.__traceback__)
            raise interrupted
        quiet = bool(self._scope.__exit__(kind, exc, trace))
        if self._on_spent == "raise" and self._budget.exhausted and (exc is None or quiet):
            raise BudgetExceeded(f"the budget of this block is spent: {self._budget!r}")
        return quiet

    async def _close(self) -> BaseException | None:
        """Close the budget, and return the exception that interrupted the wait.

        A native cancellation on asyncio, or a KeyboardInterrupt on trio, passes the shield. The turns outside
        the block are ending already, so the wait for their connections continues. A second interruption ends
        the wait.
        """
        interrupted: BaseException | None = None
        deadline = anyio.current_time() + ENDING
        while True:
            try:
                with anyio.CancelScope(deadline=deadline, shield=True):
                    await self._budget._close()
                return interrupted
            except BaseException as exc:
                if interrupted is not None:
                    return exc
                interrupted = exc

    def _spent(self) -> None:
        if self._on_spent != "drain" and self._scope is not None:
            self._scope.cancel()
