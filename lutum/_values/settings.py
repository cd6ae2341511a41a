"""The settings of a turn. Those of the turn replace those of the session, which replace those of `Lutum`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lutum._values.answer import (
    FinishReason as FinishReason,
    IssueReason as IssueReason,
    Known as Known,
    PartialResult as PartialResult,
    ReasoningItem as ReasoningItem,
    RefusalItem as RefusalItem,
    Response as Response,
    TextItem as TextItem,
    ToolCallItem as ToolCallItem,
    Usage as Usage,
    ViewItem as ViewItem,
)
from lutum._values.check import check_number, check_options, check_type
from lutum._values.errors import (
    BadValue,
    Interrupted,
    NetworkError,
    ProviderError,
    TurnError,
)

O = TypeVar("O")


class Timeouts(Struct, frozen=True, kw_only=True):
    """Timeouts in seconds. They limit the turn's worker task, never your code.

    None means no limit. A timeout that is not given is inherited. The defaults are connect 10, first_event
    600, idle 600, no total and no reserve.

    Attributes:
      total: from the start of the first attempt to the last event. It does not include the reservation.
      first_event: the wait for the first event.
      idle: the wait between events. `first_event` and `idle` run only while the worker task waits for the
        socket, and pings do not count as progress.
      connect: TCP and TLS.
      reserve: the wait for a reservation, on local and foreign ledgers together.
    """

    total: float | UnsetType | None = UNSET
    first_event: float | UnsetType | None = UNSET
    idle: float | UnsetType | None = UNSET
    connect: float | UnsetType | None = UNSET
    reserve: float | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is UNSET or value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise BadValue(f"timeout.{name}", f"{value!r} is not above 0 s; None means no limit")

    def over(self, base: Timeouts) -> Timeouts:
        """Return these values, and the base's for fields that are not set here."""
        return _over(self, base)


DEFAULT_TIMEOUTS = Timeouts(total=None, first_event=600.0, idle=600.0, connect=10.0)


class RequestBudget(Struct, frozen=True, kw_only=True):
    """A limit for one turn alone: tokens of input and output together, and US dollars."""

    tokens: int | None = None
    cost_usd: Decimal | str | int | float | None = None


Effort = Literal["none", "low", "medium", "high", "max"]
"""How much a model may reason, in words that every adapter maps or refuses."""


class Settings(Struct, frozen=True, kw_only=True):
    """Generation settings and limits of a turn; a `Session` has them as `defaults`.

    A field that is UNSET is taken from the session, the Lutum or the adapter. `ext` has provider options such
    as `ClaudeOptions(...)`, one of each type. If these options set an effort too, their effort is used.
    """

    model: str | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    stop: tuple[str, ...] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    effort: Effort | UnsetType = UNSET
    timeout: Timeouts = Timeouts()
    retry: RetryPolicy | UnsetType | None = UNSET
    estimate: Estimate | UnsetType = UNSET
    limit: RequestBudget | UnsetType = UNSET
    ext: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if self.model is not UNSET:
            check_type("model", self.model, str, "the name of a model")
            if not self.model.strip():
                raise BadValue("model", "is blank")
        if self.temperature is not UNSET:
            check_number("temperature", self.temperature, 0, 2)
        if self.top_p is not UNSET:
            check_number("top_p", self.top_p, 0, 1)
        if self.max_output_tokens is not UNSET:
            check_number("max_output_tokens", self.max_output_tokens, 1, whole=True)
        if self.seed is not UNSET:
            check_number("seed", self.seed, -(2**63), whole=True)
        if self.stop is not UNSET:
            for sequence in self.stop:
                check_type("stop", sequence, str, "texts")
            if not all(self.stop):
                raise BadValue("stop", "has an empty sequence")
        check_type("timeout", self.timeout, Timeouts, "a lutum.Timeouts")
        if self.retry is not UNSET:
            check_type("retry", self.retry, RetryPolicy | None, "a lutum.RetryPolicy, or None")
        if self.estimate is not UNSET:
            check_type("reserve", self.estimate, Estimate, "a lutum.Estimate")
        if self.limit is not UNSET:
            check_type("limit", self.limit, RequestBudget, "a lutum.RequestBudget")
        check_options("ext", self.ext)
        if self.effort is not UNSET and self.effort not in get_args(Effort):
            raise BadValue("effort", f"{self.effort!r} is not one of {', '.join(get_args(Effort))}")

    def over(self, base: Settings) -> Settings:
        """Return these values, and the base's for fields that are not set here."""
        if self is base:
            return self
        ext = self.ext
        if base.ext:
            mine = {type(option) for option in ext}
            ext = (*(option for option in base.ext if type(option) not in mine), *ext)
        said = _said(self)
        said.update(timeout=self.timeout.over(base.timeout), ext=ext)
        return msgspec.structs.replace(base, **said)

    def option(self, kind: type[O]) -> O | None:
        """Return the provider options of that type, if they were given."""
        return next((option for option in self.ext if isinstance(option, kind)), None)


S = TypeVar("S", bound=Struct)


def _over(top: S, base: S) -> S:
    said = _said(top)
    return msgspec.structs.replace(base, **said) if said else base


def _said(values: Struct) -> dict[str, Any]:
    return {name: value for name in values.__struct_fields__ if (value := getattr(values, name)) is not UNSET}


_RETRYABLE = frozenset({"rate_limit", "overloaded", "server", "timeout"})


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Attempts before the first semantic event, after overload, rate limits, 5xx and failed connections.

    The first pause between attempts is `initial` seconds. Each later pause is `multiplier` times as long, up
    to `max_delay`. Each pause is changed at random by a fraction of up to `jitter`. If the provider sends a
    Retry-After, the pause is that time instead. If it is longer than `max_retry_after`, the error is raised.

    Attributes:
      attempts: the most requests, including the first one.
      chance: a function that returns a number in [0, 1) for the jitter. With your own function the pauses are
        predictable.
    """

    attempts: int = 3
    initial: float = 0.5
    multiplier: float = 2.0
    max_delay: float = 8.0
    jitter: float = 0.1
    max_retry_after: float = 60.0
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        check_number("retry.attempts", self.attempts, 1, whole=True)
        for name in ("initial", "max_delay", "jitter", "max_retry_after"):
            if (value := getattr(self, name)) != math.inf:
                check_number(f"retry.{name}", value, 0)
        if not self.multiplier >= 1:
            raise BadValue("retry.multiplier", f"{self.multiplier!r} is below 1")

    def delay(self, attempt: int, error: TurnError) -> float | None:
        """Return the pause in seconds after failed attempt number `attempt`; None if it was the last one."""
        if attempt >= self.attempts or not is_retryable(error):
            return None
        asked = error.retry_after if isinstance(error, ProviderError) else None
        if asked is not None:
            return asked if asked <= self.max_retry_after else None
        seconds = min(self.max_delay, self.initial * self.multiplier ** (attempt - 1))
        return seconds * (1 + self.jitter * (2 * self.chance() - 1))


def is_retryable(error: TurnError) -> bool:
    """Return whether the same request may succeed later. The caller checks that no answer had begun."""
    if isinstance(error, ProviderError):
        return error.kind in _RETRYABLE if error.should_retry is None else error.should_retry
    return isinstance(error, NetworkError | Interrupted)


class Estimate(Struct, frozen=True, omit_defaults=True):
    """The most that a request is expected to use. A turn reserves this amount."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadValue(f"estimate.{name}", f"{value!r} is not a number of tokens")

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens
