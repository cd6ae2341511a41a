"""Gemini's batches: `batchGenerateContent` with entries or an uploaded file, its status, and its results.

Each entry is answered from the scripts, as a separate request, when the batch is created. The first status
requests report that the batch is in progress.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._claude_batches import Run
from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._gemini import GeminiDialect
from lutum.testing.wire._json import is_array, is_object
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["GeminiBatchesDialect"]

_MADE: Final = re.compile(r"(.*)/models/([^/]+):batchGenerateContent")
# Not `/v1/batches/`, which belongs to OpenAI.
_BATCH: Final = re.compile(r".*/v1(?:alpha|beta)[0-9]*/batches/([^/:]+)(:cancel)?")
_UPLOAD: Final = re.compile(r"/upload(/[^/]+)/files(?:/([^/]+))?")
_DOWNLOAD: Final = re.compile(r"/download/[^/]+/files/([^/:]+):download")
_CREATED: Final = "2026-01-01T00:00:00Z"
_TYPE: Final = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"

Entry = tuple[dict[str, Any], dict[str, Any]]
"""The other members of an entry, and its request. The answer to the entry repeats the other members."""


@final
class _GeminiBatch(msgspec.Struct):
    model: str
    name: str
    file: bool
    lines: list[dict[str, Any]]
    polls: int
    cancelled: bool = False


@final
class GeminiBatchesDialect:
    """The dialect of the Batch API, and of the part of the Files API that a batch needs.

    The first `polls` status requests report that the batch is in progress. Files are uploaded with the
    resumable protocol.
    """

    def __init__(self, gemini: GeminiDialect, run: Run, *, polls: int) -> None:
        self._gemini = gemini
        self._run = run
        self._polls = polls
        self._batches: dict[str, _GeminiBatch] = {}
        self._files: dict[str, bytes] = {}

    def matches(self, request: WireRequest) -> bool:
        return any(one.fullmatch(request.path) for one in (_MADE, _BATCH, _UPLOAD, _DOWNLOAD))

    def headers(self, request: WireRequest) -> dict[str, str]:
        headers = self._gemini.headers(request)
        found = _UPLOAD.fullmatch(request.path)
        if found is not None and found[2] is None:
            place = f"http://{request.headers['host']}{request.path}/{_id_of(request)}"
            headers |= {"x-goog-upload-status": "active", "x-goog-upload-url": place}
        if _DOWNLOAD.fullmatch(request.path) and request.error is None:
            headers["content-type"] = "application/x-jsonl"
        return headers

    def check(self, request: WireRequest) -> WireError | None:
        if (refused := self._gemini.check_key(request)) is not None:
            return refused
        if (found := _MADE.fullmatch(request.path)) is not None:
            return self._check_made(request)
        if (found := _UPLOAD.fullmatch(request.path)) is not None:
            return _check_upload(request, data=found[2] is not None)
        known: dict[str, Any] = self._batches
        if (found := _BATCH.fullmatch(request.path)) is None:
            found, known = _DOWNLOAD.fullmatch(request.path), self._files
        if found is None or found[1] not in known:
            return WireError("Requested entity was not found.", status=404, type="NOT_FOUND")
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        if (found := _MADE.fullmatch(request.path)) is not None:
            return self._made(request, found[1], found[2])
        if (found := _UPLOAD.fullmatch(request.path)) is not None:
            if found[2] is None:
                return b"{}"
            self._files[found[2]] = request.body
            return msgspec.json.encode({"file": self._file(found[2])})
        if (found := _DOWNLOAD.fullmatch(request.path)) is not None:
            return self._files[found[1]]
        found = _BATCH.fullmatch(request.path)
        assert found is not None
        batch = self._batches[found[1]]
        if found[2] is not None:
            batch.cancelled = True
            return b"{}"
        state = "BATCH_STATE_RUNNING" if batch.polls > 0 else "BATCH_STATE_SUCCEEDED"
        batch.polls -= 1
        return self._status(batch, "BATCH_STATE_CANCELLED" if batch.cancelled else state)

    def _check_made(self, request: WireRequest) -> WireError | None:
        try:
            body = request.json
        except ValueError as error:
            return WireError(f"Invalid JSON payload received. {error}", type="INVALID_ARGUMENT")
        config = _config(body)
        name = _member(config, "fileName")
        if name is not None and str(name).removeprefix("files/") not in self._files:
            return WireError(f"File {name} is not found.", status=404, type="NOT_FOUND")
        try:
            entries = list(self._entries(body))
        except (msgspec.DecodeError, ValueError) as error:
            return WireError(f"batch.inputConfig: {error}", type="INVALID_ARGUMENT")
        if not entries:
            return WireError("batch.inputConfig: has no requests", type="INVALID_ARGUMENT")
        return None

    def _made(self, request: WireRequest, before: str, model: str) -> bytes:
        id = _id_of(request)
        config = _config(request.json)
        path = f"{before}/models/{model}:generateContent"
        lines = list[dict[str, Any]]()
        for beside, entry in self._entries(request.json):
            status, body = self._run(request, path, msgspec.json.encode(entry))
            if status == 200:
                lines.append({"response": msgspec.Raw(body), **beside})
            else:
                lines.append({"error": _status_of(body), **beside})
        file = _member(config, "fileName") is not None
        self._batches[id] = _GeminiBatch(f"models/{model}", f"batches/{id}", file, lines, self._polls)
        return self._status(self._batches[id], "BATCH_STATE_PENDING")

    def _entries(self, body: Any) -> Iterator[Entry]:
        """Return the entries of a batch; raise ValueError if one is malformed."""
        config = _config(body)
        name = _member(config, "fileName")
        if name is not None:
            for line in self._files[str(name).removeprefix("files/")].splitlines():
                entry: Any = msgspec.json.decode(line)
                if (
                    not is_object(entry)
                    or set(entry) != {"key", "request"}
                    or not is_object(entry["request"])
                ):
                    raise ValueError("a line must contain a key and a request, and nothing else")
                yield {"key": entry["key"]}, entry["request"]
            return
        outer: Any = _member(config, "requests")
        inner: Any = outer.get("requests") if is_object(outer) else None
        for entry in inner if is_array(inner) else ():
            if not is_object(entry) or not is_object(entry.get("request")):
                raise ValueError("an entry must contain a request")
            if set(entry) - {"request", "metadata"}:
                raise ValueError(f"Unknown name {sorted(set(entry) - {'request', 'metadata'})[0]!r}")
            yield {name: entry[name] for name in ("metadata",) if name in entry}, entry["request"]

    def _status(self, batch: _GeminiBatch, state: str) -> bytes:
        ended = state not in ("BATCH_STATE_PENDING", "BATCH_STATE_RUNNING")
        failed = sum("error" in line for line in batch.lines)
        stats = {"requestCount": str(len(batch.lines))}
        if ended:
            stats |= {"successfulRequestCount": str(len(batch.lines) - failed)}
            stats |= {"failedRequestCount": str(failed)} if failed else {}
        else:
            stats["pendingRequestCount"] = str(len(batch.lines))
        metadata: dict[str, Any] = {
            "@type": _TYPE,
            "model": batch.model,
            "createTime": _CREATED,
            "updateTime": _CREATED,
            "batchStats": stats,
            "state": state,
            "name": batch.name,
        }
        status: dict[str, Any] = {"name": batch.name, "metadata": metadata}
        if ended:
            status["done"] = True
        if state == "BATCH_STATE_SUCCEEDED":
            output = self._output(batch)
            metadata |= {"endTime": _CREATED, "output": output}
            status["response"] = {"@type": f"{_TYPE}Output", **output}
        return msgspec.json.encode(status)

    def _output(self, batch: _GeminiBatch) -> dict[str, Any]:
        if not batch.file:
            return {"inlinedResponses": {"inlinedResponses": batch.lines}}
        id = "out" + batch.name.removeprefix("batches/")
        self._files[id] = b"".join(msgspec.json.encode(line) + b"\n" for line in batch.lines)
        return {"responsesFile": f"files/{id}"}

    def _file(self, id: str) -> dict[str, Any]:
        return {
            "name": f"files/{id}",
            "mimeType": "application/jsonl",
            "sizeBytes": str(len(self._files[id])),
            "createTime": _CREATED,
            "state": "ACTIVE",
        }

    def error(self, request: WireRequest, error: WireError) -> bytes:
        return self._gemini.error(request, error)

    def error_type(self, status: int) -> str:
        return self._gemini.error_type(status)

    def status_of(self, error_type: str) -> int:
        return self._gemini.status_of(error_type)

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        raise AssertionError("nothing is streamed here")

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        raise AssertionError("no script is asked")


def _id_of(request: WireRequest) -> str:
    return f"w{request.number:04}"


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)


def _member(value: Any, name: str) -> Any:
    """Return a member. The API accepts both spellings of its name."""
    return (value.get(name) or value.get(_snake(name))) if is_object(value) else None


def _config(body: Any) -> Any:
    return _member(_member(body, "batch"), "inputConfig")


def _check_upload(request: WireRequest, *, data: bool) -> WireError | None:
    wanted = "upload, finalize" if data else "start"
    given = request.headers.get("x-goog-upload-command", "")
    if given != wanted or (not data and request.headers.get("x-goog-upload-protocol") != "resumable"):
        return WireError("This server takes resumable uploads in two requests.", type="INVALID_ARGUMENT")
    return None


def _status_of(body: bytes) -> dict[str, Any]:
    """Return the google.rpc.Status of a failed entry. An entry without an answer counts as expired."""
    if not body:
        return {"code": 4, "message": "The request was not processed within 24 hours."}
    error: dict[str, Any] = msgspec.json.decode(body)["error"]
    return error
