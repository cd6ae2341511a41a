"""`lutum.dialect.errors`: the words and the kind of an error in each shape, and what `str` of one says."""

import json
from typing import Any

import pytest

import lutum
from lutum.dialect.errors import ErrorTable, body_error, holds_error, http_error, not_an_answer, stream_error

TABLE = ErrorTable()
OK = lutum.Response(200)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "billing", "balance"),
        ({"base_resp": {"status_code": 1002, "status_msg": "slow"}, "choices": None}, "rate_limit", "slow"),
        ({"code": 1113, "msg": "please recharge", "success": False}, "billing", "recharge"),
        ({"code": "1302", "msg": "busy"}, "rate_limit", "busy"),
        ({"error_code": 336100, "error_msg": "full"}, "overloaded", "full"),
        ({"success": False, "message": "no"}, "unknown", "no"),
        ({"errors": [{"code": 10000, "message": "Authentication error"}]}, "unknown", "Authentication"),
        (
            [{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}],
            "rate_limit",
            "quota",
        ),
        ({"detail": "gone"}, "unknown", "gone"),
        ({"error": "over capacity"}, "overloaded", "over capacity"),
        ({"object": "error", "message": "m", "code": 400}, "invalid_request", "m"),
        ({"error": {"message": "This model's maximum context length is 8"}}, "context_length", "maximum"),
    ],
)
def test_errors_in_a_good_answer(body: Any, kind: str, words: str) -> None:
    """Each shape is an error, with the provider's words and the kind that its code stands for."""
    assert holds_error(body)
    error = body_error(json.dumps(body).encode(), OK, TABLE)
    assert error is not None
    assert (error.kind, words in error.message) == (kind, True)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x", "choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"message": "hello"},
        {"code": 0, "msg": "ok", "data": {}},
        {"success": True, "message": "fine"},
        {"status": "completed"},
        [],
        "error",
        None,
    ],
)
def test_what_is_no_error(body: Any) -> None:
    assert not holds_error(body)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "Your credit balance is too low to access the API"}}, "billing"),
        (403, {"error": "your team has used all available credits"}, "billing"),
        (400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, "context_length"),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, "context_length"),
        (
            413,
            {"error": {"message": "Request too large ... (TPM)", "code": "rate_limit_exceeded"}},
            "too_large",
        ),
        (498, {"error": {"message": "Flex tier capacity exceeded"}}, "overloaded"),
        (
            429,
            {"error": {"message": "Please reduce the length of the messages", "type": "tokens"}},
            "rate_limit",
        ),
        (529, {}, "overloaded"),
        (524, {}, "timeout"),
    ],
)
def test_kinds_of_statuses(status: int, body: Any, kind: str) -> None:
    assert http_error(lutum.Response(status), json.dumps(body).encode(), 0.0, TABLE).kind == kind


def test_what_an_error_says() -> None:
    """Status and kind come before the words; host, model and request id after; a 404 names the URL."""
    error = http_error(lutum.Response(429, "req_1"), b'{"error":{"message":"slow down"}}', 0.0, TABLE)
    error.host, error.model, error.url = "api.test", "m-1", "https://api.test/v1/x"
    assert str(error) == "429 rate_limit: slow down (api.test, model m-1, request req_1)"
    assert error.message == "slow down"
    error.status, error.kind = 404, "not_found"
    assert str(error) == "404 not_found: slow down (https://api.test/v1/x, model m-1, request req_1)"
    assert str(lutum.ProviderError("x")) == "unknown: x"


def test_a_redirect_names_its_target() -> None:
    head = lutum.Response(307, headers={"location": "https://elsewhere.test/v1"})
    assert "https://elsewhere.test/v1" in str(http_error(head, b"", 0.0, TABLE))


def test_the_words_of_an_upstream() -> None:
    """A router's own words come first, then the name and the words of the provider behind it."""
    raw = json.dumps({"error": {"message": "max_tokens is too large"}})
    for upstream in (raw, {"error": {"message": "max_tokens is too large"}}, "max_tokens is too large"):
        body = {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": upstream, "provider_name": "X"},
            }
        }
        error = stream_error(json.dumps(body).encode(), OK, TABLE)
        assert error.message == "Provider returned error: X: max_tokens is too large"


def test_what_is_no_answer() -> None:
    """It names the content type and the beginning of what came, and is not retried."""
    head = lutum.Response(200, headers={"content-type": "text/html"})
    error = not_an_answer(b"<html><title>Sign in</title><p>x</html>", head)
    assert error.kind == "malformed"
    assert "text/html" in error.message
    assert "Sign in" in error.message
    assert lutum.RetryPolicy().delay(1, error) is None


@pytest.mark.parametrize(
    ("said", "kind", "again"), [("false", "server", False), ("true", "invalid_request", True)]
)
def test_the_server_says_whether_to_retry(said: str, kind: str, again: bool) -> None:
    """`x-should-retry` goes before the kind."""
    status = 500 if kind == "server" else 409
    head = lutum.Response(status, headers={"x-should-retry": said})
    error = http_error(head, b"", 0.0, TABLE)
    assert error.kind == kind
    assert (lutum.RetryPolicy().delay(1, error) is not None) == again


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after-ms": "x", "retry-after": "7"}, {}, 7.0),
        ({}, {"error": {"message": "Please try again in 7.66s."}}, 7.66),
        ({}, {"error": {"message": "try again in 6m0s"}}, 360.0),
        ({}, [{"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}], 34.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, {}, 360.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, {}, None),
        ({}, {"error": {"message": "wait a moment"}}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], body: Any, wait: float | None) -> None:
    error = http_error(lutum.Response(429, headers=headers), json.dumps(body).encode(), 0.0, TABLE)
    assert error.retry_after == wait
