"""Claude's Message Batches: `POST /v1/messages/batches`, its status, and its results as JSON lines.

Each entry is answered from the scripts, as a separate request, when the batch is created. The first status
requests report that the batch is in progress.
"""

import re
from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._claude import check_claude_head, claude_error, claude_status_of, claude_type_of
from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._paths import is_prefix
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["ClaudeBatchesDialect", "Run"]

Run = Callable[[WireRequest, str, bytes], tuple[int | None, bytes]]
"""Answer a request inside another request. Takes the outer request, and the path and body of the inner one.
Returns a status and a body. The status is None if there is no answer."""

_PATH: Final = re.compile(r".*(/v1/messages/batches)(?:/([^/]+)(/results)?)?")
_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CREATED: Final = "2026-01-01T00:00:00Z"
_EXPIRES: Final = "2026-01-02T00:00:00Z"


@final
class _ClaudeBatch(msgspec.Struct):
    lines: list[dict[str, Any]]
    polls: int
    ended: bool = False


@final
class ClaudeBatchesDialect:
    """The dialect of the Message Batches API. The first `polls` status requests report `in_progress`."""

    def __init__(self, run: Run, *, polls: int, api_key: str | None = None) -> None:
        self._run = run
        self._polls = polls
        self._api_key = api_key
        self._batches: dict[str, _ClaudeBatch] = {}

    def matches(self, request: WireRequest) -> bool:
        found = _PATH.fullmatch(request.path)
        return found is not None and is_prefix([*request.path[: found.start(1)].split("/")[1:], "v1"])

    def headers(self, request: WireRequest) -> dict[str, str]:
        headers = {"request-id": f"req_{request.number:04}"}
        if request.path.endswith("/results") and request.error is None:
            headers["content-type"] = "application/x-jsonl"
        return headers

    def check(self, request: WireRequest) -> WireError | None:
        if (found := check_claude_head(request, self._api_key)) is not None:
            return found
        id, results = _parts(request)
        if request.method != ("POST" if id is None else "GET"):
            return WireError("Method Not Allowed", status=405)
        if id is None:
            return _check_entries(request)
        batch = self._batches.get(id)
        if batch is None or (results and not batch.ended):
            return WireError(
                f"Batch {id} not found, or it has no results yet", status=404, type="not_found_error"
            )
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        id, results = _parts(request)
        if id is None:
            id = f"msgbatch_{request.id}"
            lines = [self._line(request, entry) for entry in request.json["requests"]]
            self._batches[id] = _ClaudeBatch(lines, self._polls)
            return msgspec.json.encode(self._status(request, id, ended=False))
        batch = self._batches[id]
        if results:
            return b"".join(msgspec.json.encode(line) + b"\n" for line in batch.lines)
        batch.ended = batch.polls <= 0
        batch.polls -= 1
        return msgspec.json.encode(self._status(request, id, ended=batch.ended))

    def _line(self, request: WireRequest, entry: dict[str, Any]) -> dict[str, Any]:
        status, body = self._run(request, "/v1/messages", msgspec.json.encode(entry["params"]))
        if status is None:
            result: dict[str, Any] = {"type": "expired"}
        elif status == 200:
            result = {"type": "succeeded", "message": msgspec.Raw(body)}
        else:
            result = {"type": "errored", "error": msgspec.Raw(body)}
        return {"custom_id": entry["custom_id"], "result": result}

    def _status(self, request: WireRequest, id: str, *, ended: bool) -> dict[str, Any]:
        lines = self._batches[id].lines
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for line in lines:
            counts[line["result"]["type"] if ended else "processing"] += 1
        path = request.path if request.path.endswith("/batches") else request.path.rpartition("/")[0]
        return {
            "id": id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": _CREATED,
            "expires_at": _EXPIRES,
            "ended_at": _CREATED if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"http://{request.headers['host']}{path}/{id}/results" if ended else None,
        }

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return claude_error(request, error)

    def error_type(self, status: int) -> str:
        return claude_type_of(status)

    def status_of(self, error_type: str) -> int:
        return claude_status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        raise AssertionError("nothing is streamed here")

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        raise AssertionError("no script is asked")


def _parts(request: WireRequest) -> tuple[str | None, bool]:
    found = _PATH.fullmatch(request.path)
    assert found is not None
    return found[2], found[3] is not None


def _check_entries(request: WireRequest) -> WireError | None:
    try:
        body = request.json
    except ValueError as error:
        return WireError(f"The request body is not valid JSON: {error}")
    entries: Any = body.get("requests") if is_object(body) else None
    if not is_array(entries) or not entries:
        return WireError("requests: Field required")
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        at = f"requests.{i}"
        if not is_object(entry) or set(entry) != {"custom_id", "params"} or not is_object(entry["params"]):
            return WireError(f"{at}: must contain custom_id and params, and nothing else")
        id: Any = entry["custom_id"]
        if not isinstance(id, str) or not _CUSTOM_ID.fullmatch(id):
            return WireError(f"{at}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if id in seen:
            return WireError(f"{at}.custom_id: {id!r} is not unique")
        seen.add(id)
        if entry["params"].get("stream"):
            return WireError(f"{at}.params.stream: Streaming is not supported in batches")
    return None
