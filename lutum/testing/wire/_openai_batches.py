"""OpenAI's batches: `POST /files`, `POST /batches`, a batch's status, and the contents of its files.

Each line is answered from the scripts, as a separate request, when the batch is created. The first status
requests report that the batch is in progress. The batch has an error file for failed lines and an output file
for the other lines.
"""

import email.policy
import re
from email.parser import BytesParser
from typing import Any, Final, final

import msgspec

from lutum.testing.wire._claude_batches import Run
from lutum.testing.wire._dialect import Rendered
from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import is_object
from lutum.testing.wire._openai import CREATED, check_key, error_body, error_headers, status_of, type_of
from lutum.testing.wire._paths import is_prefix
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["OpenAIBatchesDialect"]

_PATH: Final = re.compile(r".*/v1/(files|batches)(?:/([^/]+)(/content)?)?")
_ENDPOINTS: Final = frozenset({"/v1/responses", "/v1/chat/completions", "/v1/completions"})
_LINE: Final = frozenset({"custom_id", "method", "url", "body"})


@final
class _OpenAIBatch(msgspec.Struct):
    """A batch. `problems` are the reasons for which its input file was refused."""

    body: dict[str, Any]
    polls: int
    output: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    problems: list[str]


@final
class OpenAIBatchesDialect:
    """The dialect of the Batch API, and of the part of the Files API that a batch needs.

    The first `polls` status requests report `in_progress`.
    """

    def __init__(self, run: Run, *, polls: int, api_key: str | None = None) -> None:
        self._run = run
        self._polls = polls
        self._api_key = api_key
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _OpenAIBatch] = {}

    def matches(self, request: WireRequest) -> bool:
        found = _PATH.fullmatch(request.path)
        return found is not None and is_prefix(request.path[: found.start(1)].split("/")[1:])

    def headers(self, request: WireRequest) -> dict[str, str]:
        headers = error_headers(request)
        if request.path.endswith("/content") and request.error is None:
            headers["content-type"] = "application/octet-stream"
        return headers

    def check(self, request: WireRequest) -> WireError | None:
        if (found := check_key(request, self._api_key)) is not None:
            return found
        kind, id, content = _parts(request)
        if request.method != ("POST" if id is None else "GET"):
            return WireError("Method Not Allowed", status=405)
        if kind == "files":
            if id is None:
                return _check_upload(request)
            known = id in self._files and content
            return None if known else WireError(f"No such File object: {id}", status=404)
        if id is not None:
            return None if id in self._batches else WireError(f"No batch found with id '{id}'.", status=404)
        return self._check_batch(request)

    def _check_batch(self, request: WireRequest) -> WireError | None:
        try:
            body = request.json
        except ValueError:
            return WireError("We could not parse the JSON body of your request.")
        if not is_object(body) or body.get("completion_window") != "24h":
            return WireError("Invalid value: 'completion_window'. Supported values are: '24h'.")
        if body.get("endpoint") not in _ENDPOINTS:
            return WireError(f"Invalid value: 'endpoint'. Supported values are: {sorted(_ENDPOINTS)}.")
        if body.get("input_file_id") not in self._files:
            return WireError(f"No such File object: {body.get('input_file_id')}")
        return None

    def answer(self, request: WireRequest) -> bytes | None:
        kind, id, _ = _parts(request)
        if kind == "files":
            return self._uploaded(request) if id is None else self._files[id]
        if id is None:
            id = f"batch_{request.id}"
            self._batches[id] = self._made(request)
            return msgspec.json.encode(self._status(id, "validating"))
        batch = self._batches[id]
        if batch.problems:
            return msgspec.json.encode(self._status(id, "failed"))
        batch.polls -= 1
        return msgspec.json.encode(self._status(id, "completed" if batch.polls < 0 else "in_progress"))

    def _uploaded(self, request: WireRequest) -> bytes:
        id = f"file-{request.id}"
        name, data = _fields(request)["file"]
        self._files[id] = data
        said = {
            "id": id,
            "object": "file",
            "bytes": len(data),
            "created_at": CREATED,
            "filename": name,
            "purpose": "batch",
        }
        return msgspec.json.encode(said)

    def _made(self, request: WireRequest) -> _OpenAIBatch:
        body = request.json
        lines, problems = _lines(self._files[body["input_file_id"]], body["endpoint"])
        batch = _OpenAIBatch(body, self._polls, [], [], problems)
        for i, line in enumerate([] if problems else lines):
            status, answer = self._run(request, line["url"], msgspec.json.encode(line["body"]))
            said: dict[str, Any] = {
                "id": f"batch_req_{request.id}_{i}",
                "custom_id": line["custom_id"],
            }
            if status is None:
                said |= {
                    "response": None,
                    "error": {"code": "batch_expired", "message": "It was not answered."},
                }
            else:
                response = {"status_code": status, "request_id": f"req_{i}", "body": msgspec.Raw(answer)}
                said |= {"response": response, "error": None}
            (batch.output if status == 200 else batch.errors).append(said)
        return batch

    def _status(self, id: str, status: str) -> dict[str, Any]:
        batch = self._batches[id]
        files: dict[str, str | None] = {}
        for name, lines in (("output", batch.output), ("error", batch.errors)):
            file = f"file-{id}-{name}" if lines and status == "completed" else None
            files[f"{name}_file_id"] = file
            if file is not None:
                self._files[file] = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        problems = [{"code": "invalid_request", "message": text} for text in batch.problems]
        return {
            "id": id,
            "object": "batch",
            "endpoint": batch.body["endpoint"],
            "input_file_id": batch.body["input_file_id"],
            "completion_window": "24h",
            "status": status,
            "created_at": CREATED,
            "errors": {"object": "list", "data": problems} if problems else None,
            "request_counts": {
                "total": len(batch.output) + len(batch.errors),
                "completed": len(batch.output) if status == "completed" else 0,
                "failed": len(batch.errors) if status == "completed" else 0,
            },
            **files,
        }

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


def _parts(request: WireRequest) -> tuple[str, str | None, bool]:
    found = _PATH.fullmatch(request.path)
    assert found is not None
    return found[1], found[2], found[3] is not None


def _fields(request: WireRequest) -> dict[str, tuple[str | None, bytes]]:
    """Return the fields of a form (RFC 7578): the file name and the bytes of each."""
    head = b"content-type: %b\r\n\r\n" % request.headers.get("content-type", "").encode()
    form = BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    fields: dict[str, tuple[str | None, bytes]] = {}
    for part in form.iter_parts():
        name: Any = part.get_param("name", header="content-disposition")
        data: Any = part.get_payload(decode=True)
        fields[str(name)] = (part.get_filename(), data)
    return fields


def _check_upload(request: WireRequest) -> WireError | None:
    fields = _fields(request)
    if fields.get("purpose", (None, b""))[1].strip() != b"batch":
        return WireError("Invalid value: 'purpose'. This server takes 'batch'.")
    return None if "file" in fields else WireError("Missing required parameter: 'file'.")


def _lines(data: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of an input file, and their problems."""
    lines: list[dict[str, Any]] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            problems.append(f"line {number}: This line is not parseable as valid JSON.")
            continue
        if not is_object(line) or line.keys() != _LINE or line["method"] != "POST":
            problems.append(f"line {number}: must contain {sorted(_LINE)}, with the method POST.")
        elif line["url"] != endpoint:
            problems.append(f"line {number}: The url {line['url']!r} does not match the endpoint.")
        elif line["custom_id"] in seen:
            problems.append(f"line {number}: The custom_id {line['custom_id']!r} is a duplicate.")
        elif line["body"].get("stream"):
            problems.append(f"line {number}: Streaming is not supported in a batch.")
        else:
            seen.add(line["custom_id"])
            lines.append(line)
    if not data.strip():
        problems.append("The file is empty.")
    return lines, problems
