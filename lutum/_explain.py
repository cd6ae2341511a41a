"""An error in three lines: what happened, its cause, and what to do next."""

from __future__ import annotations

from lutum._values.errors import LutumError, ProviderError, Refused, TurnError


def explain(error: BaseException) -> str:
    """Return what happened, the cause and what to do next, in three lines.

    The first line is the class and the message. It may contain words of the provider or the model. The others
    come from the attributes `whose` and `advice` of the error.
    """
    what = " ".join(f"{type(error).__name__}: {error}".split())
    cause, advice = _judged(error)
    if isinstance(error, TurnError) and not isinstance(error, Refused):  # a refusal has no usage of its own
        cause = f"{cause}; {_charged(error)}"
    return f"{what}\nCause: {cause}.\nWhat to do: {advice}."


def _charged(error: TurnError) -> str:
    usage = error.usage
    if not usage.total_tokens and not usage.cost_usd:
        return "nothing was charged"
    cost = "" if usage.cost_usd is None else f" (${usage.cost_usd})"
    return f"{usage.total_tokens:,} tokens were charged{cost}, {usage.known}"


def _judged(error: BaseException) -> tuple[str, str]:
    if isinstance(error, ProviderError):
        advice = error.advice
        if error.retry_after is not None:
            advice = f"wait {error.retry_after:g} s, as the provider asks; {advice}"
        return error.whose, advice
    if isinstance(error, LutumError):
        return error.whose, error.advice
    if isinstance(error, OSError):
        return "the file or the operating system", "check the path, and that you may read and write there"
    return "most likely lutum itself", "report it, with the traceback"
