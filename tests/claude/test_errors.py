"""Error answers to errors."""

import pytest

import lutum
from lutum.dialect.errors import http_error
from lutum_claude import _errors

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def fault(status: int, body: bytes = b"", **headers: str) -> lutum.ProviderError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http_error(lutum.Response(status, "req_1", None, named), body, NOW, _errors.ERRORS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request"),
        (401, "authentication"),
        (402, "billing"),
        (403, "permission"),
        (404, "not_found"),
        (408, "timeout"),
        (409, "invalid_request"),
        (413, "too_large"),
        (418, "invalid_request"),
        (429, "rate_limit"),
        (500, "server"),
        (502, "server"),
        (504, "timeout"),
        (529, "overloaded"),
        (302, "unknown"),
    ],
)
def test_statuses(status: int, kind: str) -> None:
    """Each status has its class, with or without a body."""
    error = fault(status)
    assert (error.kind, error.status, error.request_id) == (kind, status, "req_1")
    told = "a redirect without a target" if status == 302 else "no message"
    assert error.message == told
    assert str(error) == f"{status} {kind}: {told} (request req_1)"


def test_error_object() -> None:
    """Message, type, code and id are the provider's; the body is kept."""
    body = (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"Too big",'
        b'"details":{"error_code":"image_dimensions_too_large"}},"request_id":"req_2"}'
    )
    error = fault(400, body)
    assert (error.message, error.type, error.code) == (
        "Too big",
        "invalid_request_error",
        "image_dimensions_too_large",
    )
    assert (error.request_id, error.body) == ("req_2", body)


def test_an_unknown_status_is_classed_by_its_type() -> None:
    """Where the status says little the error's type does."""
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'
    assert fault(503, body).kind == "overloaded"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Bad Gateway</html>", "Bad Gateway"),
        (b"\xff", "\ufffd"),
        (b'{"error":"down"}', "down"),
        (b'[{"error":{"message":"quota"}}]', "quota"),
        (b'{"message":"plain"}', "plain"),
        (b'{"error":{"type":7,"message":[]}}', '{"error":{"type":7,"message":[]}}'),
        (b"[]", "[]"),
        (b"[" * 100_000, "[" * 500),
    ],
)
def test_other_bodies(body: bytes, message: str) -> None:
    """Whatever a proxy answers makes a message and never another exception."""
    assert fault(502, body).message == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "Tue, 14 Nov 2023 22:13:40 GMT"}, 10.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after_ms": "inf"}, None),
        ({}, None),
    ],
)
def test_claude_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Both forms of the header are seconds, a date by the answer's own clock where it has one."""
    assert fault(429, **headers).retry_after == seconds
