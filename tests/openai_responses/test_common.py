"""What both OpenAI adapters share: endpoints, errors, usage, schemas."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum import Response, Usage
from lutum.dialect.errors import http_error
from lutum.dialect.usage import settle
from lutum.transport import no_key
from lutum_openai import ERRORS, _endpoint, _estimate
from lutum_openai._usage import read_usage


@pytest.mark.parametrize(
    ("base", "version", "header", "url"),
    [
        ("https://api.openai.com/v1", None, "authorization", "https://api.openai.com/v1/responses"),
        ("http://localhost:8080/v1", None, "authorization", "http://localhost:8080/v1/responses"),
        (
            "https://n.openai.azure.com/openai/v1",
            None,
            "api-key",
            "https://n.openai.azure.com/openai/v1/responses",
        ),
        (
            "https://n.openai.azure.com/openai",
            "2025-03-01-preview",
            "api-key",
            "https://n.openai.azure.com/openai/responses?api-version=2025-03-01-preview",
        ),
        (
            "https://n.services.ai.azure.com/openai/v1",
            None,
            "api-key",
            "https://n.services.ai.azure.com/openai/v1/responses",
        ),
        (
            "https://openai.azure.com.evil.test/v1",
            None,
            "authorization",
            "https://openai.azure.com.evil.test/v1/responses",
        ),
    ],
)
async def test_endpoints(base: str, version: str | None, header: str, url: str) -> None:
    """The key's header and the URL of a path follow from the host; Azure's version is a query."""
    found = _endpoint.endpoint(base, version)
    assert (found.url("/responses"), found.own) == (url, "api.openai.com" in base)
    credential = found.credential("k")
    assert credential is not None
    assert await credential.headers() == {header: "k" if header == "api-key" else "Bearer k"}
    assert found.credential(no_key) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "type", "code"),
    [
        (
            401,
            {"error": {"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}},
            "authentication",
            "m",
            "invalid_request_error",
            "invalid_api_key",
        ),
        (
            400,
            {"error": {"message": "m", "type": "invalid_request_error", "code": "model_not_found"}},
            "not_found",
            "m",
            "invalid_request_error",
            "model_not_found",
        ),
        (
            429,
            {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}},
            "billing",
            "m",
            "insufficient_quota",
            "insufficient_quota",
        ),
        (
            429,
            {"error": {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}},
            "rate_limit",
            "m",
            "tokens",
            "rate_limit_exceeded",
        ),
        (
            413,
            {"error": {"message": "m", "type": "invalid_request_error"}},
            "too_large",
            "m",
            "invalid_request_error",
            None,
        ),
        (402, {"error": {"message": "m", "code": 402}}, "billing", "m", None, "402"),
        (500, {"error": {"message": "m", "type": "server_error"}}, "server", "m", "server_error", None),
        (503, {"error": {"message": "m", "type": "x"}}, "overloaded", "m", "x", None),
        (
            418,
            {"message": "m", "object": "error", "type": "BadRequestError", "code": 418},
            "invalid_request",
            "m",
            "BadRequestError",
            "418",
        ),
        (400, {"code": "invalid-argument", "error": "m"}, "invalid_request", "m", None, "invalid-argument"),
        (422, {"detail": [{"loc": ["a"]}]}, "invalid_request", '[{"loc":["a"]}]', None, None),
        (403, {"detail": "m"}, "permission", "m", None, None),
        (
            400,
            [{"error": {"message": "m", "code": 400, "status": "INVALID"}}],
            "invalid_request",
            "m",
            "INVALID",
            "400",
        ),
        (404, {"statusCode": 404, "message": "m"}, "not_found", "m", None, "404"),
        (302, {}, "unknown", "{}", None, None),
        (500, [], "server", "[]", None, None),
        (502, "text", "server", "text", None, None),
    ],
)
def test_http_errors(
    status: int, body: Any, kind: str, message: str, type: str | None, code: str | None
) -> None:
    """An error of any shape is classed by its status and its code, with what it says."""
    raw = msgspec.json.encode(body)
    error = http_error(Response(status=status, request_id="req_1"), raw, 0.0, ERRORS)
    assert (error.kind, error.status, error.message) == (kind, status, message)
    assert (error.type, error.code, error.request_id, error.body) == (type, code, "req_1", raw)


@given(st.binary(max_size=60))
def test_any_error_body(body: bytes) -> None:
    """No body makes the error fail."""
    error = http_error(Response(status=500), body, 0.0, ERRORS)
    assert error.kind == "server"
    assert error.message


def test_request_id_of_the_body() -> None:
    """An id that only the body has counts."""
    error = http_error(Response(status=500), b'{"error":{"message":"m"},"request_id":"r"}', 0.0, ERRORS)
    assert error.request_id == "r"


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            Usage(10, 5, 3, 2, 1),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": None,
                "cost": 0.00075,
            },
            Usage(10, 5, 3, cost_usd=Decimal("0.00075")),
        ),
        (
            {"prompt_tokens": 10, "total_tokens": 15, "prompt_cache_hit_tokens": 4},
            Usage(10, 5, 4, known="estimated"),
        ),
        (
            {"input_tokens": 1, "output_tokens": 1, "cost_in_usd_ticks": 7_515_000},
            Usage(1, 1, cost_usd=Decimal("0.0007515")),
        ),
        ({"input_tokens": 1, "output_tokens": 1, "cost": 0}, Usage(1, 1, cost_usd=Decimal(0))),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": 0.00510}},
            Usage(1, 1, cost_usd=Decimal("0.0051")),
        ),
        ({"prompt_tokens": "1", "completion_tokens": 1.0}, Usage(1, 1)),
        ({"prompt_tokens": -1, "completion_tokens": 1}, Usage(9, 1, known="estimated")),
        ({"input_tokens": 0, "output_tokens": 0}, Usage(9, 2, known="estimated")),
        ([1], Usage(9, 2, known="estimated")),
        ({}, None),
        (None, None),
    ],
)
def test_responses_usage(reported: Any, usage: Usage | None) -> None:
    """Both spellings, the details under their names, and what a gateway billed."""
    found = read_usage(msgspec.json.encode(reported))
    assert (None if found is None else settle(found, 2, lutum.Estimate(9))) == usage


def test_tokens() -> None:
    """Text counts by its characters, a PDF by its pages, an image by the most its model takes."""
    assert _estimate.text_tokens("x" * 31) == 11
    assert _estimate.text_tokens("語" * 10) >= 10
    assert _estimate.pdf_tokens(b"%PDF /Type /Page /Type/Page /Type /Pages") == 2 * _estimate.PAGE_TOKENS
    assert _estimate.pdf_tokens(b"%PDF") is None
    assert _estimate.image_tokens("gpt-4o-mini") > _estimate.image_tokens("gpt-5")


def test_options_over_options() -> None:
    """What a turn says goes before what its adapter says, field by field."""
    from lutum_openai import OpenAIOptions

    base = OpenAIOptions(effort="low", store=True, user="u")
    assert OpenAIOptions(effort="high", store=False).over(base) == OpenAIOptions(
        effort="high", store=False, user="u"
    )
    assert isinstance(lutum.Settings(ext=(base,)).option(OpenAIOptions), OpenAIOptions)
