"""A request to bytes. PURE: `Prepared` is a function of `TurnRequest` and `ChatConfig`.

Body = head (model, tools) + messages joined from cached bytes + tail (everything else), so that request
1,001 of a conversation encodes one item and is request 1,000 with more at its end. Messages stand where
they were pushed: nothing is hoisted or merged. Cache breakpoints are written while joining and are
no part of a cached message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, urlsplit

from msgspec import UNSET, Raw, Struct

from lutum import BadValue, Estimate, ToolDef
from lutum.abc import Prepared, ToolPlan, TurnRequest
from lutum.dialect.ids import schema_name
from lutum.dialect.json import decode_array, decode_object, encode, is_object, to_bytes
from lutum.dialect.schema import narrow
from lutum_openai import _estimate
from lutum_openai._hidden_prompt import hidden_prompt_tokens
from lutum_openai._items import OpenAIPiece, json_instruction
from lutum_openai._options import OpenAIOptions
from lutum_openai._profiles import UNKNOWN, Profile, Structured
from lutum_openai._schemas import SCHEMAS
from lutum_openai.chat import _wire
from lutum_openai.chat._items import ChatItemEncoder

DEFAULT_OUTPUT = 4_096
"""What is sent where nobody says: the smallest maximum of a model still sold (gpt-4o's first, gpt-3.5)."""

DEFAULT_REASONING_OUTPUT = 16_384
"""The same for models that reason out of the same bound; guides/reasoning recommends to leave them room."""

# OpenAI's models that reason, without showing it here (developers.openai.com, "Reasoning models").
_REASONS = re.compile(r"(^|/)(o[1-9]|gpt-[5-9])(?!.*chat)")

# Members of extra_body that turn reasoning on: OpenRouter's, and DeepSeek's, Z.ai's and Moonshot's.
_THINKING = frozenset({"reasoning", "thinking"})

# Members of extra_body that let the server read what is not in the request.
_OPEN_ENDED = ("web_search_options", "plugins", "search_parameters")
_RESPONSES_ONLY = ("summary", "include", "previous_response_id", "truncation", "server_tools")
_CACHE_CONTROL = {
    "5m": b'{"type":"ephemeral"}',
    "1h": b'{"type":"ephemeral","ttl":"1h"}',
}


class ChatConfig(Struct, frozen=True):
    """What an adapter adds to its requests: where they go and what is said where the request says nothing.

    `url` may hold `{model}`. `secret_headers` are the names of those added when a request is sent.
    """

    scope: str
    url: str
    model: str
    profile: Profile = UNKNOWN
    options: OpenAIOptions = OpenAIOptions()
    default_max_output_tokens: int | None = None
    cache_control: Literal["5m", "1h"] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[str, ...] = ()


def prepare(request: TurnRequest, config: ChatConfig) -> Prepared:
    """The bytes of a request, and what is known about it.

    Raises:
      BadValue: Chat Completions does not take it; names the field.
    """
    settings = request.settings
    model = config.model if settings.model is UNSET else settings.model
    options = options_of(request, config)
    for name in _RESPONSES_ONLY:
        if getattr(options, name) is not None:
            raise BadValue(name, "belongs to the Responses API: use OpenAIAdapter")

    encoder = ChatItemEncoder(config.scope, config.profile)
    pieces = request.transcript.memo(encoder.key, encoder)
    joined, stable = _joined(request, encoder, pieces)
    messages = [message for piece in joined for message in piece.sent]
    if not messages:
        raise BadValue("input", "has nothing to send")
    if config.cache_control is not None:
        _mark(messages, stable, len(request.transcript.head.system), _CACHE_CONTROL[config.cache_control])

    tools, reason = _tools(request, config)
    structured = structured_mode(request, config)
    forced = value_tool(request, config)
    output, dropped = b"", tuple[str, ...]()
    if request.output is not None and forced is None:
        if structured == "json_object":
            text = json_instruction(request.output.schema)
            messages.append(b'{"role":"system","content":%b}' % encode(text))
            output = b'{"type":"json_object"}'
        else:
            schema, dropped = narrow(request.output.schema, SCHEMAS)
            output = b'{"type":"json_schema","json_schema":{"name":%b,"schema":%b,"strict":true}}' % (
                encode(schema_name(request.output.name)),
                schema.encode(),
            )

    tail = dict[str, bytes]()
    if tools:
        tail["tool_choice"] = _tool_choice(request.tools, config.profile, forced)
    if output:
        tail["response_format"] = output
    bound = _bound(request, config, model, options)
    tail[config.profile.max_tokens] = encode(bound)
    tail |= _settings(request, config, options)
    for name, value in (options.extra_body or {}).items():
        tail[name] = to_bytes(f"extra_body.{name}", [value])[1:-1]

    body = [b'{"model":', encode(model)]
    if tools:
        body += [b',"tools":[', b",".join(tools), b"]"]
    body += [b',"messages":[', b",".join(messages), b"]"]
    for name, value in tail.items():
        body += [b",", encode(name), b":", value]
    body.append(b',"stream":true')
    if config.profile.usage and "stream_options" not in tail:
        body.append(b',"stream_options":{"include_usage":true}')
    body.append(b"}")

    images = sum(piece.images for piece in joined) * _estimate.image_tokens(model)
    tokens = sum(piece.tokens for piece in joined) + images
    shown = bool(tools) and request.tools.choice != "none"
    tokens += hidden_prompt_tokens(urlsplit(config.url).hostname or "", model, tools=shown)
    tokens += sum(map(_estimate.tool_tokens, tools))
    tokens += _estimate.json_tokens(output) + (_estimate.json_tokens(messages[-1]) if output else 0)
    return Prepared(
        request=request,
        url=config.url.replace("{model}", quote(model, safe="")),
        body=b"".join(body),
        model=model,
        headers=_headers(config, options),
        secret_headers=config.secret_headers,
        forms=tuple(piece.form for piece in pieces if piece.form is not None),
        inexact_reason=reason,
        estimate=Estimate(tokens, bound * _answers(options)),
        unbounded=(
            *(name for piece in joined for name in piece.unbounded),
            *(f"extra_body.{name}" for name in _OPEN_ENDED if name in (options.extra_body or {})),
        ),
        hidden_reasoning=_REASONS.search(model) is not None,
        structured="" if request.output is None else f"OpenAIOptions(structured={structured!r})",
        dropped_constraints=dropped,
    )


def options_of(request: TurnRequest, config: ChatConfig) -> OpenAIOptions:
    """The turn's options laid over the adapter's."""
    given = request.settings.option(OpenAIOptions)
    return config.options if given is None else given.over(config.options)


def structured_mode(request: TurnRequest, config: ChatConfig) -> Structured:
    """How the request asks for a structured value."""
    return options_of(request, config).structured or config.profile.structured


def value_tool(request: TurnRequest, config: ChatConfig) -> str | None:
    """The forced tool whose arguments are the structured value, where it is asked for so."""
    if request.output is None or structured_mode(request, config) != "tool":
        return None
    return schema_name(request.output.name)


def first_difference(earlier: Prepared, later: Prepared, config: ChatConfig) -> str | None:
    """JSON path in `later` of the first thing that is not as `earlier` sent it; None when it only adds."""
    mine, other = _tools(earlier.request, config)[0], _tools(later.request, config)[0]
    for i in range(max(len(mine), len(other))):
        if mine[i : i + 1] != other[i : i + 1]:
            return f"$.tools[{i}]"
    encoder = ChatItemEncoder(config.scope, config.profile)
    before = [m for p in earlier.request.transcript.memo(encoder.key, encoder) for m in p.sent]
    now = list[tuple[bytes, int]]()
    at = 0
    joined, _ = _joined(later.request, encoder, later.request.transcript.memo(encoder.key, encoder))
    own = {id(piece) for piece in later.request.transcript.memo(encoder.key, encoder)}
    for piece in joined:
        for message in piece.sent:
            if id(piece) in own:
                now.append((message, at))
            at += 1
    for i, message in enumerate(before):
        if i >= len(now):
            return f"$.messages[{at}]"
        if now[i][0] != message:
            return f"$.messages[{now[i][1]}]"
    return None


def _joined(
    request: TurnRequest, encoder: ChatItemEncoder, pieces: Sequence[OpenAIPiece]
) -> tuple[Sequence[OpenAIPiece], int | None]:
    """The pieces with the ephemerals among them, and how many messages stand before the first of those."""
    if not request.ephemerals:
        return pieces, None
    waiting = [
        (position, encoder.piece(item, f"ephemerals[{i}]", request.transcript[:0]))
        for i, (position, item) in enumerate(request.ephemerals)
    ]
    waiting.sort(key=lambda entry: entry[0])
    joined, stable, count = list[OpenAIPiece](), -1, 0
    for i, piece in enumerate(pieces):
        while waiting and waiting[0][0] <= i and not piece.answers:
            stable = count if stable < 0 else stable
            joined.append(waiting.pop(0)[1])
        joined.append(piece)
        count += len(piece.sent)
    joined += [piece for _, piece in waiting]
    return joined, count if stable < 0 else stable


def _mark(messages: list[bytes], stable: int | None, head: int, breakpoint: bytes) -> None:
    """Write `cache_control` into the last message of the head and the last before the first ephemeral.

    Claude behind a gateway caches up to there; a string content becomes a text part for it.
    """
    end = len(messages) if stable is None else stable
    places = list[int]()
    for last in (end, min(head, end)):
        for i in range(last - 1, -1, -1):
            if i in places:
                break
            if (marked := _marked(messages[i], breakpoint)) is not None:
                messages[i] = marked
                places.append(i)
                break


def _marked(message: bytes, breakpoint: bytes) -> bytes | None:
    members = decode_object(message)
    content = bytes(members.get("content", b""))
    if content.startswith(b'"'):
        if content == b'""':
            return None
        members["content"] = Raw(b'[{"type":"text","text":%b,"cache_control":%b}]' % (content, breakpoint))
        return encode(members)
    if not content.startswith(b"["):
        return None
    parts = list(map(bytes, decode_array(content)))
    for i in range(len(parts) - 1, -1, -1):
        if _wire.decode_part(parts[i]).type == "text":
            part = decode_object(parts[i])
            part["cache_control"] = Raw(breakpoint)
            parts[i] = encode(part)
            members["content"] = Raw(b"[" + b",".join(parts) + b"]")
            return encode(members)
    return None


@lru_cache(maxsize=1024)
def _tool_json(tool: ToolDef) -> bytes:
    if not _wire.TOOL_NAME.fullmatch(tool.name):
        raise BadValue(
            "tools", f"the name {tool.name!r} is too long or has more than letters, digits, _ and -"
        )
    if not is_object(tool.schema):
        raise BadValue("tools", f"the schema of {tool.name!r} is no JSON object")
    described = b',"description":' + encode(tool.description) if tool.description else b""
    return b'{"type":"function","function":{"name":%b%b,"parameters":%b}}' % (
        encode(tool.name),
        described,
        tool.schema.encode(),
    )


def _tools(request: TurnRequest, config: ChatConfig) -> tuple[tuple[bytes, ...], str | None]:
    """The entries of `tools`, the head's first, and why the request is not append-only."""
    tools, reason = _planned(request.tools)
    name = value_tool(request, config)
    if name is None or request.output is None:
        return tools, reason
    if any(tool.name == name for tool in (*request.tools.head, *request.tools.new)):
        raise BadValue("output", f"a tool is already called {name!r}")
    return (*tools, _tool_json(ToolDef(name, request.output.schema, "Gives the answer."))), reason


def _planned(plan: ToolPlan) -> tuple[tuple[bytes, ...], str | None]:
    head = tuple(map(_tool_json, plan.head))
    if not plan.new:
        return head, None
    anew = {tool.name: _tool_json(tool) for tool in plan.new}
    known = {tool.name for tool in plan.head}
    kept = tuple(anew.get(tool.name) or _tool_json(tool) for tool in plan.head)
    added = tuple(json for name, json in anew.items() if name not in known)
    return (*kept, *added), f"tools were sent that the first turn had not: {', '.join(anew)}"


def _tool_choice(plan: ToolPlan, profile: Profile, value_tool: str | None) -> bytes:
    if value_tool is not None:
        return b'"required"' if plan.choice in ("any", "tool") else _named(value_tool)
    if plan.choice == "tool" and plan.tool is not None:
        return _named(plan.tool)
    if plan.choice == "none" or plan.available == ():
        return b'"none"'
    mode = b'"required"' if plan.choice == "any" else b'"auto"'
    if plan.available is None or not profile.allowed_tools:
        return mode  # a call of a tool that is not on offer is answered by the core
    names = b",".join(map(_named, plan.available))
    return b'{"type":"allowed_tools","allowed_tools":{"mode":%b,"tools":[%b]}}' % (mode, names)


def _named(name: str) -> bytes:
    return b'{"type":"function","function":{"name":%b}}' % encode(name)


def _bound(request: TurnRequest, config: ChatConfig, model: str, options: OpenAIOptions) -> int:
    said = request.settings.max_output_tokens
    if said is not UNSET:
        return said
    if config.default_max_output_tokens is not None:
        return config.default_max_output_tokens
    reasons = (
        _REASONS.search(model) is not None
        or options.effort not in (None, "none")
        or not _THINKING.isdisjoint(options.extra_body or ())
    )
    return DEFAULT_REASONING_OUTPUT if reasons else DEFAULT_OUTPUT


def _answers(options: OpenAIOptions) -> int:
    n = (options.extra_body or {}).get("n")
    return n if isinstance(n, int) and n > 1 else 1


def _settings(request: TurnRequest, config: ChatConfig, options: OpenAIOptions) -> dict[str, bytes]:
    settings = request.settings
    found: dict[str, object] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "stop": settings.stop,
        config.profile.seed: settings.seed,
    }
    said = {
        "reasoning_effort": options.effort,
        "verbosity": options.verbosity,
        "parallel_tool_calls": options.parallel_tool_calls,
        "store": options.store,
        "metadata": options.metadata,
        "service_tier": options.service_tier,
        "prompt_cache_key": options.prompt_cache_key,
        "safety_identifier": options.safety_identifier,
        "user": options.user,
        "logprobs": None if options.top_logprobs is None else True,
        "top_logprobs": options.top_logprobs or None,
    }
    found = {name: value for name, value in found.items() if value is not UNSET and value != ()}
    found |= {name: value for name, value in said.items() if value is not None}
    return {name: encode(value) for name, value in found.items()}


def _headers(config: ChatConfig, options: OpenAIOptions) -> tuple[tuple[str, str], ...]:
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    headers |= dict(config.headers)
    headers |= {name.lower(): value for name, value in (options.extra_headers or {}).items()}
    return tuple(headers.items())
