"""Encode a request to bytes. No I/O: `Prepared` is a function of `TurnRequest` and `ChatConfig`.

A body consists of the head (model, tools), the messages, which are joined from cached bytes, and the tail
(everything else). Therefore request 1,001 of a conversation encodes only one new item, and its messages begin
with the messages of request 1,000. Messages keep the order in which they were pushed. If the host requires
it, `_arrange` joins neighbours or inserts a message between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from msgspec import UNSET, Raw, Struct

from lutum import BadValue, Estimate, ToolDef
from lutum.abc import Prepared, TurnRequest
from lutum.dialect.affinity import affinity_key
from lutum.dialect.headers import request_headers
from lutum.dialect.ids import schema_name
from lutum.dialect.json import decode_object, encode
from lutum.dialect.options import merge_extra_body
from lutum.dialect.prefix import changed_at, differs_at
from lutum.dialect.schema import dropped_of_tools, narrow
from lutum_clouds import BedrockPlace
from lutum_openai import _estimate
from lutum_openai._cloud import check_model
from lutum_openai._hidden_prompt import hidden_prompt_tokens
from lutum_openai._hosts import for_model
from lutum_openai._items import OpenAIPiece, json_instruction
from lutum_openai._options import OpenAIOptions
from lutum_openai._profiles import UNKNOWN, Profile, Structured
from lutum_openai._schemas import schemas_of
from lutum_openai._thinking import (
    default_bound,
    effort_members,
    hides_reasoning,
    is_off,
    may_reason,
    portable_effort,
)
from lutum_openai._usage import requested_rates
from lutum_openai.chat._arrange import BREAKPOINTS, arranged, late_system, mark
from lutum_openai.chat._ids import distinct
from lutum_openai.chat._items import ChatItemEncoder
from lutum_openai.chat._tools import planned, tool_choice, tool_json

# Members of extra_body that let the server read input that is not in the request.
_OPEN_ENDED = ("web_search_options", "plugins", "search_parameters")
_RESPONSES_ONLY = ("summary", "include", "previous_response_id", "truncation", "server_tools")


class ChatConfig(Struct, frozen=True):
    """The adapter's part of each request: the endpoint, and defaults for settings that the turn leaves out.

    `url` may contain `{model}`. If `by_model` is true, the model's own rules override the profile.
    `secret_headers`: names of the headers that are added when a request is sent. If `place` is set (Amazon
    Bedrock), the URL follows from the model.
    """

    scope: str
    url: str
    model: str
    profile: Profile = UNKNOWN
    host: str = ""
    by_model: bool = False
    place: BedrockPlace | None = None
    options: OpenAIOptions = OpenAIOptions()
    default_max_output_tokens: int | None = None
    cache_control: Literal["5m", "1h"] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[str, ...] = ()
    affinity: str | None = None


def prepare(request: TurnRequest, config: ChatConfig) -> Prepared:
    """Return the bytes of a request, with its estimate and warnings.

    Raises:
      BadValue: Chat Completions does not accept a setting or an item; the error names the field.
    """
    settings = request.settings
    model = config.model if settings.model is UNSET else settings.model
    check_model(config.place, model, "chat")
    options = options_of(request, config)
    for name in _RESPONSES_ONLY:
        if getattr(options, name) is not None:
            raise BadValue(name, "belongs to the Responses API: use OpenAIAdapter")

    profile = profile_for(config, model)
    encoder = ChatItemEncoder(config.scope, profile)
    pieces = distinct(request.transcript.memo(encoder.key, encoder), profile)
    joined, stable = _joined(request, encoder, pieces)
    messages = [message for piece in joined for message in piece.sent]
    if not messages:
        raise BadValue("input", "has nothing to send: Chat Completions needs at least one message")
    head = len(request.transcript.head.system)
    if config.cache_control is not None and not profile.string_content:
        mark(messages, stable, head, BREAKPOINTS[config.cache_control])

    tools, reason = _tools(request, config, profile)
    structured = structured_mode(request, config)
    forced = value_tool(request, config)
    output, instruction, dropped, lost = b"", b"", tuple[str, ...](), tuple[str, ...]()
    if request.output is not None and forced is None:
        if structured == "json_object":
            text = json_instruction(request.output.schema)
            instruction = _instruction(text, profile)
            messages.append(instruction)
            output = b'{"type":"json_object"}'
        else:
            schema, dropped = narrow(request.output.schema, schemas_of(profile))
            output = b'{"type":"json_schema","json_schema":{"name":%b,"schema":%b,"strict":true}}' % (
                encode(schema_name(request.output.name)),
                schema.encode(),
            )

    effort = _effort(request, config, options, profile, model)
    tail = dict[str, bytes]()
    if tools:
        off = is_off(options.effort, options.extra_body) or is_off(None, effort)
        choice = tool_choice(
            request.tools, profile, config.host, value_tool=forced, thinks=not off and may_reason(model)
        )
        if choice is not None:
            tail["tool_choice"] = choice
        elif request.tools.choice == "none" or request.tools.available is not None:
            left = f"tool_choice is left out: {config.host} accepts only its default"
            lost = (f"{left}, so any tool may be called",)
    if output:
        tail["response_format"] = output
    bound, implicit = _bound(request, config, model, {**effort, **(options.extra_body or {})}, options)
    if not implicit or request.limited or profile.default_output != "unlimited":
        tail[profile.max_tokens] = encode(bound)
    elif implicit:
        implicit = None
    tail |= _settings(request, profile, options)
    tail |= {name: encode(value) for name, value in effort.items()}
    members, own_headers = profile.affine(affinity_key(config.affinity, request))
    tail = {name: encode(value) for name, value in members.items()} | tail
    merge_extra_body(tail, options.extra_body)
    if profile.usage and "stream_options" in tail:
        tail["stream_options"] = _with_usage(tail["stream_options"])

    body = [b'{"model":', encode(model)]
    if tools:
        body += [b',"tools":[', b",".join(tools), b"]"]
    body += [b',"messages":[', b",".join(arranged(messages, head, profile)), b"]"]
    for name, value in tail.items():
        body += [b",", encode(name), b":", value]
    body.append(b',"stream":true')
    if profile.usage and "stream_options" not in tail:
        body.append(b',"stream_options":{"include_usage":true}')
    body.append(b"}")

    images = sum(piece.images for piece in joined) * _estimate.image_tokens(model)
    tokens = sum(piece.tokens for piece in joined) + images
    shown = bool(tools) and request.tools.choice != "none"
    tokens += hidden_prompt_tokens(urlsplit(config.url).hostname or "", model, tools=shown)
    tokens += sum(map(_estimate.tool_tokens, tools))
    tokens += _estimate.json_tokens(output) + (_estimate.json_tokens(instruction) if instruction else 0)
    return Prepared(
        request=request,
        url=_url(config, model),
        body=b"".join(body),
        model=model,
        headers=request_headers(options.extra_headers, (*config.headers, *own_headers)),
        secret_headers=config.secret_headers,
        forms=tuple(piece.form for piece in pieces if piece.form is not None),
        inexact_reason=reason,
        estimate=Estimate(tokens, bound * _answers(options)),
        unbounded=(
            *(name for piece in joined for name in piece.unbounded),
            *(f"extra_body.{name}" for name in _OPEN_ENDED if name in (options.extra_body or {})),
        ),
        hidden_reasoning=hides_reasoning(model),
        structured="" if request.output is None else f"OpenAIOptions(structured={structured!r})",
        dropped_constraints=dropped + _dropped_of_tools(request, profile),
        dropped_options=(*lost, *dict.fromkeys(words for piece in joined for words in piece.dropped)),
        implicit_bound=implicit,
        rates=requested_rates(options),
        cacheable=profile.cache_tokens is not None and tokens >= profile.cache_tokens,
    )


def _url(config: ChatConfig, model: str) -> str:
    if config.place is not None:
        return config.place.base_url + config.place.prefix_of(model) + "/chat/completions"
    return config.url.replace("{model}", quote(model, safe=""))


def options_of(request: TurnRequest, config: ChatConfig) -> OpenAIOptions:
    """Return the turn's options merged over the adapter's."""
    given = request.settings.option(OpenAIOptions)
    return config.options if given is None else given.over(config.options)


def profile_for(config: ChatConfig, model: str) -> Profile:
    """Return the host's profile with the rules of the model, or the profile that the caller chose."""
    return for_model(config.profile, config.host, model) if config.by_model else config.profile


def model_of(request: TurnRequest, config: ChatConfig) -> str:
    """Return the model of a request."""
    return config.model if request.settings.model is UNSET else request.settings.model


def structured_mode(request: TurnRequest, config: ChatConfig) -> Structured:
    """Return the method by which the request gets a structured value."""
    return options_of(request, config).structured or config.profile.structured


def value_tool(request: TurnRequest, config: ChatConfig) -> str | None:
    """Return the forced tool whose arguments are the structured value; None if that method is not used."""
    if request.output is None or structured_mode(request, config) != "tool":
        return None
    return schema_name(request.output.name)


def first_difference(earlier: Prepared, later: Prepared, config: ChatConfig) -> str | None:
    """Return the JSON path in `later` of the first entry that differs from `earlier`; None if `later` only
    adds entries."""
    profile = profile_for(config, model_of(later.request, config))
    mine, other = _tools(earlier.request, config, profile)[0], _tools(later.request, config, profile)[0]
    if (at := differs_at(mine, other)) is not None:
        return f"$.tools[{at}]"
    before, _ = _own(earlier.request, config)
    now, ephemeral = _own(later.request, config)
    if (at := changed_at(before, now)) is None:
        return None
    return f"$.messages[{at + sum(place <= at for place in ephemeral)}]"


def _own(request: TurnRequest, config: ChatConfig) -> tuple[list[bytes], list[int]]:
    """Return the messages without ephemerals, and for each ephemeral the number of messages before it."""
    profile = profile_for(config, model_of(request, config))
    encoder = ChatItemEncoder(config.scope, profile)
    pieces = distinct(request.transcript.memo(encoder.key, encoder), profile)
    messages = [message for piece in pieces for message in piece.sent]
    joined, _ = _joined(request, encoder, pieces)
    mine, places, count = {id(piece) for piece in pieces}, list[int](), 0
    for piece in joined:
        if id(piece) in mine:
            count += len(piece.sent)
        else:
            places += [count] * len(piece.sent)
    return arranged(messages, len(request.transcript.head.system), profile), places


def _joined(
    request: TurnRequest, encoder: ChatItemEncoder, pieces: Sequence[OpenAIPiece]
) -> tuple[Sequence[OpenAIPiece], int | None]:
    """Return the pieces with the ephemerals, and the number of messages before the first ephemeral."""
    if not request.ephemerals:
        return pieces, None
    head = len(request.transcript.head.system) if encoder.profile.system == "one" else 0
    waiting = [
        (max(position, head), encoder.ephemeral(item, f"ephemerals[{i}]"))
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


def _tools(
    request: TurnRequest, config: ChatConfig, profile: Profile
) -> tuple[tuple[bytes, ...], str | None]:
    """Return the entries of `tools`, those of the head first; and the reason if the turn that answers the
    request cannot be replayed exactly."""
    tools, reason = planned(request.tools, profile)
    name = value_tool(request, config)
    if name is None or request.output is None:
        return tools, reason
    if any(tool.name == name for tool in (*request.tools.head, *request.tools.new)):
        raise BadValue("output", f"a tool already has the name {name!r}; rename one of them")
    value = ToolDef(name, request.output.schema, "Gives the answer.", strict=True)
    return (*tools, tool_json(value, profile)), reason


def _dropped_of_tools(request: TurnRequest, profile: Profile) -> tuple[str, ...]:
    tools = (*request.tools.head, *request.tools.new)
    return dropped_of_tools(tools, schemas_of(profile)) if profile.strict else ()


def _instruction(text: str, profile: Profile) -> bytes:
    """Return the message with the instruction for JSON mode, which is sent for this request only."""
    if profile.system == "one":
        return late_system(text)
    return b'{"role":"system","content":%b}' % encode(text)


def _bound(
    request: TurnRequest, config: ChatConfig, model: str, body: dict[str, Any], options: OpenAIOptions
) -> tuple[int, int | None]:
    """Return the output bound, and the default bound of lutum (None if the caller set the bound)."""
    said = request.settings.max_output_tokens
    if said is not UNSET:
        return said, None
    if config.default_max_output_tokens is not None:
        return config.default_max_output_tokens, None
    bound = default_bound(model, options.effort, body)
    return bound, bound


def _effort(
    request: TurnRequest, config: ChatConfig, options: OpenAIOptions, profile: Profile, model: str
) -> dict[str, Any]:
    """Return the members that set the effort. An effort in the turn's options overrides `.effort()`."""
    level = portable_effort(request.settings)
    given = request.settings.option(OpenAIOptions)
    if level is None or (given is not None and given.effort is not None):
        return {} if options.effort is None else {"reasoning_effort": options.effort}
    return effort_members(level, profile.effort, model, config.host)


def _with_usage(stream_options: bytes) -> bytes:
    """Return the caller's `stream_options`, with `include_usage` added if it is missing."""
    if not stream_options.startswith(b"{"):
        return stream_options
    return encode({"include_usage": Raw(b"true"), **decode_object(stream_options)})


def _answers(options: OpenAIOptions) -> int:
    n = (options.extra_body or {}).get("n")
    return n if isinstance(n, int) and n > 1 else 1


def _settings(request: TurnRequest, profile: Profile, options: OpenAIOptions) -> dict[str, bytes]:
    settings = request.settings
    if settings.stop is not UNSET and profile.stops is not None and len(settings.stop) > profile.stops:
        raise BadValue(
            "stop", f"has {len(settings.stop)} sequences; the host accepts at most {profile.stops}"
        )
    found: dict[str, object] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "stop": settings.stop,
        profile.seed: settings.seed,
    }
    said = {
        "frequency_penalty": options.frequency_penalty,
        "presence_penalty": options.presence_penalty,
        "logit_bias": options.logit_bias,
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
