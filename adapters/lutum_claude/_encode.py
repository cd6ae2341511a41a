"""A request to bytes. PURE: `Prepared` is a function of `TurnRequest` and `ClaudeConfig`.

Body = head (model, tools, system) + messages joined from cached pieces + tail (everything else), so that
request 1,001 of a conversation encodes one item and is request 1,000 with more at its end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from lutum import BadValue, CommittedTurn, Estimate, Item, Message
from lutum.abc import Prepared, TurnRequest
from lutum.dialect.json import encode, to_bytes
from lutum.dialect.prefix import changed_path, differs_at
from lutum.dialect.schema import narrow
from lutum_claude import _estimate, _models, _request_options, _tools, _wire
from lutum_claude._ids import distinct
from lutum_claude._items import ClaudeItemEncoder, ClaudePiece, ContentBlock, system_texts
from lutum_claude._options import ClaudeOptions
from lutum_claude._request_body import BREAKPOINT, Ephemerals, Join, JoinSpec, mark, note
from lutum_claude._usage import requested_rates

_STREAM = b',"stream":true}'


class ClaudeConfig(Struct, frozen=True):
    """What an adapter adds to its requests: where they go and what is said where the request says nothing.

    `url` may hold `{model}`. `secret_headers` are the names of those added when a request is sent.
    """

    scope: str
    url: str
    model: str
    version: str = _wire.VERSION
    vertex: bool = False
    options: ClaudeOptions = ClaudeOptions()
    default_max_output_tokens: int | None = None
    secret_headers: tuple[str, ...] = ()


def prepare(request: TurnRequest, config: ClaudeConfig) -> Prepared:
    """The bytes of a request, and what is known about it.

    Raises:
      BadValue: the API, or the model as far as it is known, does not take it; names the field.
    """
    settings = request.settings
    model = config.model if settings.model is UNSET else settings.model
    capable = _models.capabilities(model)
    options = options_of(request, config)
    given = settings.option(ClaudeOptions) or ClaudeOptions()
    if settings.effort is not UNSET and given.effort is None and given.thinking is None:
        options = _request_options.with_effort(
            options, settings.effort, model, capable, settings.max_output_tokens
        )
    server_tools = tuple(to_bytes(f"server_tools[{i}]", t) for i, t in enumerate(options.server_tools or ()))

    encoder = ClaudeItemEncoder(config.scope, model)
    transcript = request.transcript
    pieces = distinct(transcript.memo(encoder.key, encoder))
    thinking = _request_options.thinking(model, capable, options)
    spec = JoinSpec(
        head=len(transcript.head.system),
        late_system=capable.late_system,
        extra=b",".join(server_tools),
        keep_bound="block_binding" in thinking,
        manual=thinking.get("type") == "enabled",
    )

    def joined(ephemerals: Ephemerals, *, changed: bool = False) -> Join:
        join = Join(spec, changed=changed)
        join.run(pieces, ephemerals)
        return join

    one_turn, in_place = _ephemerals(request, encoder, one_turn=capable.late_system)
    join = joined(in_place)
    if one_turn and not join.can_change():
        one_turn, in_place = _ephemerals(request, encoder, one_turn=False)
        join = joined(in_place)
    prefaces = [message for piece in pieces for message in piece.preface]
    tools = _tools.plan(
        request.tools,
        prefaces,
        server_tools,
        changes=capable.late_system and not config.vertex,
        place=join.can_change(),
    )
    tool_list, value_tool = tools.tools, None
    if request.output is not None and options.structured == "tool":
        tool_list, value_tool = (*tool_list, _tools.value_tool(request, request.output)), request.output.name
    if tools.inexact_reason or value_tool:
        join = joined(in_place, changed=True)  # `tools` itself is another, and with it every prefix
    if not join.messages:
        raise BadValue("input", "has nothing to send: Claude takes a user message at least")
    if join.messages[-1].role == "assistant" and not join.paused and not capable.prefill:
        raise BadValue("input", f"ends with an assistant message, which {model} does not continue")
    if join.messages[-1].role == "assistant" and not join.paused:
        _check_prefill(join, thinking)

    preface = [tools.changes] if tools.changes else []
    preface += [_one_turn(item) for _, item, _ in one_turn]
    for message in preface:
        join.add_preface(message)
    context = _request_options.Context(
        request=request,
        model=model,
        capable=capable,
        options=options,
        thinking=thinking,
        version=config.version,
        default_max_output_tokens=config.default_max_output_tokens,
        tools=bool(tool_list),
        value_tool=value_tool,
    )
    tail = _request_options.members(context)
    body = _body(config, model, tool_list, join, tail, options)
    if len(body) > _wire.REQUEST_BYTES:
        raise BadValue("input", f"makes a request of {len(body)} bytes, more than {_wire.REQUEST_BYTES}")
    betas = _request_options.betas(context, (*prefaces, *preface))
    tokens = join.tokens + _estimate.REQUEST_TOKENS + sum(map(_tools.tool_tokens, tool_list))
    tokens += _estimate.TOOLS_TOKENS if tool_list else 0
    tokens += _estimate.THINKING_TOKENS if context.thinks else 0
    dropped: tuple[str, ...] = ()
    if request.output is not None and value_tool is None:
        _, dropped = narrow(request.output.schema, _wire.SCHEMAS)
        tokens += _estimate.text_tokens(request.output.schema) + _estimate.FORMAT_TOKENS
    return Prepared(
        request=request,
        url=config.url.replace("{model}", model),
        body=body,
        model=model,
        headers=_request_options.headers(config.version, betas, options, vertex=config.vertex),
        secret_headers=config.secret_headers,
        forms=tuple(join.forms),
        inexact_reason=join.inexact or tools.inexact_reason,
        preface=b"[" + b",".join(preface) + b"]" if preface else b"",
        estimate=Estimate(_estimate.request_tokens(tokens, model, body), int(tail["max_tokens"])),
        unbounded=(*join.unbounded, *_request_options.unbounded(options, server_tools)),
        hidden_reasoning=context.thinks,
        structured=_structured(request, options),
        dropped_constraints=dropped,
        implicit_bound=_request_options.max_tokens(context)[1],
        rates=requested_rates(tail, body),
        cacheable=options.cache != "off" and tokens >= _models.shortest_cached(model),
    )


class _LastBlock(Struct):
    type: str = ""
    text: str = ""


def _check_prefill(join: Join, thinking: dict[str, Any]) -> None:
    """Refuse what the API refuses of a final assistant message, which the model is to continue."""
    if thinking.get("type") in ("adaptive", "enabled"):
        raise BadValue("thinking", "is not possible where the input ends with an assistant message")
    blocks = join.messages[-1].blocks
    last = msgspec.json.decode(blocks[-1].json, type=_LastBlock) if blocks else _LastBlock()
    if last.type == "text" and last.text != last.text.rstrip():
        raise BadValue("input", "ends with white space in a final assistant message; strip it")


def _structured(request: TurnRequest, options: ClaudeOptions) -> str:
    return "" if request.output is None else f"ClaudeOptions(structured={options.structured or 'format'!r})"


def options_of(request: TurnRequest, config: ClaudeConfig) -> ClaudeOptions:
    """The turn's options laid over the adapter's."""
    given = request.settings.option(ClaudeOptions)
    return config.options if given is None else given.over(config.options)


def binding(prepared: Prepared, config: ClaudeConfig) -> str:
    """What the model binds the thinking of its answer to, for `CommittedTurn.prefix`.

    The digest of the transcript; with a suffix where more than that decides what the model was sent.
    """
    transcript = prepared.request.transcript
    server_tools = options_of(prepared.request, config).server_tools or ()
    extra = b",".join(to_bytes("server_tools", tool) for tool in server_tools)
    lost = list[int]()
    if not all(form.exact for form in prepared.forms):
        turns = (item for item in transcript if isinstance(item, CommittedTurn))
        lost = [
            i
            for i, (turn, form) in enumerate(zip(turns, prepared.forms, strict=True))
            if not form.exact and turn.adapter == _wire.NAME and turn.scope == config.scope
        ]
    return transcript.digest + note(extra, lost)


def first_difference(earlier: Prepared, later: Prepared, config: ClaudeConfig) -> str | None:
    """JSON path in `later` of the first thing that is not as `earlier` sent it; None when it only adds."""
    head, flat = _flat(earlier, config)
    later_head, later_flat = _flat(later, config)
    for name in ("tools", "system"):
        mine, other = head[name], later_head[name]
        if (at := differs_at(mine, other)) is not None:
            return f"$.{name}[{at}]"
    return changed_path(flat, later_flat, "$.messages")


def _ephemerals(
    request: TurnRequest, encoder: ClaudeItemEncoder, *, one_turn: bool
) -> tuple[Ephemerals, Ephemerals]:
    """Those that the one-turn form says, and those that are sent where they stand."""
    if not request.ephemerals:
        return (), ()
    items = list(request.transcript)
    last = max((i for i, item in enumerate(items) if isinstance(item, CommittedTurn)), default=-1)
    said, placed = list[tuple[int, Item, ClaudePiece]](), list[tuple[int, Item, ClaudePiece]]()
    open_calls: tuple[str, ...] = ()
    for i, (position, item) in enumerate(request.ephemerals):
        piece = encoder.piece(item, f"ephemerals[{i}]", open_calls)
        if isinstance(item, CommittedTurn):
            open_calls = tuple(call.id for call in item.tool_calls)
        (said if one_turn and piece.wrapped and position > last else placed).append((position, item, piece))
    return tuple(said), tuple(sorted(placed, key=lambda entry: entry[0]))


def _one_turn(item: Item) -> bytes:
    assert isinstance(item, Message)
    text = "\n\n".join(system_texts(item, "ephemerals"))
    return encode({"role": "system", "content": text, "clear_at": "next_user_message"})


_ROLE = {role: encode(role) for role in ("user", "assistant", "system")}


def _body(
    config: ClaudeConfig,
    model: str,
    tools: Sequence[bytes],
    join: Join,
    tail: dict[str, bytes],
    options: ClaudeOptions,
) -> bytes:
    tool_blocks = list(map(ContentBlock, tools))
    if options.cache != "off":
        mark(tool_blocks, join, BREAKPOINT[options.cache or "5m"])
    if config.vertex:
        out = [b'{"anthropic_version":' + encode(_wire.VERTEX_VERSION)]
    else:
        out = [b'{"model":' + encode(model)]
    if tools:
        out.append(b',"tools":[%b]' % _joined(tool_blocks))
    if join.system:
        out.append(b',"system":[%b]' % _joined(join.system))
    out.append(b',"messages":[')
    out += [  # joined once: of a long session this is most of the bytes
        message.raw + b","
        if message.raw
        else b'{"role":%b,"content":[%b]},' % (_ROLE[message.role], _joined(message.blocks))
        for message in join.messages
    ]
    out[-1] = out[-1][:-1]
    out.append(b"]")
    out += [b",%b:%b" % (encode(name), value) for name, value in tail.items()]
    out.append(_STREAM)
    return b"".join(out)


def _joined(blocks: Sequence[ContentBlock]) -> bytes:
    # Most messages hold one block, and this runs for each of a long session.
    return blocks[0].json if len(blocks) == 1 else b",".join([block.json for block in blocks])


_Flat = list[tuple[str, object, str]]


def _flat(prepared: Prepared, config: ClaudeConfig) -> tuple[dict[str, list[object]], _Flat]:
    """A body as its head and the flat sequence of role, block and path, without ephemerals and marks."""
    if prepared.request.ephemerals:
        prepared = prepare(msgspec.structs.replace(prepared.request, ephemerals=()), config)
    body: dict[str, Any] = json.loads(prepared.body, parse_float=str, parse_int=str)
    head = {name: [_unmarked(entry) for entry in body.get(name, [])] for name in ("tools", "system")}
    flat: _Flat = []
    for m, message in enumerate(body["messages"]):
        content = message["content"]
        if isinstance(content, str) or message.keys() - {"role", "content"}:
            flat.append((message["role"], message, f"$.messages[{m}]"))
            continue
        for b, block in enumerate(content):
            flat.append((message["role"], _unmarked(block), f"$.messages[{m}].content[{b}]"))
    return head, flat


def _unmarked(block: Any) -> object:
    if not isinstance(block, dict):
        return block
    members = cast("dict[str, object]", block)
    return {name: value for name, value in members.items() if name != "cache_control"}
