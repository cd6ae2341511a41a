"""Preparation: turn a plan into a request that is ready to be sent, with its estimate and its reservation.

Nothing is reserved for bad input, and nothing is sent without a reservation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import anyio
import msgspec
from msgspec import Struct

from lutum._backend import TIE
from lutum._budget.budget import Budget, child_budget, is_cost_limited, is_limited
from lutum._budget.pricing import Pricing
from lutum._budget.turn_lease import TurnLease
from lutum._hooks.define import hook
from lutum._hooks.hook_set import HookSet
from lutum._schema.shape import Shape
from lutum._telemetry.spans import span
from lutum._turn.bills import Bills
from lutum._turn.gate import PrefixGate
from lutum._turn.plan import TurnSpec, request_of
from lutum._turn.preview import Preview, open_items, preview, unused_options
from lutum._values.errors import BudgetExceeded, EstimateRequired, TurnTimeout, UnpricedModel, UsageError
from lutum._values.results import Estimate
from lutum._values.settings import RequestBudget, Settings
from lutum._values.transcript import Transcript
from lutum.abc import (
    Adapter,
    CountsTokens,
    Prepared,
    RecoversUsage,
    ResolvesSettings,
    TurnIdentity,
    TurnRequest,
)

T = TypeVar("T")

logger = logging.getLogger("lutum")

Estimator = Callable[[Adapter, Prepared], Awaitable[Estimate]]
"""A function for `Lutum(estimate=)`. It returns the amount to reserve for a request before it is sent."""


async def exact_estimate(adapter: Adapter, prepared: Prepared) -> Estimate:
    """Ask the provider to count the input tokens. An estimator for `Lutum(estimate=)`.

    It sends one additional request for each turn, which is free of charge. The output estimate stays the
    bound of the request. If it is cancelled, nothing was reserved.

    This is a checkpoint only if it has to wait.

    Raises:
      UsageError: the adapter's provider has no such endpoint.
      TurnError: the request to the provider failed. The errors are those of a turn.
    """
    if not hasattr(adapter, "count_input_tokens"):
        raise UsageError(f"estimate: {adapter.name} has no endpoint that counts tokens")
    with span("request", purpose="estimate"):
        tokens = await cast("CountsTokens", adapter).count_input_tokens(prepared)
    return Estimate(tokens, prepared.estimate.output_tokens, prepared.estimate.cost_usd)


class LutumHooks(HookSet):
    """The hooks of `Lutum(hooks=)`."""

    @hook("singleton")
    async def resolve_usage_estimate(self, adapter: Adapter, prepared: Prepared) -> Estimate:
        """Return the amount that a request reserves. It is not called if the turn sets `.reserve()`.

        It runs before anything is reserved. The timeout `first_event` limits its duration. The turn's options
        are in `prepared.request.settings`, its kind is `prepared.request.operation`. If there is no hook,
        `Lutum(estimate=)` is used. If that is not set either, the adapter's own estimate is used.
        """
        return prepared.estimate


def settings_hooks(adapter: Adapter) -> tuple[str, ...]:
    """Return the slots of an adapter that have hooks and run before a turn is prepared."""
    if not hasattr(adapter, "settings_hooks"):
        return ()
    return cast("ResolvesSettings", adapter).settings_hooks


async def resolve_settings(adapter: Adapter, request: TurnRequest) -> Settings:
    """Return the settings of a request after the adapter's hooks; unchanged if there are no such hooks."""
    if not settings_hooks(adapter):
        return request.settings
    return await cast("ResolvesSettings", adapter).resolve_settings(request)


class PreparedTurn(Struct, frozen=True):
    """The values that a stream needs to begin. Nothing is reserved yet."""

    adapter: Adapter
    prepared: Prepared
    reserve: Callable[[], Awaitable[TurnLease]]
    pricing: Pricing | None
    recovery: RecoversUsage | None
    gate: PrefixGate | None = None
    bills: Bills | None = None


class TurnContext(Struct, frozen=True):
    """The parts of a `Lutum` that each turn gets: adapter, ledger, prices and defaults. Immutable."""

    adapter: Adapter
    budget: Budget
    settings: Settings
    estimator: Estimator | None = None
    pricing: Pricing | None = None
    recovery: RecoversUsage | None = None
    label: str = ""
    gate: PrefixGate | None = None

    def prepare(self, spec: TurnSpec) -> Prepared:
        """Encode the request of a plan. No I/O.

        Raises:
          UsageError: the provider does not accept the request; the message names the field.
        """
        return self.adapter.prepare(self._request(spec))

    async def resolve(self, spec: TurnSpec) -> TurnSpec:
        """Return the plan after the adapter's hooks. If this is cancelled, nothing was reserved.

        Raises:
          TurnTimeout: a hook took longer than the timeout `first_event` or `total` allows.
        """
        if spec.resolved or not settings_hooks(self.adapter):
            return spec
        request = self._request(spec)
        settings = await _bounded(lambda: resolve_settings(self.adapter, request), request.settings)
        return msgspec.structs.replace(spec, settings=settings, resolved=True)

    def preview(self, spec: TurnSpec) -> Preview:
        """Return the request of a plan exactly as it would be sent. Nothing is sent or reserved."""
        earlier = None if spec.committed is None else self.adapter.prepare(spec.committed)
        pending = () if spec.resolved else settings_hooks(self.adapter)
        dropped = tuple(f"tools.{tool.name}{one[1:]}" for tool in spec.toolset or () for one in tool.dropped)
        return preview(self.adapter, self.prepare(spec), earlier, pending, dropped)

    async def estimate(self, spec: TurnSpec) -> Estimate:
        """Return the amount that the turn would reserve. Nothing is reserved."""
        prepared = self.prepare(await self.resolve(spec))
        return await self._estimate(prepared, limited=True)

    async def start(self, spec: TurnSpec) -> PreparedTurn:
        """Prepare and estimate a turn. Nothing is reserved or sent, so cancellation leaves nothing behind.

        Raises:
          UsageError: the request is not possible; the message names the field.
        """
        prepared = self.prepare(await self.resolve(spec))
        _check_open_items(self.adapter, spec.base)
        if spec.shape is not None:
            _log_dropped(self.adapter, spec.shape, prepared)
        _log_dropped_options(self.adapter, prepared)
        estimate = await self._estimate(prepared, limited=prepared.request.limited)
        prepared = msgspec.structs.replace(prepared, estimate=estimate)
        gate = (spec.gate or self.gate) if prepared.cacheable else None
        reserve = self._reservation(prepared)
        return PreparedTurn(self.adapter, prepared, reserve, self.pricing, self.recovery, gate, spec.bills)

    def _request(self, spec: TurnSpec) -> TurnRequest:
        return request_of(spec, self.settings, limited=is_limited(self.budget), label=self.label)

    async def _estimate(self, prepared: Prepared, *, limited: bool) -> Estimate:
        given, estimator = prepared.request.settings.estimate, self.estimator
        if isinstance(given, Estimate):
            estimate = given
        elif estimator is not None:
            estimate = await _bounded(lambda: estimator(self.adapter, prepared), prepared.request.settings)
        elif limited and prepared.unbounded:
            raise EstimateRequired(
                f"the cost of {', '.join(prepared.unbounded)} has no bound; set how much to reserve with"
                " .reserve(Estimate(...))"
            )
        else:
            estimate = prepared.estimate
        return (
            estimate
            if self.pricing is None
            else self.pricing.priced(prepared.model, estimate, prepared.rates, prepared.billed_by)
        )

    def _reservation(self, prepared: Prepared) -> Callable[[], Awaitable[TurnLease]]:
        ledger, estimate, own = self.budget, prepared.estimate, prepared.request.settings.limit
        if isinstance(own, RequestBudget):
            ledger = child_budget(ledger, tokens=own.tokens, cost_usd=own.cost_usd)
        if is_cost_limited(ledger) and estimate.cost_usd is None:
            raise UnpricedModel(
                f"a limit in US dollars applies and {prepared.model!r} has no price;"
                f" give Lutum(pricing=Pricing({{{prepared.model!r}: Price(input=..., output=...)}}))"
            )

        turn = TurnIdentity(model=prepared.model, label=prepared.request.label)

        given = prepared.request.settings.timeout.reserve
        limit = given if isinstance(given, float | int) else math.inf

        async def reserve() -> TurnLease:
            try:
                if limit == math.inf:
                    return TurnLease(await ledger.reserve(estimate, turn))
                with anyio.move_on_after(limit + TIE):
                    return TurnLease(await ledger.reserve(estimate, turn))
                raise TurnTimeout("reserve", limit)
            except BudgetExceeded as error:
                if prepared.implicit_bound is not None and prepared.implicit_bound <= estimate.output_tokens:
                    error.args = (f"{error}; {_implicit(prepared.implicit_bound)}",)
                raise

        return reserve


def _implicit(bound: int) -> str:
    return f"this model reserves {bound:,} output tokens; set .max_output_tokens(n) or raise the limit"


async def _bounded(ask: Callable[[], Awaitable[T]], settings: Settings) -> T:
    """Return the result of an estimator or a hook. The timeouts `first_event` and `total` limit the wait."""
    timeouts = settings.timeout
    limits = [limit for limit in (timeouts.first_event, timeouts.total) if isinstance(limit, float | int)]
    limit = min(limits, default=math.inf)
    with anyio.move_on_after(limit + TIE):
        return await ask()
    raise TurnTimeout("total" if limit == timeouts.total else "first_event", limit)


class _OpenItem(msgspec.Struct):
    type: str = "call"
    call_id: str | None = None
    id: str | None = None


def _check_open_items(adapter: Adapter, transcript: Transcript) -> None:
    """Raise UsageError for the first provider call that has no answer."""
    for json in open_items(adapter, transcript):
        item = msgspec.json.decode(json, type=_OpenItem)
        raise UsageError(
            f"input: {item.type} {item.call_id or item.id!r} waits for your answer; push the answer"
            " with push_raw, see Session.open_items"
        )


def _log_dropped(adapter: Adapter, shape: Shape[Any], prepared: Prepared) -> None:
    """Log, once for each schema and provider, the constraints that the provider does not receive."""
    dropped = shape.dropped + tuple(one for one in prepared.dropped_constraints if one.startswith("$"))
    if dropped and adapter.name not in shape.logged:
        shape.logged.add(adapter.name)
        logger.warning(
            "%s does not receive these constraints of %s, which are enforced on decode: %s",
            adapter.name,
            shape.name,
            "; ".join(dropped),
        )


_logged = set[tuple[str, str]]()


def _log_dropped_options(adapter: Adapter, prepared: Prepared) -> None:
    """Log, once for each adapter, the options of a turn that are not sent."""
    lost = list(prepared.dropped_options)
    others = unused_options(adapter, prepared.request.settings.ext)
    lost += [f"{name} is left out: it is for another adapter" for name in others]
    for sentence in lost:
        if (adapter.name, sentence) not in _logged:
            _logged.add((adapter.name, sentence))
            logger.warning("%s %s: %s", adapter.name, prepared.model, sentence)
