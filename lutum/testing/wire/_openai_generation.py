"""OpenRouter's record of a generation, `GET /generation?id=`: missing at first, later with the bill."""

from typing import Any, final
from urllib.parse import parse_qs

import msgspec

from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._openai import Bills, check_key, error_body, status_of, type_of
from lutum.testing.wire._paths import is_endpoint
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["OpenRouterGenerationDialect"]


@final
class OpenRouterGenerationDialect:
    """The dialect of the record. It answers from `bills`. The first `misses` requests for an id get a 404."""

    def __init__(self, *, api_key: str | None = None, misses: int, bills: Bills) -> None:
        self._api_key = api_key
        self._misses = misses
        self._bills = bills
        self._asked: dict[str, int] = {}

    def matches(self, request: WireRequest) -> bool:
        return is_endpoint(request.path, "/v1/generation")

    def headers(self, request: WireRequest) -> dict[str, str]:
        return {}

    def check(self, request: WireRequest) -> WireError | None:
        if request.method != "GET":
            return WireError("Method Not Allowed", status=405)
        if (found := check_key(request, self._api_key)) is not None:
            return found
        wanted = _id(request)
        asked = self._asked[wanted] = self._asked.get(wanted, 0) + 1
        if wanted not in self._bills or asked <= self._misses:
            return WireError(f"Generation {wanted} not found", status=404)
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        id = _id(request)
        bill = self._bills[id]
        record: dict[str, Any] = {
            "id": id,
            "model": bill.model,
            "streamed": True,
            "cancelled": bill.request.outcome == "disconnected",
            "total_cost": bill.cost,
            "tokens_prompt": bill.input_tokens,
            "tokens_completion": bill.output_tokens,
            "native_tokens_prompt": bill.input_tokens,
            "native_tokens_completion": bill.output_tokens,
            "native_tokens_reasoning": bill.reasoning_tokens,
            "native_tokens_cached": bill.cached_tokens,
        }
        return msgspec.json.encode({"data": record})

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return error_body(request, error)

    def error_type(self, status: int) -> str:
        return type_of(status)

    def status_of(self, error_type: str) -> int:
        return status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        raise AssertionError("nothing is streamed here")

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        raise AssertionError("no script is asked")


def _id(request: WireRequest) -> str:
    return parse_qs(request.query).get("id", [""])[0]
