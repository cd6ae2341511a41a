"""`Lutum`: the one boundary that every request crosses. It validates, prepares, estimates and reserves;
the stream sends. Nothing is sent that was not reserved, and nothing is reserved for bad input."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Literal, TypeVar, final

import anyio
import msgspec

from lutum._budget.budget import Budget
from lutum._budget.lease import BudgetLease
from lutum._budget.pricing import Pricing
from lutum._budget.scope import BudgetScope
from lutum._schema.shape import Shape, shape_of
from lutum._turn.builder import StructuredTurn, TextTurn, TurnSpec
from lutum._turn.completion import (
    Completion,
    CompletionResult,
    StructuredCompletion,
    StructuredCompletionResult,
    completion_result,
    structured_completion_result,
)
from lutum._turn.estimate import Estimator
from lutum._turn.hooks import LutumHooks, resolve_settings, settings_hooks
from lutum._turn.open_items import check_open_items
from lutum._turn.preview import Preview, preview
from lutum._turn.pump import Pump
from lutum._turn.reducer import Reducer
from lutum._turn.stream import PreparedTurn
from lutum._values.errors import BadValue, EstimateRequired, TurnTimeout, UnpricedModel, UsageError
from lutum._values.items import ModelInput
from lutum._values.results import CommittedTurn, Estimate, Response, StructuredResult, TextResult, ToolDef
from lutum._values.settings import DEFAULT_TIMEOUTS, RequestBudget, RetryPolicy, Settings, Timeouts
from lutum._values.transcript import Transcript
from lutum.abc import (
    Adapter,
    Ledger,
    Operation,
    OutputFormat,
    Prepared,
    RecoversUsage,
    ToolPlan,
    TurnRequest,
)

T = TypeVar("T")

Input = str | ModelInput | Transcript

logger = logging.getLogger("lutum")


@final
class Lutum:
    """An adapter, a ledger and defaults. Immutable, and cheap to share between tasks.

    Args:
      adapter: whom to ask.
      budget: where turns reserve; without one they are only counted.
      pricing: what tokens cost, where the provider does not say; a limit in US dollars needs it.
      completion: whom to ask for completions; without one `adapter` answers them, as turns of one message.
      hooks: asked what each turn reserves, in place of `estimate`.
      recovery: asked what a cut or cancelled turn was billed, for 2 s at the most; None asks nobody.
      retry: what turns inherit, see `RetryPolicy`; None means that nothing is sent twice.
      timeout: what turns inherit, see `Timeouts`.
      estimate: asked what each turn reserves, unless the turn says so itself; see `exact_estimate`.
      ext: provider options that turns inherit.
    """

    __slots__ = (
        "_adapter",
        "_budget",
        "_completion",
        "_estimator",
        "_pricing",
        "_recovery",
        "_settings",
    )

    def __init__(
        self,
        adapter: Adapter,
        *,
        budget: Ledger | None = None,
        pricing: Pricing | None = None,
        completion: Adapter | None = None,
        recovery: RecoversUsage | None = None,
        hooks: LutumHooks | None = None,
        retry: RetryPolicy | None = None,
        timeout: Timeouts = Timeouts(),
        estimate: Estimator | None = None,
        ext: tuple[object, ...] = (),
    ) -> None:
        self._adapter = adapter
        self._budget = budget if isinstance(budget, Budget) else Budget._attached_to(budget)
        self._completion = completion
        self._estimator = estimate
        if not isinstance(hooks, LutumHooks | None):
            raise BadValue("hooks", f"is a LutumHooks, not {type(hooks).__name__}")
        if hooks is not None and hooks.resolve_usage_estimate.hooks:
            if estimate is not None:
                raise BadValue(
                    "estimate", "is what a hook for LutumHooks.resolve_usage_estimate says already"
                )
            self._estimator = hooks.resolve_usage_estimate
        self._pricing = pricing
        self._recovery = recovery
        self._settings = Settings(timeout=timeout.over(DEFAULT_TIMEOUTS), retry=retry, ext=ext)

    @property
    def adapter(self) -> Adapter:
        """Whom it asks."""
        return self._adapter

    @property
    def budget(self) -> Budget:
        """The ledger, never None; of a foreign one this counts what went through here."""
        return self._budget

    def text_turn(self, input: Input) -> TextTurn:
        """A text turn on that input; nothing happens before it is run.

        Raises:
          BadValue: the input is empty.
        """
        return self._text_turn(TurnSpec(base=as_transcript(input)))

    def structured_turn(self, type: type[T], input: Input) -> StructuredTurn[T]:
        """A turn that answers with a value of `type`; nothing happens before it is run.

        Raises:
          BadValue: the input is empty, or no schema can say the type; the message has the path.
        """
        return self._structured_turn(type, TurnSpec(base=as_transcript(input)))

    def completion(self, prompt: str) -> Completion:
        """Text for one prompt, without a transcript; nothing happens before it is run.

        Raises:
          BadValue: the prompt is blank.
        """
        llm = self._completing()

        def finish(reducer: Reducer, pump: Pump) -> CompletionResult:
            return completion_result(llm._text_result(reducer, pump))

        return Completion(llm, TurnSpec(base=as_prompt(prompt), operation="completion"), finish)

    def structured_completion(self, type: type[T], prompt: str) -> StructuredCompletion[T]:
        """A value of `type` for one prompt, without a transcript; nothing happens before it is run.

        Raises:
          BadValue: the prompt is blank, or no schema can say the type; the message has the path.
        """
        llm = self._completing()
        shape, spec = _shaped(type, TurnSpec(base=as_prompt(prompt)), "structured_completion")

        def finish(reducer: Reducer, pump: Pump) -> StructuredCompletionResult[T]:
            text = llm._text_result(reducer, pump)
            value = reducer.conclude(shape, text.finish_reason, text.refusal)
            return structured_completion_result(text, value)

        return StructuredCompletion(llm, spec, finish)

    def within(
        self,
        *,
        tokens: int | None = None,
        cost_usd: Decimal | str | int | float | None = None,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
        on_spent: Literal["raise", "stop", "drain"] = "raise",
        guaranteed: bool = False,
    ) -> BudgetScope[Lutum]:
        """A block with a budget of its own: `async with llm.within(tokens=50_000) as scoped`.

        It limits what is started through `scoped` (`session.fork(llm=scoped)` for a session), not what is
        written inside the block. A cap, not a purse: leases come from every ledger around it too, unless
        `guaranteed` sets the amount aside while the block runs.

        Args:
          tokens: input and output together.
          cost_usd: US dollars.
          on_exhausted: what a reservation that does not fit does: it is refused, or it waits.
          on_spent: what happens when a running turn cannot grow, or a waiting one can never fit. "raise"
            and "stop" cancel the block, which then raises BudgetExceeded or ends quietly; "drain" lets
            running turns finish, and later ones raise BudgetExceeded where they stand.
          guaranteed: reserve the whole amount first, and give back the rest at the end.
        """
        return BudgetScope(
            self._with_budget,
            self._budget,
            tokens=tokens,
            cost_usd=cost_usd,
            on_exhausted=on_exhausted,
            on_spent=on_spent,
            guaranteed=guaranteed,
        )

    def __repr__(self) -> str:
        return f"<Lutum on {self._adapter!r}, {self._budget!r}>"

    def _with_budget(self, budget: Budget) -> Lutum:
        llm = copy.copy(self)
        llm._budget = budget
        return llm

    def _text_turn(self, spec: TurnSpec) -> TextTurn:
        return TextTurn(self, spec, self._text_result)

    def _completing(self) -> Lutum:
        if self._completion is None:
            return self
        llm = copy.copy(self)
        llm._adapter, llm._recovery = self._completion, None  # which knows the bills of turns only
        return llm

    def _structured_turn(self, type: type[T], spec: TurnSpec) -> StructuredTurn[T]:
        shape, spec = _shaped(type, spec, "structured_turn")

        def finish(reducer: Reducer, pump: Pump) -> StructuredResult[T]:
            text = self._text_result(reducer, pump)
            fields: dict[str, Any] = {name: getattr(text, name) for name in TextResult.__dataclass_fields__}
            value = reducer.conclude(shape, text.finish_reason, text.refusal)
            return StructuredResult(**fields, _value=value)

        return StructuredTurn(self, spec, finish)

    def _text_result(self, reducer: Reducer, pump: Pump) -> TextResult:
        completed = reducer.completed
        assert completed is not None
        request = pump.prepared.request
        turn = completed.turn
        if request.transcript.head.tools is None and request.tools.head:
            turn = msgspec.structs.replace(turn, tools=request.tools.head)
        return TextResult(
            text=turn.text,
            reasoning=turn.reasoning,
            refusal=_refusal(turn, completed.finish_reason),
            finish_reason=completed.finish_reason,
            usage=pump.attempts[-1].usage,
            cumulative_usage=pump.so_far(),
            attempts=pump.attempts,
            model=reducer.model,
            response=reducer.response or Response(),
            turn=turn,
            base=request.transcript,
            open_items=completed.open_items,
            _request=request,
        )

    def _request(self, spec: TurnSpec) -> TurnRequest:
        if not len(spec.base) and not spec.ephemerals:
            raise BadValue("input", "is empty: give a message, or push_user() one first")
        if spec.base.open_calls:
            raise UsageError(f"input: call {spec.base.open_calls[0]!r} has no result yet")
        return TurnRequest(
            transcript=spec.base,
            ephemerals=spec.ephemerals,
            settings=spec.settings.over(self._settings),
            tools=plan_tools(spec),
            output=spec.output,
            operation=spec.operation,
        )

    def _prepare(self, spec: TurnSpec) -> Prepared:
        return self._adapter.prepare(self._request(spec))

    async def _resolve(self, spec: TurnSpec) -> dict[str, Any]:
        """What the adapter's hooks change in a spec."""
        if spec.resolved or not settings_hooks(self._adapter):
            return {}
        request = self._request(spec)
        settings = await self._asked(lambda: resolve_settings(self._adapter, request), request.settings)
        return {"settings": settings, "resolved": True}

    async def _settled(self, spec: TurnSpec) -> Prepared:
        return self._prepare(msgspec.structs.replace(spec, **await self._resolve(spec)))

    def _preview(self, spec: TurnSpec) -> Preview:
        earlier = None if spec.committed is None else self._adapter.prepare(spec.committed)
        pending = () if spec.resolved else settings_hooks(self._adapter)
        return preview(self._adapter, self._prepare(spec), earlier, pending)

    async def _estimate(self, spec: TurnSpec) -> Estimate:
        return await self._bounded(await self._settled(spec), limited=True)

    async def _start(self, spec: TurnSpec) -> PreparedTurn:
        prepared = await self._settled(spec)
        check_open_items(self._adapter, spec.base)
        if spec.shape is not None:
            self._tell_dropped(spec.shape, prepared)
        own = prepared.request.settings.limit
        estimate = await self._bounded(prepared, limited=self._limited(own))
        prepared = msgspec.structs.replace(prepared, estimate=estimate)
        reserve = self._reservation(prepared, own)
        return PreparedTurn(self._adapter, prepared, reserve, self._pricing, self._recovery)

    def _limited(self, own: RequestBudget | msgspec.UnsetType) -> bool:
        return isinstance(own, RequestBudget) or self._budget.limited

    async def _bounded(self, prepared: Prepared, *, limited: bool) -> Estimate:
        estimate = await self._unpriced(prepared, limited=limited)
        return estimate if self._pricing is None else self._pricing.priced(prepared.model, estimate)

    async def _asked(self, ask: Callable[[], Awaitable[T]], settings: Settings) -> T:
        """The answer of an estimator or a hook, waited for as long as for a first event."""
        timeouts = settings.timeout
        limits = [limit for limit in (timeouts.first_event, timeouts.total) if isinstance(limit, float | int)]
        limit = min(limits, default=math.inf)
        with anyio.move_on_after(limit):
            return await ask()
        raise TurnTimeout("total" if limit == timeouts.total else "first_event", limit)

    async def _unpriced(self, prepared: Prepared, *, limited: bool) -> Estimate:
        given = prepared.request.settings.estimate
        if isinstance(given, Estimate):
            return given
        estimator = self._estimator
        if estimator is not None:
            return await self._asked(lambda: estimator(self._adapter, prepared), prepared.request.settings)
        if limited and prepared.unbounded:
            raise EstimateRequired(
                f"nothing bounds what {', '.join(prepared.unbounded)} may cost;"
                " say what to reserve with .reserve(Estimate(...))"
            )
        return prepared.estimate

    def _reservation(
        self, prepared: Prepared, own: RequestBudget | msgspec.UnsetType
    ) -> Callable[[], Awaitable[BudgetLease]]:
        ledger, estimate = self._budget, prepared.estimate
        if isinstance(own, RequestBudget):
            ledger = Budget._child(ledger, tokens=own.tokens, cost_usd=own.cost_usd)
        if ledger.cost_limited and estimate.cost_usd is None:
            raise UnpricedModel(
                f"a limit in US dollars applies and {prepared.model!r} has no price;"
                f" give Lutum(pricing=Pricing({{{prepared.model!r}: Price(input=..., output=...)}}))"
            )

        async def reserve() -> BudgetLease:
            return await ledger.reserve(estimate)

        return reserve

    def _tell_dropped(self, shape: Shape[Any], prepared: Prepared) -> None:
        """Log, once for each schema and provider, which constraints the provider is not told."""
        dropped = shape.dropped + prepared.dropped_constraints
        if dropped and self._adapter.name not in shape.told:
            shape.told.add(self._adapter.name)
            logger.warning(
                "%s is not told these constraints of %s, which are enforced on decode: %s",
                self._adapter.name,
                shape.name,
                "; ".join(dropped),
            )

    def _ext(self, spec: TurnSpec) -> tuple[object, ...]:
        return spec.settings.over(self._settings).ext


def as_transcript(input: Input) -> Transcript:
    if isinstance(input, str):
        if not input.strip():
            raise BadValue("input", "is blank")
        return ModelInput().user(input).transcript
    return input.transcript if isinstance(input, ModelInput) else input


def as_prompt(prompt: str) -> Transcript:
    if not prompt.strip():
        raise BadValue("prompt", "is blank")
    return ModelInput().user(prompt).transcript


def _shaped(type: type[T], spec: TurnSpec, operation: Operation) -> tuple[Shape[T], TurnSpec]:
    shape = shape_of(type)
    output = OutputFormat(shape.name, shape.schema, shape.dropped)
    return shape, msgspec.structs.replace(spec, output=output, shape=shape, operation=operation)


def _refusal(turn: CommittedTurn, finish_reason: str) -> str | None:
    return turn.refusal if turn.refusal or finish_reason == "content_filter" else None


def plan_tools(spec: TurnSpec) -> ToolPlan:
    """The tools of a request: the head's, which every request of a transcript carries, then what is new.

    Raises:
      BadValue: a required tool is not available, or none is and one is required.
    """
    head = spec.base.head.tools
    if spec.toolset is None:
        return ToolPlan(head=head or (), choice="none")
    names = spec.available or ()
    usual = {*spec.toolset.default_names, *names}
    plain = tuple(tool for tool in spec.toolset.definitions if tool.name in usual)
    wanted = tuple(_described(tool, spec) for tool in plain)
    if spec.choice == "tool" and spec.tool not in names:
        raise BadValue("require", f"tool {spec.tool!r} is not available in this turn")
    if spec.choice == "any" and not names:
        raise BadValue("require", "no tool is available in this turn")
    if head is None:
        head = plain
    new = tuple(tool for tool in wanted if tool not in head)
    missing = {tool.name for tool in (*head, *plain)} - set(names)
    available = names if missing or spec.only is not None else None
    return ToolPlan(head=head, new=new, available=available, choice=spec.choice, tool=spec.tool)


def _described(tool: ToolDef, spec: TurnSpec) -> ToolDef:
    text = dict(spec.descriptions).get(tool.name)
    return tool if text is None else msgspec.structs.replace(tool, description=text)
