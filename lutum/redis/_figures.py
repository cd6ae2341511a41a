"""The figures of a ledger's limits, and refusals in words. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from msgspec import Struct

from lutum._budget.amounts import PICO, UNLIMITED, Amount
from lutum._budget.limit import Period, zone
from lutum._values.errors import BudgetExceeded, LutumError
from lutum._values.results import Usage
from lutum._values.shared_ledger import LedgerState
from lutum.redis._wire import KNOWN, MILLI, WHOLE


class Figures(Struct, frozen=True, kw_only=True):
    """One limit of a ledger.

    Attributes:
      name: the name of the limit; "*" is the whole ledger.
      limit_tokens: the largest number of tokens; None if tokens are not limited.
      limit_cost_usd: the largest cost in US dollars; None if the cost is not limited.
      spent: the settled amount of the current period.
      reserved: the amount in open leases and slack.
      per: the kind of the period; None if the limit has no period.
      timezone: the time zone in which the period begins.
      resets_at: the end of the period, in seconds since the epoch; None if the limit has no period.
      stopped: why the limit was stopped; None if it is not stopped.
      waited_for: whether at least one reservation waits for this limit.
    """

    name: str
    limit_tokens: int | None = None
    limit_cost_usd: Decimal | None = None
    spent: Usage = Usage()
    reserved: Usage = Usage(known="estimated")
    per: Period | None = None
    timezone: str = "UTC"
    resets_at: float | None = None
    stopped: str | None = None
    waited_for: bool = False

    @property
    def limited(self) -> bool:
        """True if tokens or cost are limited."""
        return self.limit_tokens is not None or self.limit_cost_usd is not None

    def at(self, now: float) -> Figures:
        """Return the figures at a later time: a period that has ended begins with nothing spent."""
        if self.resets_at is None or now < self.resets_at:
            return self
        return Figures(
            name=self.name,
            limit_tokens=self.limit_tokens,
            limit_cost_usd=self.limit_cost_usd,
            reserved=self.reserved,
            per=self.per,
            timezone=self.timezone,
            stopped=self.stopped,
            waited_for=self.waited_for,
        )

    @property
    def remaining_tokens(self) -> int:
        """The tokens left for a reservation; `lutum.UNLIMITED` without a limit."""
        if self.limit_tokens is None:
            return UNLIMITED
        return max(0, self.limit_tokens - self.spent.total_tokens - self.reserved.total_tokens)

    @property
    def remaining_cost_usd(self) -> Decimal | None:
        """The US dollars left for a reservation; None without a limit."""
        if self.limit_cost_usd is None:
            return None
        used = (self.spent.cost_usd or Decimal(0)) + (self.reserved.cost_usd or Decimal(0))
        return max(Decimal(0), self.limit_cost_usd - used)

    @property
    def exhausted(self) -> bool:
        """True if all tokens or all US dollars of the limit are spent."""
        if self.limit_tokens is not None and self.spent.total_tokens >= self.limit_tokens:
            return True
        spent = self.spent.cost_usd or Decimal(0)
        return self.limit_cost_usd is not None and spent >= self.limit_cost_usd


def usage_of(amount: Amount, known: int = 3) -> Usage:
    cost = Decimal(amount.pico) / PICO if amount.pico else None
    return Usage(amount.input, amount.output, cost_usd=cost, known=KNOWN[known])


def figures_of(row: Sequence[Any]) -> Figures:
    """Read a row of the script."""
    name, tokens, u, p, s_in, s_out, s_u, s_p, r_t, r_u, r_p, known, per, tz, _, end, stop, queued = row
    return Figures(
        name=name,
        limit_tokens=None if tokens < 0 else int(tokens),
        limit_cost_usd=None if u < 0 else Decimal(int(u) * MILLI + int(p)) / PICO,
        spent=usage_of(Amount(int(s_in), int(s_out), int(s_u) * MILLI + int(s_p)), int(known)),
        reserved=usage_of(Amount(int(r_t), 0, int(r_u) * MILLI + int(r_p))),
        per=cast("Period", per) if per else None,
        timezone=tz or "UTC",
        resets_at=end / 1000 if end else None,
        stopped=stop or None,
        waited_for=bool(queued),
    )


def state_of(limits: Sequence[Figures], as_of: float | None) -> LedgerState:
    """Return the state of a set of limits.

    `spent` and `reserved` are those of the first limit. `remaining` is the smallest remainder of all limits.
    """
    costs = [cost for limit in limits if (cost := limit.remaining_cost_usd) is not None]
    return LedgerState(
        spent=limits[0].spent,
        reserved=limits[0].reserved,
        remaining=Usage(min(limit.remaining_tokens for limit in limits), cost_usd=min(costs, default=None)),
        exhausted=any(limit.exhausted for limit in limits),
        stopped=next((limit.stopped for limit in limits if limit.stopped is not None), None),
        as_of=as_of,
    )


def stopped(name: str, reason: str) -> BudgetExceeded:
    what = "the whole ledger" if name == WHOLE else f"{name!r}"
    return BudgetExceeded(f"{what} was stopped: {reason}", scope=name)


def resets(figures: Figures) -> datetime | None:
    if figures.resets_at is None:
        return None
    try:
        return datetime.fromtimestamp(figures.resets_at, zone(figures.timezone))
    except LutumError:  # another process gave a time zone that is unknown here
        return datetime.fromtimestamp(figures.resets_at, UTC)


def refusal(amount: Amount, result: Sequence[Any]) -> BudgetExceeded:
    """Return the error for a refusal of the script."""
    begin = "the shared budget refuses: "
    match result:
        case ["stopped", str(name), str(reason)]:
            return stopped(name, reason)
        case ["late", _, _, wait]:
            when = "after an answer has reported them" if wait < 0 else f"in {wait / 1000:.1f} s"
            return BudgetExceeded(f"{begin}the rates allow the next request {when}")
        case ["rate", _, _, limit]:
            return BudgetExceeded(
                f"{begin}{amount.tokens:,} tokens are more than the limit of {int(limit):,} tokens a minute"
            )
        case ["behind", str(name)]:
            what = repr(name) if name else "the rates"
            return BudgetExceeded(f"{begin}other requests already wait for {what}", scope=name or None)
        case [("never" | "full") as how, str(name), str(what), row]:
            figures = figures_of(row)
            return BudgetExceeded(
                begin + _lack(amount, figures, what, never=how == "never"),
                scope=name,
                resets_at=resets(figures),
            )
        case _:
            return BudgetExceeded(f"{begin}{list(result)!r}")


def _lack(amount: Amount, figures: Figures, what: str, *, never: bool) -> str:
    if what == "tokens":
        asked, limit = f"{amount.tokens:,} tokens", f"{figures.limit_tokens or 0:,}"
        spent, held = figures.spent.total_tokens, figures.reserved.total_tokens
        used = f"{spent:,}" if never else f"{spent + held:,}"
    else:
        asked, limit = f"${Decimal(amount.pico) / PICO}", f"${figures.limit_cost_usd}"
        cost = (figures.spent.cost_usd or 0) + (0 if never else figures.reserved.cost_usd or 0)
        used = f"${cost}"
    text = (
        f"{asked} {'can never fit' if never else 'do not fit'} under {figures.name!r}: {used} of {limit} are "
    )
    text += "spent" if never else "used or reserved"
    when = resets(figures)
    return text if when is None else f"{text}; the next period begins at {when.isoformat()}"
