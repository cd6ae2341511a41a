"""Trace attributes of errors, usages, estimates, settings and answers, as plain fields. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import cast

import msgspec
from anyio import get_cancelled_exc_class

from lutum._telemetry.redact import masked_body
from lutum._values.errors import LutumError, ProviderError
from lutum._values.results import Estimate, Response, Usage
from lutum._values.settings import Settings
from lutum.abc import ReplayForm


def error_fields(error: BaseException, *, raw: bool = False) -> dict[str, object]:
    """Return the attributes of an exception.

    Of an exception that is not lutum's, only the class is recorded, because its message may contain secrets
    or content. With `raw`, the body of a provider's error and the classes of the causes are included.
    """
    fields: dict[str, object] = {"error": type(error).__name__}
    if isinstance(error, LutumError):
        # Status, host and request id have attributes of their own.
        fields["message"] = error.message if isinstance(error, ProviderError) else str(error)
    if isinstance(error, ProviderError):
        known = {"kind": error.kind, "status": error.status, "type": error.type, "code": error.code}
        fields |= {f"error_{name}": value for name, value in known.items() if value is not None}
    if raw:
        fields["body"] = masked_body(error.body) if isinstance(error, ProviderError) else b""
        fields["causes"] = [type(cause).__name__ for cause in _causes(error)]
    return fields


def raised_words(error: BaseException) -> str | None:
    """Return the class name of an exception; None for a cancellation.

    For an exception group, the names of its members are included.
    """
    cancelled = get_cancelled_exc_class()
    if not isinstance(error, BaseExceptionGroup):
        return None if isinstance(error, cancelled) else type(error).__name__
    group = cast("BaseExceptionGroup[BaseException]", error)
    names = sorted(words for member in group.exceptions if (words := raised_words(member)) is not None)
    return f"{type(group).__name__}({', '.join(names)})" if names else None


def stage(failure: BaseException) -> str:
    """Return the stage at which a turn failed: `status`, `decode`, `event`, `transport`, `timeout`, `budget`,
    or `turn` for anything else."""
    if isinstance(failure, ProviderError):
        return "decode" if failure.kind == "malformed" else "status" if failure.status else "event"
    names = {"NetworkError": "transport", "Interrupted": "transport", "TurnTimeout": "timeout"}
    return names.get(type(failure).__name__, "budget" if "Budget" in type(failure).__name__ else "turn")


def usage_fields(usage: Usage) -> dict[str, object]:
    """Return a usage as fields. Optional figures that are 0 are left out."""
    fields: dict[str, object] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "usage_known": usage.known,
    }
    for name in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
        if value := getattr(usage, name):
            fields[name] = value
    if usage.cost_usd is not None:
        fields["cost_usd"] = str(usage.cost_usd)
    return fields


def estimate_fields(estimate: Estimate) -> dict[str, object]:
    """Return the reserved amount of a turn as fields."""
    fields: dict[str, object] = {
        "estimate_input_tokens": estimate.input_tokens,
        "estimate_output_tokens": estimate.output_tokens,
    }
    if estimate.cost_usd is not None:
        fields["estimate_cost_usd"] = str(estimate.cost_usd)
    return fields


def settings_fields(settings: Settings) -> dict[str, object]:
    """Return the settings of the request that were set."""
    named = ("temperature", "top_p", "seed", "max_output_tokens", "stop")
    said = {name: getattr(settings, name) for name in named}
    return {
        name: list(value) if name == "stop" else value
        for name, value in said.items()
        if value is not msgspec.UNSET
    }


def response_fields(response: Response) -> dict[str, object]:
    """Return the ids and the status of an answer as fields."""
    known = {"status": response.status, "request_id": response.request_id, "response_id": response.id}
    return {name: value for name, value in known.items() if value is not None}


def replay_runs(forms: Iterable[ReplayForm]) -> list[list[object]]:
    """Return the forms of committed turns, in order. Equal neighbours are one entry with their number.

    An example is `[[3, "exact"], [1, "made by ..."]]`.
    """
    said = ("exact" if form.exact else form.reason or "semantic" for form in forms)
    return [[len(list(run)), form] for form, run in groupby(said)]


def _causes(error: BaseException) -> Iterable[BaseException]:
    """Return the causes of an exception, innermost last: at most 9, and each only once."""
    seen = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen and len(seen) < 10:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
