"""Conversion of a span's fields to the names of OpenTelemetry's GenAI conventions (version 1.41, incubating).

The names are literals here. In the conventions' package, all of them are marked as deprecated, because they
have been moved. Two names are not from the conventions: for a known cost in US dollars, Logfire documents
`operation.cost` and Langfuse `gen_ai.usage.cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from lutum._schema.partial_json import is_array, is_object
from lutum.trace._file import plain
from lutum.trace._say import label
from lutum.trace._tree import Span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanKind

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"

CONTENT_LIMIT: Final = 65_536
"""The largest number of characters of one attribute with content."""

OWN_NAMES: Final = frozenset({"turn", "attempt", "request", "wait", "tool", "hook"})
"""The names of lutum's own spans. Other spans belong to the user, and their attributes are exported
unchanged."""

INHERITED: Final = ("session.id", "user.id", "gen_ai.conversation.id")
"""Attributes that all spans below a user's span get from that span, because backends group spans by them."""

# gen_ai.provider.name: the well-known values.
_PROVIDERS: Final = {
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "openai": "openai",
    "openai-chat": "openai",
    "openai-completions": "openai",
}
_OPERATIONS: Final = {"completion": "text_completion", "structured_completion": "text_completion"}

_TURN: Final = {
    "model": "gen_ai.request.model",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "stop": "gen_ai.request.stop_sequences",
    "response_model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "first_event": "gen_ai.response.time_to_first_chunk",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
_REQUEST: Final = {
    "method": "http.request.method",
    "url": "url.full",
    "status": "http.response.status_code",
    "sent": "http.request.body.size",
    "received": "http.response.body.size",
}
_TOOL: Final = {"tool": "gen_ai.tool.name", "call": "gen_ai.tool.call.id"}
_PRIVATE: Final = ("message", "curve", "input", "output", "tools", "arguments", "result")
_FINISH: Final = {"tool_calls": "tool_call", "paused": "stop"}


def name_of(span: Span) -> str:
    """Return the name of a span: `chat MODEL`, `execute_tool NAME`, an HTTP method, or the user's name."""
    if span.name == "turn":
        operation = _OPERATIONS.get(str(span.fields.get("kind")), "chat")
        return f"{operation} {span.fields.get('model', '')}".rstrip()
    if span.name == "tool":
        return f"execute_tool {span.fields.get('tool', '')}".rstrip()
    if span.name == "request":
        return str(span.fields.get("method") or label(span))
    return span.name


def kind_of(kinds: type[SpanKind], span: Span) -> SpanKind:
    """Return the kind of a span: CLIENT for a turn and a request."""
    return kinds.CLIENT if span.name in ("turn", "request") else kinds.INTERNAL


def attributes(span: Span, *, content: bool, limit: int = CONTENT_LIMIT) -> dict[str, Any]:
    """Return a span's fields under their conventional names; other fields get the prefix `lutum.`.

    Fields of a user's span keep their names. With `content`, prompts and answers are included, each attribute
    with at most `limit` characters.
    """
    fields = dict(span.fields)
    found = _inherited(span)
    if "error" in fields:
        found["error.type"] = fields.pop("error")
        fields.pop("message", None)  # exported as the description of the status
    if span.name not in OWN_NAMES:
        return found | {name: value_of(value) for name, value in fields.items()}
    if span.name == "turn":
        found |= _turn(fields, span) | _renamed(fields, _TURN)
    elif span.name == "request":
        found |= _renamed(fields, _REQUEST) | server_of(span)
    elif span.name == "tool":
        found |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"}
        found |= _renamed(fields, _TOOL)
    if content:
        found |= _content(fields, limit)
    for name in _PRIVATE:
        fields.pop(name, None)
    return found | own(fields)


def own(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add the prefix `lutum.` to the fields of lutum's own spans.

    A name with a dot is from the conventions or from the user, and does not change.
    """
    return {name if "." in name else f"lutum.{name}": value_of(value) for name, value in fields.items()}


def server_of(request: Span) -> dict[str, Any]:
    """Return the host and the port of a request."""
    try:
        parts = urlsplit(str(request.fields.get("url", "")))
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return {}
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname} | ({} if port is None else {"server.port": port})


def value_of(value: Any) -> Any:
    """Convert a value to a type that attributes may have: a plain value, or a list of strings."""
    if isinstance(value, str | bool | int | float):
        return plain(value)
    items = _items(value)
    if items and all(isinstance(item, str) for item in items):
        return [plain(item) for item in items]
    return _json(value)


def bounded(value: Any, limit: int) -> str:
    """Return JSON of at most `limit` characters. First long strings are cut, then the first items are
    removed."""
    text = _json(value)
    for size in (4_096, 1_024, 256, 64):
        if len(text) <= limit:
            return text
        text = _json(_shortened(value, size))
    if len(text) <= limit:
        return text
    items = [_shortened(item, 64) for item in _items(value)]
    while items and len(text) > limit:
        del items[: max(1, len(items) // 4)]
        text = _json(items)
    return text if len(text) <= limit else _json(f"left out: more than {limit} characters")


def _inherited(span: Span) -> dict[str, Any]:
    """Return the attributes that a span gets from the user's spans around it. The nearest span has
    priority."""
    found: dict[str, Any] = {}
    around = span.parent
    while around is not None:
        if around.name not in OWN_NAMES:
            for name in INHERITED:
                if name in around.fields and name not in found:
                    found[name] = value_of(around.fields[name])
        around = around.parent
    return found


def _turn(fields: dict[str, Any], span: Span) -> dict[str, Any]:
    kind, adapter = str(fields.pop("kind", "")), str(fields.pop("adapter", ""))
    found: dict[str, Any] = {
        "gen_ai.operation.name": _OPERATIONS.get(kind, "chat"),
        "gen_ai.provider.name": _PROVIDERS.get(adapter, adapter or "unknown"),
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json" if kind.startswith("structured") else "text",
    }
    if "finish_reason" in fields:
        found["gen_ai.response.finish_reasons"] = [str(fields.pop("finish_reason"))]
    if (cost := _number(fields.get("cost_usd"))) is not None:
        found |= {"operation.cost": cost, "gen_ai.usage.cost": cost}
    requests = (request for request in span.find("request") if "url" in request.fields)
    first = next(requests, None)
    return found | ({} if first is None else server_of(first))


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _renamed(fields: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Remove the fields that have a name in the conventions. Return them under these names."""
    return {names[name]: value_of(fields.pop(name)) for name in list(fields) if name in names}


def _content(fields: dict[str, Any], limit: int) -> dict[str, Any]:
    found = _messages(fields, limit)
    if answers := [_message(answer) for answer in _items(fields.get("output")) if is_object(answer)]:
        found["gen_ai.output.messages"] = bounded(answers, limit)
    if tools := [_definition(tool) for tool in _items(fields.get("tools")) if is_object(tool)]:
        found["gen_ai.tool.definitions"] = bounded(tools, limit)
    for name in ("arguments", "result"):
        if name in fields:
            found[f"gen_ai.tool.call.{name}"] = bounded(_decoded(fields[name]), limit)
    return found


def _messages(fields: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the attributes for the input. System instructions at its start are a separate attribute."""
    given = _items(fields.get("input"))
    said = [_message(message) for message in given if is_object(message)]
    if not said or len(said) < len(given):
        return {}  # a trace from a file may contain any value
    head = 0
    while head < len(said) and said[head].get("role") == "system":
        head += 1
    found = {"gen_ai.input.messages": bounded(said[head:], limit)}
    if head:
        parts = [part for message in said[:head] for part in _items(message.get("parts"))]
        found["gen_ai.system_instructions"] = bounded(parts, limit)
    return found


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in the shape of the conventions, with decoded arguments and responses."""
    parts = [_part(part) if is_object(part) else part for part in _items(message.get("parts"))]
    made = {**message, "parts": parts}
    if "finish_reason" in made:
        made["finish_reason"] = _FINISH.get(str(made["finish_reason"]), made["finish_reason"])
    return made


def _part(part: dict[str, Any]) -> dict[str, Any]:
    name = {"tool_call": "arguments", "tool_call_response": "response"}.get(str(part.get("type")))
    return part if name is None or name not in part else {**part, name: _decoded(part[name])}


def _definition(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool in the shape of the conventions, with the sent schema as its `parameters`."""
    made = {"type": "function", **{name: tool[name] for name in ("name", "description") if tool.get(name)}}
    schema = _decoded(tool.get("parameters", tool.get("schema", "{}")))
    return {**made, "parameters": schema} if is_object(schema) else made


def _decoded(value: Any) -> Any:
    """Decode a string with a JSON object or list; return any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        made = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value
    return made if is_object(made) or is_array(made) else value


def _shortened(value: Any, size: int) -> Any:
    if isinstance(value, str):
        rest = len(value) - size
        return value if rest <= 0 else f"{value[:size]}... ({rest:,} more characters)"
    if is_object(value):
        return {name: _shortened(item, size) for name, item in value.items()}
    return [_shortened(item, size) for item in _items(value)] if isinstance(value, list | tuple) else value


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]  # isinstance gives no parameters


def _json(value: Any) -> str:
    return msgspec.json.encode(plain(value)).decode()
