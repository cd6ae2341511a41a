"""A trace in OpenTelemetry's terms, after its GenAI conventions (semantic conventions 1.41, incubating).

Spans are handed over when they are over, with the times they had: nothing is current anywhere while a turn
runs, so no context token is ever held across a yield, and a parent is a parent whatever task it ran in.

The names are written down here because those of the conventions' package are all deprecated as moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from lutum._values.errors import UsageError
from lutum.trace._file import plain
from lutum.trace._say import label
from lutum.trace._tree import Span, SpanTree

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OTelSpan, SpanKind, TracerProvider

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"

# gen_ai.provider.name: a well-known value where there is one.
_PROVIDERS: Final = {
    "claude": "anthropic",
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
_CONTENT: Final = {
    "output": "gen_ai.output.messages",
    "tools": "gen_ai.tool.definitions",
    "arguments": "gen_ai.tool.call.arguments",
    "result": "gen_ai.tool.call.result",
}


def export(trace: SpanTree, provider: TracerProvider | None, *, content: bool) -> None:
    """Start and end an OpenTelemetry span for each span that ended, parents first, children ended first.

    Raises:
      UsageError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace as otel
    except ImportError:
        raise UsageError("to_otel: OpenTelemetry is not installed: pip install 'lutum[otel]'") from None
    tracer = otel.get_tracer("lutum", tracer_provider=provider, schema_url=SCHEMA_URL)

    def at(moment: float) -> int:
        return round((trace.wall + moment - trace.started) * 1e9)

    begun: list[tuple[OTelSpan, float]] = []
    waiting: list[tuple[Span, Any]] = [(root, None) for root in reversed(trace.roots)]
    while waiting:
        span, context = waiting.pop()
        if span.ended is not None:
            opened = tracer.start_span(
                _name(span),
                context=context,
                kind=_kind(otel.SpanKind, span),
                attributes=attributes(span, content=content),
                start_time=at(span.started),
            )
            for note in span.notes:
                opened.add_event(note.name, _own(note.fields), at(note.at))
            if span.status == "error":
                opened.set_status(
                    otel.Status(otel.StatusCode.ERROR, span.fields.get("message") or span.error)
                )
            context = otel.set_span_in_context(opened, context)
            begun.append((opened, span.ended))
        waiting += [(child, context) for child in reversed(span.children)]
    for opened, ended in reversed(begun):
        opened.end(at(ended))


def attributes(span: Span, *, content: bool) -> dict[str, Any]:
    """A span's fields under their conventional names; what has none is `lutum.` and its own."""
    fields = dict(span.fields)
    found: dict[str, Any] = {}
    if "error" in fields:
        found["error.type"] = fields.pop("error")
    private = ["message", "curve", "input", *_CONTENT]
    if span.name == "turn":
        found |= _turn(fields, span) | _renamed(fields, _TURN)
    elif span.name == "request":
        found |= _renamed(fields, _REQUEST) | _server(span)
    elif span.name == "tool":
        found |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"}
        found |= _renamed(fields, _TOOL)
    if content:
        found |= _messages(fields)
        found |= {_CONTENT[name]: _json(fields[name]) for name in _CONTENT if name in fields}
    if span.name in ("turn", "attempt", "request", "tool", "hook"):
        for name in private:
            fields.pop(name, None)
    found |= _own(fields)
    return found


def _name(span: Span) -> str:
    if span.name == "turn":
        operation = _OPERATIONS.get(str(span.fields.get("kind")), "chat")
        return f"{operation} {span.fields.get('model', '')}".rstrip()
    if span.name == "tool":
        return f"execute_tool {span.fields.get('tool', '')}".rstrip()
    if span.name == "request":
        return str(span.fields.get("method") or label(span))
    return span.name


def _kind(kinds: type[SpanKind], span: Span) -> SpanKind:
    return kinds.CLIENT if span.name in ("turn", "request") else kinds.INTERNAL


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
    requests = (request for request in span.find("request") if "url" in request.fields)
    first = next(requests, None)
    return found | ({} if first is None else _server(first))


def _server(request: Span) -> dict[str, Any]:
    try:
        parts = urlsplit(str(request.fields.get("url", "")))
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return {}
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname} | ({} if port is None else {"server.port": port})


def _renamed(fields: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Takes out what has a conventional name."""
    return {names[name]: _value(fields.pop(name)) for name in list(fields) if name in names}


def _messages(fields: dict[str, Any]) -> dict[str, Any]:
    """The input, system instructions apart where they stand before everything else."""
    said = _items(fields.get("input", ()))
    if not said or not all(isinstance(message, dict) for message in said):
        return {}  # a file may hold anything
    head = 0
    while head < len(said) and said[head].get("role") == "system":
        head += 1
    found = {"gen_ai.input.messages": _json(said[head:])}
    if head:
        parts = [part for message in said[:head] for part in message.get("parts", ())]
        found["gen_ai.system_instructions"] = _json(parts)
    return found


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]  # isinstance gives no parameters


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"lutum.{name}": _value(value) for name, value in fields.items()}


def _value(value: Any) -> Any:
    """What an attribute may hold: one plain value, or a list of texts."""
    if isinstance(value, str | bool | int | float):
        return plain(value)
    if isinstance(value, list | tuple):
        items = _items(value)
        if items and all(isinstance(item, str) for item in items):
            return [plain(item) for item in items]
    return _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(plain(value)).decode()
