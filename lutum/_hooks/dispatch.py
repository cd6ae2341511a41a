"""The dispatch of one slot: the order of its hooks, the value of `last`, and the slot's answer.

It does not depend on hook sets or signatures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

Kind = Literal["always", "fallback", "singleton"]


class Asked(Protocol):
    """A default or a hook."""

    def ask(self, last: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Return the answer to these arguments. `last` is the previous answer, for hooks that take it."""
        ...


class HookPlan(Struct, frozen=True):
    """The definition of a slot, as given to `@hook`.

    Attributes:
      chain: called with each answer; if it returns true, the dispatch ends there.
      aggregate: makes one value from all answers.
      finalize: makes one value from the last answer.
    """

    kind: Kind
    chain: Callable[[Any], bool] | None = None
    aggregate: Callable[[list[Any]], Any] | None = None
    finalize: Callable[[Any], Any] | None = None

    @property
    def threads(self) -> bool:
        """True if a hook can get the answer before it."""
        return self.kind != "singleton" and self.chain is None and self.aggregate is None


def order(plan: HookPlan, default: Asked, hooks: Sequence[Asked]) -> list[Asked]:
    """Return the functions to call, in order. `chain` may end the dispatch before the last one.

    The default of a `fallback` slot runs if there are no hooks. With `chain` it also runs after the hooks, if
    `chain` has accepted none of their answers; but not with `aggregate`, which gets all answers.
    """
    match plan.kind:
        case "singleton":
            return [hooks[-1] if hooks else default]
        case "always":
            return [default, *hooks]
        case "fallback":
            if not hooks or (plan.chain is not None and plan.aggregate is None):
                return [*hooks, default]
            return [*hooks]


async def dispatch(
    plan: HookPlan, default: Asked, hooks: Sequence[Asked], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run the default and the hooks of a slot, one at a time, and return the slot's answer.

    It suspends only if one of them does.
    """
    answers: list[Any] = []
    last = None
    for asked in order(plan, default, hooks):
        last = await asked.ask(last, args, kwargs)
        answers.append(last)
        if plan.chain is not None and plan.chain(last):
            break
    if plan.aggregate is not None:
        return plan.aggregate(answers)
    return last if plan.finalize is None else plan.finalize(last)
