"""Encode a request to bytes. No I/O: `Prepared` is a function of `TurnRequest` and `ResponsesConfig`.

A body consists of the head (model, tools), the input items, which are joined from cached pieces, and the tail
(everything else). Therefore request 1,001 of a conversation encodes only one new item, and its input begins
with the input of request 1,000. System and developer items are input items at their place. `instructions` is
never used, because the API does not keep it with the conversation.

`tools` are those of the transcript's first turn. `tool_choice` (`allowed_tools`) limits which of them may be
called. New tools are sent in an `additional_tools` item at the end of the input. The item is kept as the
turn's preface and sent again in all later requests. For hosts that do not support these two features, new
tools are appended to `tools`. The turn that answers such a request cannot be replayed exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from lutum import BadValue, Estimate, ToolDef, Transcript
from lutum.abc import Prepared, ReplayForm, SchemaDialect, TurnRequest
from lutum.dialect.affinity import affinity_key
from lutum.dialect.headers import request_headers
from lutum.dialect.ids import schema_name
from lutum.dialect.json import encode, is_object, same_value, to_bytes
from lutum.dialect.options import merge_extra_body
from lutum.dialect.prefix import changed_at
from lutum.dialect.schema import dropped_of_tools, narrow
from lutum_openai import _estimate
from lutum_openai._cloud import check_model
from lutum_openai._endpoint import OpenAIEndpoint
from lutum_openai._hidden_prompt import hidden_prompt_tokens
from lutum_openai._hosts import for_model, host_row
from lutum_openai._items import OpenAIPiece, json_instruction, message_tokens
from lutum_openai._options import OpenAIOptions
from lutum_openai._profiles import UNKNOWN, Profile
from lutum_openai._schemas import schemas_of
from lutum_openai._thinking import default_bound, openai_effort, portable_effort
from lutum_openai._usage import requested_rates
from lutum_openai.responses import _wire
from lutum_openai.responses._arrange import arranged
from lutum_openai.responses._ids import distinct
from lutum_openai.responses._items import ResponsesItemEncoder

_STREAM = b',"stream":true}'
_NOTHING = Transcript()
_ANY = Profile(system="any")
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# Members of a request that refer to input of unknown size.
_UNBOUNDED_MEMBERS = ("conversation", "prompt", "previous_response_id")


_CHAT_ONLY = ("frequency_penalty", "presence_penalty", "logit_bias")


class ResponsesConfig(Struct, frozen=True):
    """The adapter's part of each request: the endpoint, and defaults for settings that the turn leaves out.

    `headers` contain no secrets. `secret_headers`: names of headers that are added when a request is sent.
    """

    scope: str
    endpoint: OpenAIEndpoint
    model: str
    options: OpenAIOptions = OpenAIOptions()
    default_max_output_tokens: int | None = None
    profile: Profile = UNKNOWN
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[str, ...] = ()
    affinity: str | None = None


class _Input:
    """The input items of a request, in order, with their replay forms, tokens and declared tools."""

    def __init__(self) -> None:
        self.items = list[bytes]()
        self.forms = list[ReplayForm]()
        self.tokens = 0
        self.images = 0
        self.unbounded = list[str]()
        self.dropped = dict[str, None]()
        self.declared = dict[str, bytes]()

    def run(self, pieces: Sequence[OpenAIPiece], ephemerals: Sequence[tuple[int, OpenAIPiece]]) -> None:
        """Add the pieces of items and ephemerals. No ephemeral is put between a call and its result."""
        waiting = list(ephemerals)
        for i, piece in enumerate(pieces):
            while waiting and waiting[0][0] <= i and not piece.answers:
                self.add(waiting.pop(0)[1])
            self.add(piece)
            if piece.form is not None:
                self.forms.append(piece.form)
        for _, piece in waiting:
            self.add(piece)

    def add(self, piece: OpenAIPiece) -> None:
        self.items += piece.sent
        self.tokens += piece.tokens
        self.images += piece.images
        self.unbounded += piece.unbounded
        self.dropped.update(dict.fromkeys(piece.dropped))
        for item in piece.preface:
            self.declared.update(_declared(item))


class _Tools(Struct):
    """The encoded tools: the entries of `tools`, the tools at the end of the input, and the choice."""

    entries: list[bytes]
    added: list[bytes]
    choice: bytes | None
    inexact_reason: str | None


CACHE_TOKENS = 1024
"""Tokens of the shortest prefix that OpenAI caches (guides/prompt-caching)."""


def options_of(request: TurnRequest, config: ResponsesConfig) -> OpenAIOptions:
    """Return the turn's options merged over the adapter's."""
    given = request.settings.option(OpenAIOptions)
    return config.options if given is None else given.over(config.options)


def stores(options: OpenAIOptions) -> bool:
    """Return whether the provider is to store the response. The default is False: lutum does not need it."""
    return options.store is True


def value_tool(request: TurnRequest, config: ResponsesConfig) -> str | None:
    """Return the forced tool whose arguments are the structured value; None if that method is not used."""
    if request.output is None or options_of(request, config).structured != "tool":
        return None
    return schema_name(request.output.name)


def prepare(request: TurnRequest, config: ResponsesConfig) -> Prepared:
    """Encode a request.

    Raises:
      BadValue: the API does not accept a setting or an item; the error names the field.
    """
    settings, options = request.settings, options_of(request, config)
    model = config.model if settings.model is UNSET else settings.model
    check_model(config.endpoint.place, model, "responses")
    for name in _CHAT_ONLY:
        if getattr(options, name) is not None:
            raise BadValue(name, "belongs to Chat Completions: use OpenAIChatAdapter")
    for field in ("stop", "seed"):
        if getattr(settings, field) not in (UNSET, ()):
            raise BadValue(field, "the Responses API has no such setting; Chat Completions has")
    encoder = ResponsesItemEncoder(config.scope, model)
    pieces = distinct(request.transcript.memo(encoder.key, encoder))
    ephemerals = [
        (at, encoder.piece(item, f"ephemerals[{i}]", _NOTHING))
        for i, (at, item) in enumerate(request.ephemerals)
    ]
    input = _Input()
    input.run(pieces, ephemerals)
    for tool in (*request.tools.head, *request.tools.new):
        if len(tool.name) > config.profile.tool_name:
            raise BadValue(
                "tools", f"the name {tool.name!r} is longer than {config.profile.tool_name} characters"
            )
    tools = _tools(request, config, options, input.declared)
    preface = b""
    if tools.added:
        added = b'{"type":"additional_tools","role":"developer","tools":[%b]}' % b",".join(tools.added)
        input.items.append(added)
        preface = b"[" + added + b"]"
    input_tokens = input.tokens + input.images * _estimate.image_tokens(model)
    if request.output is not None and options.structured == "json_object":
        text = json_instruction(request.output.schema)
        said = b'{"type":"message","role":"system","content":%b}' % encode(text)
        input.items.append(said)
        input_tokens += message_tokens(said)
    head = sum(len(piece.sent) for piece in pieces[: len(request.transcript.head.system)])
    items = arranged(input.items, head, _template_rules(config, model))
    effort = _effort(request, options, model)
    limit, implicit = _output_limit(request, config, options, model, effort)
    bounded = implicit is None or request.limited or config.profile.default_output != "unlimited"
    tail, format_tokens, dropped = _tail(request, config, options, model, limit if bounded else None, effort)
    if tools.choice is not None:
        tail["tool_choice"] = tools.choice
    if options.parallel_tool_calls is not None:
        tail["parallel_tool_calls"] = encode(options.parallel_tool_calls)
    if (key := affinity_key(config.affinity, request)) is not None:
        member = "session_id" if config.profile.affinity == "session_id" else "prompt_cache_key"
        tail.setdefault(member, encode(key))
    merge_extra_body(tail, options.extra_body)
    server_tools = [_server_tool_name(tool) for tool in options.server_tools or ()]
    unbounded = [f"server_tools[{i}] ({name})" for i, name in enumerate(server_tools)] + input.unbounded
    unbounded += [name for name in _UNBOUNDED_MEMBERS if name in tail]
    entries = (*tools.entries, *tools.added)
    tool_tokens = sum(map(_estimate.tool_tokens, entries))
    shown = bool(entries) and request.tools.choice != "none"
    hidden = hidden_prompt_tokens(config.endpoint.host, model, tools=shown)
    tokens = hidden + input_tokens + tool_tokens + format_tokens
    return Prepared(
        request=request,
        url=config.endpoint.url("/responses", model),
        body=_body(model, tools.entries, items, tail),
        model=model,
        headers=request_headers(options.extra_headers, config.headers),
        secret_headers=config.secret_headers,
        forms=tuple(input.forms),
        inexact_reason=tools.inexact_reason,
        preface=preface,
        estimate=Estimate(tokens, limit),
        unbounded=tuple(unbounded),
        hidden_reasoning=_hidden(model, options),
        structured=_structured(request, options),
        dropped_constraints=dropped
        + dropped_of_tools((*request.tools.head, *request.tools.new), schemas_of(config.profile)),
        dropped_options=tuple(input.dropped),
        implicit_bound=implicit if bounded else None,
        rates=requested_rates(options),
        cacheable=tokens >= CACHE_TOKENS,
    )


def _template_rules(config: ResponsesConfig, model: str) -> Profile:
    """Return the rules of the model's chat template, for servers that apply the template themselves.

    A host whose row has no default port is a service. Services arrange messages for each model themselves.
    """
    row = host_row(config.endpoint.host)
    if row is not None and not row.ports:
        return _ANY
    return for_model(config.profile, config.endpoint.host, model)


def first_difference(earlier: Prepared, later: Prepared, config: ResponsesConfig) -> str | None:
    """Return the JSON path in `later` of the first tool or input item that differs from `earlier`.

    Returns None if `later` only adds entries. Ephemerals, the instruction for JSON mode and everything after
    the input are not compared."""
    before, now = _compared(earlier, config), _compared(later, config)
    for name in ("tools", "input"):
        old, new = before[name], now[name]
        if name == "tools" and len(new) > len(old):
            return f"$.tools[{len(old)}]"
        if (at := changed_at(old, new)) is not None:
            return f"$.{name}[{at}]"
    return None


def _compared(prepared: Prepared, config: ResponsesConfig) -> dict[str, list[object]]:
    request = msgspec.structs.replace(prepared.request, ephemerals=())
    if options_of(request, config).structured == "json_object":  # the instruction is for one request only
        request = msgspec.structs.replace(request, output=None)
    if request != prepared.request:
        prepared = prepare(request, config)
    body: dict[str, Any] = json.loads(prepared.body, parse_float=str, parse_int=str)
    return {name: body.get(name, []) for name in ("tools", "input")}


def _body(model: str, tools: Sequence[bytes], items: Sequence[bytes], tail: Mapping[str, bytes]) -> bytes:
    out = [b'{"model":', encode(model)]
    if tools:
        out += [b',"tools":[', b",".join(tools), b"]"]
    out += [b',"input":[', b",".join(items), b"]"]
    out += [b",%b:%b" % (encode(name), value) for name, value in tail.items()]
    out.append(_STREAM)
    return b"".join(out)


def _effort(request: TurnRequest, options: OpenAIOptions, model: str) -> str | None:
    """Return the effort: from the turn's options, else from its builder, else from the adapter's options."""
    level = portable_effort(request.settings)
    given = request.settings.option(OpenAIOptions)
    if level is None or (given is not None and given.effort is not None):
        return options.effort
    return openai_effort(level, model)


def _output_limit(
    request: TurnRequest, config: ResponsesConfig, options: OpenAIOptions, model: str, effort: str | None
) -> tuple[int, int | None]:
    """Return the output bound, and the default bound of lutum (None if the caller set the bound)."""
    asked = request.settings.max_output_tokens
    limit = config.default_max_output_tokens if asked is UNSET else asked
    if limit is None:
        limit = default_bound(model, effort, options.extra_body)
        return limit, limit
    if limit < _wire.MIN_OUTPUT_TOKENS and (config.endpoint.own or config.endpoint.azure):
        raise BadValue(
            "max_output_tokens", f"{limit} is below {_wire.MIN_OUTPUT_TOKENS}, the minimum of the API"
        )
    return limit, None


def _hidden(model: str, options: OpenAIOptions) -> bool:
    if options.effort is not None:
        return options.effort != "none"
    return bool(_wire.reasons(model))


def _tail(
    request: TurnRequest,
    config: ResponsesConfig,
    options: OpenAIOptions,
    model: str,
    limit: int | None,
    effort: str | None,
) -> tuple[dict[str, bytes], int, tuple[str, ...]]:
    """Return the members after the input in a fixed order, the tokens of the output schema that they contain,
    and the constraints that were dropped from this schema."""
    settings = request.settings
    tail: dict[str, bytes] = {} if limit is None else {"max_output_tokens": encode(limit)}
    if settings.temperature is not UNSET:
        tail["temperature"] = encode(settings.temperature)
    if settings.top_p is not UNSET:
        tail["top_p"] = encode(settings.top_p)
    text, dropped = _text(request, config, options)
    if text:
        tail["text"] = b"{%b}" % b",".join(b'"%b":%b' % (k.encode(), v) for k, v in text.items())
    reasoning = {"effort": effort, "summary": options.summary}
    if said := {name: value for name, value in reasoning.items() if value is not None}:
        tail["reasoning"] = encode(said)
    store = stores(options)
    include = list[str]()
    if not store and _wire.reasons(model):
        include.append(_ENCRYPTED)
    if options.top_logprobs is not None:
        include.append(_LOGPROBS)
    include += [value for value in options.include or () if value not in include]
    if include:
        tail["include"] = encode(include)
    tail["store"] = encode(store)
    for name in (
        "previous_response_id",
        "prompt_cache_key",
        "service_tier",
        "metadata",
        "truncation",
        "top_logprobs",
        "safety_identifier",
        "user",
    ):
        if (value := getattr(options, name)) is not None:
            tail[name] = encode(value)
    return tail, _estimate.json_tokens(tail["text"]) if text else 0, dropped


def _structured(request: TurnRequest, options: OpenAIOptions) -> str:
    return (
        "" if request.output is None else f"OpenAIOptions(structured={options.structured or 'json_schema'!r})"
    )


def _text(
    request: TurnRequest, config: ResponsesConfig, options: OpenAIOptions
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    text, dropped = dict[str, bytes](), tuple[str, ...]()
    if request.output is not None and value_tool(request, config) is None:
        if options.structured == "json_object":
            text["format"] = b'{"type":"json_object"}'
        else:
            schema, dropped = narrow(request.output.schema, schemas_of(config.profile))
            text["format"] = b'{"type":"json_schema","name":%b,"schema":%b,"strict":true}' % (
                encode(schema_name(request.output.name)),
                schema.encode(),
            )
    if options.verbosity is not None:
        text["verbosity"] = encode(options.verbosity)
    return text, dropped


# --- tools ---------------------------------------------------------------------------------------


def _tools(
    request: TurnRequest, config: ResponsesConfig, options: OpenAIOptions, declared: Mapping[str, bytes]
) -> _Tools:
    plan, schemas = request.tools, schemas_of(config.profile)
    server = [to_bytes(f"server_tools[{i}]", tool) for i, tool in enumerate(options.server_tools or ())]
    head = {tool.name: tool_json(tool, schemas) for tool in plan.head}
    wanted = {tool.name: tool_json(tool, schemas) for tool in plan.new}
    new = {
        name: entry
        for name, entry in wanted.items()
        if name not in declared or not same_value(declared[name], entry)
    }
    reason: str | None = None
    if changed := [name for name in new if name in head]:
        reason = f"tool {changed[0]!r} was changed in the middle of the conversation"
        head.update({name: new.pop(name) for name in changed})
    added = list[bytes]()
    if new and config.endpoint.own:
        added = list(new.values())
    elif new:
        if request.transcript.head.tools is not None:
            reason = reason or f"tool {next(iter(new))!r} was added in the middle of the conversation"
        head.update(new)
    names = [*head, *(name for name in (*declared, *wanted) if name not in head)]
    value = value_tool(request, config)
    if value is not None and request.output is not None:
        entry = tool_json(ToolDef(value, request.output.schema, "Gives the answer.", strict=True), schemas)
        choice: bytes | None = b'{"type":"function","name":%b}' % encode(value)
        return _Tools([*server, *head.values(), entry], added, choice, reason)
    choice = _choice(request, config, options, names, (*plan.head, *plan.new))
    return _Tools([*server, *head.values()], added, choice, reason)


def _choice(
    request: TurnRequest,
    config: ResponsesConfig,
    options: OpenAIOptions,
    names: Sequence[str],
    planned: Iterable[ToolDef],
) -> bytes | None:
    """Return `tool_choice`; None if the API's default is used."""
    plan = request.tools
    if plan.choice == "tool":
        return b'{"type":"function","name":%b}' % encode(plan.tool)
    if not names:
        return None
    selects = config.endpoint.own or config.endpoint.azure
    server = [_server_tool_choice(tool) for tool in options.server_tools or ()]
    if plan.choice == "none":
        return _allowed("auto", server) if server and selects else b'"none"'
    # The model still knows tools that an earlier turn added. It may call only those that this request offers.
    offered = [tool.name for tool in planned] if plan.available is None else list(plan.available)
    mode = "required" if plan.choice == "any" else "auto"
    if mode == "required" and len(offered) == 1 and not server:
        return b'{"type":"function","name":%b}' % encode(offered[0])
    if set(names) - set(offered) and selects:
        return _allowed(mode, [*server, *({"type": "function", "name": name} for name in offered)])
    # Without `allowed_tools` the model may call a tool that was not offered. Such a call becomes an issue.
    return b'"required"' if mode == "required" else None


def _allowed(mode: str, tools: list[dict[str, str]]) -> bytes:
    if not tools:
        return b'"none"'
    return encode({"type": "allowed_tools", "mode": mode, "tools": tools})


@lru_cache(maxsize=1024)
def tool_json(tool: ToolDef, schemas: SchemaDialect) -> bytes:
    """Return a tool's entry. A schema that the caller wrote is sent unchanged and is not strict, because the
    API would make every optional property required.

    Raises:
      BadValue: the API does not accept the name, or the schema is not a JSON object.
    """
    if not _wire.TOOL_NAME.fullmatch(tool.name):
        raise BadValue(
            "tools", f"the name {tool.name!r} is not accepted: use 1 to 128 letters, digits, _ and -"
        )
    if not is_object(tool.schema):
        raise BadValue("tools", f"the schema of {tool.name!r} is not a JSON object")
    described = b',"description":' + encode(tool.description) if tool.description else b""
    schema = narrow(tool.schema, schemas)[0] if tool.strict else tool.schema.strip()
    return b'{"type":"function","name":%b%b,"parameters":%b,"strict":%b}' % (
        encode(tool.name),
        described,
        schema.encode(),
        b"true" if tool.strict else b"false",
    )


class _AdditionalTools(Struct):
    type: str = ""
    tools: list[msgspec.Raw] = []


class _NamedTool(Struct):
    name: str = ""


_decode_additional = msgspec.json.Decoder(_AdditionalTools).decode
_decode_named = msgspec.json.Decoder(_NamedTool).decode


def _declared(item: bytes) -> dict[str, bytes]:
    """Return the tools that an `additional_tools` item adds, by name."""
    return {_decode_named(tool).name: bytes(tool) for tool in _decode_additional(item).tools}


def _server_tool(tool: object) -> dict[str, Any]:
    found: Any = json.loads(tool) if isinstance(tool, str) else tool
    return cast("dict[str, Any]", found) if isinstance(found, Mapping) else {}


def _server_tool_name(tool: object) -> str:
    return str(_server_tool(tool).get("type", "?"))


def _server_tool_choice(tool: object) -> dict[str, str]:
    members = _server_tool(tool)
    return {name: str(members[name]) for name in ("type", "server_label", "name") if name in members}
