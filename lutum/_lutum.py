"""`Lutum`: the adapter, the ledger and the defaults that turns run with. Every request passes through it.

`_turn/prepare` validates a request, estimates it and reserves. `_turn/stream` sends it.
"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final, overload

from msgspec.structs import replace

from lutum._budget.budget import Budget, belongs_to_block, root_budget
from lutum._budget.pricing import Pricing
from lutum._budget.scope import BudgetScope
from lutum._turn.builder import StructuredTurn, TextTurn, structured_turn, text_turn
from lutum._turn.completion import Completion, StructuredCompletion, completion, structured_completion
from lutum._turn.gate import PrefixGate
from lutum._turn.plan import Input, TurnSpec, as_transcript, join_label
from lutum._turn.prepare import Estimator, LutumHooks, TurnContext
from lutum._values.check import check_methods, check_type, describe
from lutum._values.errors import BadValue, UsageError
from lutum._values.settings import DEFAULT_TIMEOUTS, RetryPolicy, Settings, Timeouts
from lutum._values.wrong_calls import LUTUM, no_such_name
from lutum.abc import Adapter, Ledger, RecoversUsage, SharedLedger

T = TypeVar("T")


@final
class Lutum:
    """An adapter, a ledger and defaults. Immutable, and cheap to share between tasks.

    Args:
      adapter: the adapter that sends the requests.
      budget: the ledger on which turns reserve. Without it, the usage of turns is only counted.
      pricing: prices of tokens, used if the provider reports no cost. A limit in US dollars needs them.
      completion: the adapter for completions. Without it, `adapter` answers them, as turns of one message.
      hooks: hooks that choose the amount that each turn reserves, instead of `estimate`.
      recovery: the source that reports the bill of a cut or cancelled turn, within 2 s. Default: none.
      retry: the retry policy that turns inherit. None means that no request is sent twice.
      timeout: the timeouts that turns inherit.
      estimate: a function that returns the amount to reserve, for turns without `.reserve(...)`; see
        `exact_estimate`.
      ext: provider options that turns inherit.
    """

    __slots__ = ("_completion", "_context")

    def __init__(
        self,
        adapter: Adapter,
        *,
        budget: Ledger | SharedLedger | None = None,
        pricing: Pricing | None = None,
        completion: Adapter | None = None,
        recovery: RecoversUsage | None = None,
        hooks: LutumHooks | None = None,
        retry: RetryPolicy | None = None,
        timeout: Timeouts = Timeouts(),
        estimate: Estimator | None = None,
        ext: tuple[object, ...] = (),
    ) -> None:
        check_adapter("adapter", adapter)
        if completion is not None:
            check_adapter("completion", completion)
        if recovery is not None:
            check_methods("recovery", recovery, ["recover_usage"], "an object with a method recover_usage")
        if estimate is not None and not callable(estimate):
            raise BadValue("estimate", f"needs an async function of a turn, not {describe(estimate)}")
        check_type("pricing", pricing, Pricing | None, "a lutum.Pricing")
        check_type("hooks", hooks, LutumHooks | None, "a lutum.LutumHooks")
        check_type("retry", retry, RetryPolicy | None, "a lutum.RetryPolicy")
        check_type("timeout", timeout, Timeouts, "a lutum.Timeouts")
        if hooks is not None and hooks.resolve_usage_estimate.hooks:
            if estimate is not None:
                raise BadValue(
                    "estimate",
                    "is given, and so is a hook for LutumHooks.resolve_usage_estimate; keep one of them",
                )
            estimate = hooks.resolve_usage_estimate
        self._completion = completion
        self._context = TurnContext(
            adapter,
            root_budget(budget, "budget"),
            Settings(timeout=timeout.over(DEFAULT_TIMEOUTS), retry=retry, ext=ext),
            estimate,
            pricing,
            recovery,
        )

    @property
    def adapter(self) -> Adapter:
        """The adapter that sends the requests."""
        return self._context.adapter

    @property
    def budget(self) -> Budget:
        """The ledger, never None.

        If it is attached to a shared ledger, `remaining`, `available` and `exhausted` are the figures of all
        processes. `spent` and `reserved` count only the turns that reserve through this budget.
        """
        return self._context.budget

    def text_turn(self, input: Input) -> TextTurn:
        """Return a text turn on that input. Nothing is reserved or sent before the turn is run.

        Raises:
          BadValue: the input is empty.
        """
        return text_turn(self._context, TurnSpec(base=as_transcript(input)))

    @overload
    def structured_turn(self, type: type[T], input: Input, *, lenient: bool = False) -> StructuredTurn[T]: ...
    @overload
    def structured_turn(
        self, type: object, input: Input, *, lenient: bool = False
    ) -> StructuredTurn[Any]: ...
    def structured_turn(self, type: Any, input: Input, *, lenient: bool = False) -> StructuredTurn[Any]:
        """Return a turn whose answer is a value of `type`. Nothing is reserved or sent before it is run.

        `type` may also be a union or an `Annotated`. A type checker then infers `Any` for the value.

        Args:
          lenient: find the value among reasoning tags, code fences and prose. It is for servers that do not
            enforce the schema; docs/structured.md has the rule. The text that is left out is in
            `ProviderEvent`s named `stripped`. The turn is committed unchanged.

        Raises:
          BadValue: the input is empty, or no schema can express the type; the message has the path.
        """
        return structured_turn(self._context, type, TurnSpec(base=as_transcript(input)), lenient=lenient)

    def completion(self, prompt: str) -> Completion:
        """Return a completion: text for one prompt, without a transcript. Nothing is sent before it is run.

        Raises:
          BadValue: the prompt is blank.
        """
        return completion(self._completing(), prompt)

    @overload
    def structured_completion(
        self, type: type[T], prompt: str, *, lenient: bool = False
    ) -> StructuredCompletion[T]: ...
    @overload
    def structured_completion(
        self, type: object, prompt: str, *, lenient: bool = False
    ) -> StructuredCompletion[Any]: ...
    def structured_completion(
        self, type: Any, prompt: str, *, lenient: bool = False
    ) -> StructuredCompletion[Any]:
        """Return a completion with a value of `type`, without a transcript. Nothing is sent before it is run.

        Raises:
          BadValue: the prompt is blank, or no schema can express the type; the message has the path.
        """
        return structured_completion(self._completing(), type, prompt, lenient=lenient)

    def labelled(self, *parts: str | int) -> Lutum:
        """Return a Lutum whose turns have this label, followed by the turn's own; see `TextTurn.label`."""
        llm = copy.copy(self)
        llm._context = replace(self._context, label=join_label(self._context.label, parts))
        return llm

    def within(
        self,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
        on_spent: Literal["raise", "stop", "drain"] = "raise",
        guaranteed: bool = False,
    ) -> BudgetScope[Lutum]:
        """Return a block with its own budget: `async with llm.within(tokens=50_000) as scoped`.

        The budget limits the turns that are started through `scoped`. It does not limit other turns that are
        started inside the block. For a session, use `session.fork(llm=scoped)`.

        The budget is only a cap: its turns draw on every ledger around the block too. With `guaranteed`, its
        whole amount stays reserved on those ledgers while the block runs.

        Args:
          tokens: input and output together.
          cost_usd: US dollars.
          on_exhausted: whether a reservation that does not fit is refused or waits.
          on_spent: the reaction when a running turn cannot grow, or a waiting turn can never fit. "raise"
            cancels the block, which then raises BudgetExceeded. "stop" cancels the block, which then ends
            without an error. "drain" cancels nothing: running turns finish, and later turns raise
            BudgetExceeded in their own task.
          guaranteed: reserve the whole amount first, and give back the rest at the end.
        """
        return BudgetScope(
            self._with_budget,
            self.budget,
            tokens=tokens,
            cost_usd=cost_usd,
            on_exhausted=on_exhausted,
            on_spent=on_spent,
            guaranteed=guaranteed,
        )

    def charged_to(self, ledger: Ledger | SharedLedger) -> Lutum:
        """Return a copy of this Lutum on another root ledger, for instance on a scope of a shared ledger.

        Raises:
          UsageError: this Lutum belongs to a `within` block, whose budget already has a root ledger.
          BadValue: `ledger` is not a ledger.
        """
        if belongs_to_block(self.budget):
            raise UsageError(
                "charged_to: this Lutum belongs to a `within` block, whose budget draws on the ledger around"
                " it; call charged_to on the Lutum outside, and open the block on the result"
            )
        return self._with_budget(root_budget(ledger, "ledger"))

    def __repr__(self) -> str:
        return f"<Lutum on {self.adapter!r}, {self.budget!r}>"

    if not TYPE_CHECKING:  # a type checker that sees `__getattr__` would accept every name

        def __getattr__(self, name: str) -> object:
            raise no_such_name(self, name, LUTUM)

    def _with_budget(self, budget: Budget) -> Lutum:
        llm = copy.copy(self)
        llm._context = replace(self._context, budget=budget)
        return llm

    def _completing(self) -> TurnContext:
        if self._completion is None:
            return self._context
        # `recovery` can report the bills of `adapter` only.
        return replace(self._context, adapter=self._completion, recovery=None)


def check_adapter(field: str, adapter: object) -> None:
    """Check that an object is an adapter, as far as its methods show.

    Raises:
      BadValue: it is not.
    """
    expected = "an adapter, which is made with its model"
    if isinstance(adapter, str):
        name = adapter if ":" in adapter else f"provider:{adapter}"
        raise BadValue(field, f"needs {expected}, not a str: write lutum.adapter({name!r})")
    check_methods(field, adapter, ["prepare", "exchange"], expected)


def behind_gate(llm: Lutum, gate: PrefixGate) -> Lutum:
    """Return a Lutum whose turns wait at a gate, unless a turn has its own gate."""
    gated = copy.copy(llm)
    gated._context = replace(llm._context, gate=gate)
    return gated


def context_of(llm: Lutum) -> TurnContext:
    """Return the context that the turns of a `Lutum` run with."""
    return llm._context


def with_adapter(llm: Lutum, adapter: Adapter) -> Lutum:
    """Return a Lutum with another adapter, on the same ledger and with the same defaults."""
    changed = copy.copy(llm)
    changed._context = replace(llm._context, adapter=adapter)
    return changed
