"""Each error has a cause and an advice of its own, and `lutum.explain` makes sentences of them."""

import inspect
import re
from decimal import Decimal

import pytest

import lutum
from lutum._values import errors

CLASSES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, errors.LutumError) and error.__module__.startswith("lutum")
]


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_has_its_own_words(error: type[errors.LutumError]) -> None:
    """A new class cannot be forgotten: it says what to do, and it or its parent says who can do it."""
    assert error.__dict__.get("advice"), f"{error.__name__} needs a class attribute `advice`"
    if error not in (errors.LutumError, errors.TurnError):
        assert error.whose != "not known", f"{error.__name__} needs a class attribute `whose`"
    for words in (error.whose, error.advice):
        assert words == words.strip()
        assert not words.endswith(".")
        assert not re.match("of |charged", words)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            lutum.OutputLimitExceeded("cut"),
            "OutputLimitExceeded: cut\nCause: the output limit, which is too small for the value; nothing "
            "was charged.\nWhat to do: raise .max_output_tokens(); error.partial.json has what arrived.",
        ),
        (
            FileNotFoundError(2, "no such file"),
            "FileNotFoundError: [Errno 2] no such file\nCause: the file or the operating system.\n"
            "What to do: check the path, and that you may read and write there.",
        ),
        (
            lutum.ProviderError("slow", kind="rate_limit", status=429, request_id="r", retry_after=2.5),
            "ProviderError: 429 rate_limit: slow (request r)\nCause: the rate limit of your account at the "
            "provider; nothing was charged.\nWhat to do: wait 2.5 s, as the provider asks, then send more "
            "slowly: retry=RetryPolicy() waits and tries again, and Budget(on_exhausted='wait', "
            "follow_rate_limits=True) keeps you below the rate limit.",
        ),
    ],
)
def test_sentences(error: BaseException, text: str) -> None:
    assert lutum.explain(error) == text


def test_a_charge_is_told() -> None:
    error = lutum.ContractViolation("x")
    error.usage = lutum.Usage(3, 4, known="estimated")
    assert "; 7 tokens were charged (an estimate).\n" in lutum.explain(error)
    error.usage = lutum.Usage(3, 4, cost_usd=Decimal("0.01"), known="lower_bound")
    assert "; at least 7 tokens ($0.01) were charged.\n" in lutum.explain(error)
    error.usage = lutum.Usage(3, 4)
    assert "; 7 tokens were charged.\n" in lutum.explain(error)
