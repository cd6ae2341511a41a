"""pass@k on one conversation: `k` concurrent branches of a session, paid from one guaranteed amount.

A branch is `session.fork()`, which copies nothing. The first branch starts alone until its answer begins, so
that the other branches read the provider's prompt cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar, final

import anyio
from msgspec import Struct

from lutum._budget.budget import Budget
from lutum._lutum import Lutum, behind_gate
from lutum._session import Session
from lutum._turn.gate import PrefixGate
from lutum._values.errors import BadValue, UsageError
from lutum._values.results import Usage
from lutum.eval._statistics import Rate, pass_at_k, pass_hat_k
from lutum.eval._table import money

O = TypeVar("O")


@final
class EvalBranch(Struct, Generic[O], frozen=True, kw_only=True):
    """The result of one branch.

    Attributes:
      number: the number of the branch, from 0.
      session: the session at the end of the branch, on the `Lutum` of the branched session. You may assign
        its transcript to the branched session.
      status: "error" if the attempt raised, "cancelled" if another branch passed first.
      output: the return value of the attempt; None if it did not return.
      error: the exception that the attempt raised.
      usage: the settled usage of the branch.
      saved: the part of its reservation that a cancelled branch did not spend. Stopping early saved at most
        this much.
    """

    number: int
    session: Session
    status: Literal["passed", "failed", "error", "cancelled"]
    output: O | None = None
    error: Exception | None = None
    usage: Usage = Usage()
    saved: Usage = Usage()


@final
@dataclass(frozen=True, slots=True)
class Branches(Generic[O]):
    """All branches, by number. `first` is the branch that passed first; None if no branch passed."""

    branches: tuple[EvalBranch[O], ...]
    first: EvalBranch[O] | None

    @property
    def usage(self) -> Usage:
        """The sum of the usage of all branches."""
        return sum((branch.usage for branch in self.branches), Usage())

    @property
    def saved(self) -> Usage:
        """The largest usage that stopping early can have saved."""
        return sum((branch.saved for branch in self.branches), Usage())

    @property
    def outcomes(self) -> tuple[bool, ...]:
        """True for each branch that passed, False for each other one. Cancelled branches are left out."""
        return tuple(branch.status == "passed" for branch in self.branches if branch.status != "cancelled")

    def pass_at_k(self, k: int) -> Rate:
        """Return an unbiased estimate of the chance that at least one of `k` attempts passes.

        Raises:
          UsageError: branches were cancelled, so that their outcomes are not known.
          BadValue: `k` is more than the number of branches.
        """
        return pass_at_k(self._all(), k)

    def pass_hat_k(self, k: int) -> Rate:
        """Return an unbiased estimate of the chance that all of `k` attempts pass. Raises as `pass_at_k`."""
        return pass_hat_k(self._all(), k)

    def _all(self) -> tuple[bool, ...]:
        if len(self.outcomes) < len(self.branches):
            raise UsageError("pass_at_k: branches were stopped early; run them with stop_early=False")
        return self.outcomes

    def __str__(self) -> str:
        counts = [
            f"{sum(branch.status == status for branch in self.branches)} {status}"
            for status in ("passed", "failed", "error", "cancelled")
            if any(branch.status == status for branch in self.branches)
        ]
        lines = [f"{len(self.branches)} branches: {', '.join(counts)}", f"spent {money(self.usage)}"]
        if self.usage.cache_read_tokens or self.usage.cache_write_tokens:
            read, written = self.usage.cache_read_tokens, self.usage.cache_write_tokens
            lines.append(f"prompt cache: {read:,} tokens read, {written:,} written")
        if self.saved.total_tokens:
            lines.append(f"saved at most {money(self.saved)}")
        return "\n".join(lines)


async def run_branches(
    session: Session,
    attempt: Callable[[Session], Awaitable[O]],
    k: int,
    *,
    passed: Callable[[O], bool | Awaitable[bool]],
    tokens: int | None = None,
    cost_usd: Decimal | str | int | float | None = None,
    stop_early: bool = True,
) -> Branches[O]:
    """Run `attempt` on `k` branches of a session, concurrently.

    If the provider caches the shared prefix, one branch starts alone until its first answer begins, so that
    the others read the cache (see `lutum.PrefixGate`).

    The amount is reserved before the first branch starts. A turn that does not fit in the amount waits until
    another turn is settled. A turn that can never fit raises BudgetExceeded in its branch. On cancellation
    every turn is settled and the rest of the amount is returned.

    This is a checkpoint only if it has to wait.

    Args:
      session: the session to branch; it does not change.
      attempt: the function to run on each branch; it may run turns, commit, and use tools.
      k: the number of branches.
      passed: a test of the attempt's return value. An exception of the test counts as an exception of the
        attempt.
      tokens: the amount for all branches together, in tokens.
      cost_usd: the amount for all branches together, in US dollars.
      stop_early: cancel the other branches when the first one has passed.

    Raises:
      BadValue: `k` is below 1, or neither `tokens` nor `cost_usd` is given.
      BudgetExceeded: the amount cannot be reserved; nothing was sent.
    """
    if k < 1:
        raise BadValue("k", f"{k} is below 1")
    if tokens is None and cost_usd is None:
        raise BadValue("tokens", "is missing; limit all branches together with tokens= or cost_usd=")
    block = session.llm.within(
        tokens=tokens, cost_usd=cost_usd, guaranteed=True, on_exhausted="wait", on_spent="drain"
    )
    runs = [_Running[O](number) for number in range(k)]
    order = list[_Running[O]]()
    async with block as scoped:
        async with anyio.create_task_group() as group:

            def stop(passing: _Running[O]) -> None:
                order.append(passing)
                if stop_early and len(order) == 1:
                    for running in runs:
                        running.hold()
                    group.cancel_scope.cancel()

            # All branches share a prefix, and one of them writes it to the provider's cache.
            gated = behind_gate(scoped, PrefixGate())
            for running in runs:
                group.start_soon(running.run, session, gated, attempt, passed, stop)
    branches = tuple(running.branch(session) for running in runs)
    return Branches(branches, branches[order[0].number] if order else None)


@final
class _Running(Generic[O]):
    """A running branch."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._session: Session | None = None
        self._budget: Budget | None = None
        self._status: Literal["passed", "failed", "error", "cancelled"] = "cancelled"
        self._output: O | None = None
        self._error: Exception | None = None
        self._held: Usage | None = None

    async def run(
        self,
        session: Session,
        scoped: Lutum,
        attempt: Callable[[Session], Awaitable[O]],
        passed: Callable[[O], bool | Awaitable[bool]],
        stop: Callable[[_Running[Any]], None],
    ) -> None:
        async with scoped.within(on_spent="drain") as own:
            self._budget = own.budget
            self._session = session.fork(llm=own)
            try:
                self._output = await attempt(self._session)
                good = passed(self._output)
                if inspect.isawaitable(good):
                    good = await good
            except Exception as exc:
                self._error, self._status = exc, "error"
                return
            self._status = "passed" if good else "failed"
            if good:
                stop(self)

    def hold(self) -> None:
        """Record the spent and reserved amounts of the branch, right before it is cancelled."""
        if self._budget is not None and self._status == "cancelled":
            self._held = self._budget.spent + self._budget.reserved

    def branch(self, session: Session) -> EvalBranch[O]:
        usage = Usage() if self._budget is None else self._budget.spent
        return EvalBranch(
            number=self.number,
            session=(self._session or session).fork(llm=session.llm),  # the branch's own budget is closed
            status=self._status,
            output=self._output,
            error=self._error,
            usage=usage,
            saved=Usage() if self._held is None or self._status != "cancelled" else _less(self._held, usage),
        )


def _less(held: Usage, spent: Usage) -> Usage:
    cost = None
    if held.cost_usd is not None:
        cost = max(Decimal(0), held.cost_usd - (spent.cost_usd or 0))
    # A reservation covers the sum of tokens: input above its estimate uses up tokens reserved for output.
    tokens = max(0, held.total_tokens - spent.total_tokens)
    return Usage(output_tokens=tokens, cost_usd=cost, known="estimated")
