"""Slack: the share of each limit that a process holds, so that its turns can grow without waiting.

Slack is reserved on the server, so the limits stay exact. It is requested while turns may need it, and given
back when other processes wait or no turn is left. Slack that is given back is removed here before it is
removed on the server. Requested slack is added here only after the server's reply. So both sides together
never count more than the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from lutum._budget.amounts import PICO, Amount, pico_usd
from lutum.redis._courier import Courier
from lutum.redis._figures import Figures
from lutum.redis._wire import from_wire, to_wire

TOKENS, PICO_USD = 4_000, PICO // 10
"""The largest default slack of a limit. The default slack is a hundredth of the limit if that is less."""


class Slack:
    """The slack of one process.

    `open` counts the process's leases by limit. For the limits in `always`, slack is held even without a
    lease.
    """

    def __init__(
        self,
        courier: Courier,
        always: tuple[str, ...],
        given: Amount | None,
        figures: Callable[[str], Figures],
    ) -> None:
        self.open = Counter[str]()
        self._courier = courier
        self.always = always
        self._given = given
        self._figures = figures
        self._held = dict[str, Amount]()
        self._asked = set[str]()

    def clear(self) -> None:
        """Forget all slack, because the server does not have it any more."""
        self._held.clear()
        self._asked.clear()

    def names(self) -> list[str]:
        return list(self._held)

    def take(self, names: Iterable[str], more: Amount) -> bool:
        """Take an amount from the slack of all limits, or from none."""
        limited = [figures for name in names if (figures := self._figures(name)).limited]
        zero = Amount()
        for figures in limited:
            held = self._held.get(figures.name, zero)
            if figures.limit_tokens is not None and held.tokens < more.tokens:
                return False
            if figures.limit_cost_usd is not None and held.pico < more.pico:
                return False
        for figures in limited:
            held = self._held.get(figures.name, zero)
            left = Amount(max(0, held.input - max(0, more.tokens)), 0, max(0, held.pico - more.pico))
            self._held[figures.name] = left
        return True

    def tend(self, name: str) -> None:
        """Request or give back slack of a limit. No slack is held if no turn may need it, or others wait."""
        figures = self._figures(name)
        held = self._held.get(name, Amount())
        wanted = name in self.always or self.open[name] > 0
        if not figures.limited or name in self._asked:
            return
        if not wanted or figures.waited_for:
            self.give_back((name,))
            return
        target = self._target(figures)
        if held.input * 2 >= target.input and held.pico * 2 >= target.pico:
            return
        self._asked.add(name)
        more = Amount(max(0, target.input - held.input), 0, max(0, target.pico - held.pico))

        def got(result: Any) -> None:
            self._asked.discard(name)
            self._held[name] = self._held.get(name, Amount()) + from_wire(result or [0, 0, 0, 0])

        self._courier.post(["slack", name, to_wire(more)], got, urgent=False)

    def _target(self, figures: Figures) -> Amount:
        if self._given is not None:
            tokens, pico = self._given.tokens, self._given.pico
        else:
            tokens = min(TOKENS, (figures.limit_tokens or 0) // 100)
            cost = figures.limit_cost_usd
            pico = 0 if cost is None else min(PICO_USD, pico_usd(cost) // 100)
        return Amount(
            tokens if figures.limit_tokens is not None else 0,
            0,
            pico if figures.limit_cost_usd is not None else 0,
        )

    def give_back(self, names: Iterable[str]) -> bool:
        """Give back the slack of these limits; return whether there was any."""
        found = False
        for name in names:
            held = self._held.pop(name, Amount())
            if held != Amount():
                found = True
                self._courier.post(["slack", name, to_wire(Amount(-held.input, 0, -held.pico))])
        return found
