"""Encode a request to bytes. No I/O: `Prepared` is a function of `TurnRequest` and `ClaudeConfig`.

Body = head (model, tools, system) + messages joined from cached pieces + members (everything else). So
request 1,001 of a conversation encodes only one new item, and its messages are those of request 1,000 with
more at the end.

One pass goes through these modules, in this order: `_settings` (decisions from settings and options),
`_items` (one piece for each item), `_ids` (distinct ids of calls), `_request_body` (the order of the pieces,
with `_tools`), `_request_options` (the other members) and `_write` (the bytes).
"""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from lutum import BadValue, CommittedTurn, Estimate
from lutum.abc import Prepared, TurnRequest
from lutum.dialect.json import to_bytes
from lutum.dialect.options import options_of
from lutum.dialect.prefix import changed_path, differs_at
from lutum_claude import _estimate, _models, _wire
from lutum_claude._ids import distinct
from lutum_claude._items import pieces_of
from lutum_claude._request_body import messages_of, note
from lutum_claude._request_options import beside
from lutum_claude._settings import ClaudeConfig as ClaudeConfig, settings_of
from lutum_claude._usage import requested_rates
from lutum_claude._write import body_of, has_one_hour


def prepare(request: TurnRequest, config: ClaudeConfig) -> Prepared:
    """Return the bytes of a request and its properties, such as the estimate of its tokens.

    Raises:
      BadValue: the API or a known model does not accept a setting or an item; the error names the field.
    """
    settings = settings_of(request, config)
    model, options, output = settings.model, settings.options, request.output
    messages = messages_of(settings, distinct(pieces_of(request, config.scope, model)))
    join, tools = messages.join, messages.tools
    rest = beside(settings, messages.prefaces, tools=bool(tools), value_tool=messages.value_tool)
    body = body_of(settings, tools, join, rest.members)
    one_hour = has_one_hour(settings, tools, join, body)
    if len(body) > _wire.REQUEST_BYTES:
        raise BadValue(
            "input",
            f"makes a request of {len(body)} bytes; the limit is {_wire.REQUEST_BYTES} bytes."
            " Send fewer or smaller items",
        )
    tokens = messages.tokens + _estimate.REQUEST_TOKENS
    if settings.thinking.get("type") in ("enabled", "adaptive"):
        tokens += _estimate.THINKING_TOKENS
    if output is not None and messages.value_tool is None:
        tokens += _estimate.text_tokens(output.schema) + _estimate.FORMAT_TOKENS
    return Prepared(
        request=request,
        url=config.url.replace("{model}", model),
        body=body,
        model=model,
        headers=rest.headers,
        secret_headers=config.secret_headers,
        forms=tuple(join.forms),
        inexact_reason=messages.inexact_reason,
        preface=messages.preface,
        estimate=Estimate(
            _estimate.request_tokens(tokens, model, cites=join.cites), int(rest.members["max_tokens"])
        ),
        unbounded=(*join.unbounded, *rest.unbounded),
        hidden_reasoning=settings.thinks,
        structured="" if output is None else f"ClaudeOptions(structured={options.structured or 'format'!r})",
        dropped_constraints=rest.dropped,
        implicit_bound=rest.implicit_bound,
        rates=requested_rates(rest.members, one_hour=one_hour),
        cacheable=options.cache != "off" and tokens >= _models.shortest_cached(model),
    )


def binding(prepared: Prepared, config: ClaudeConfig) -> str:
    """Return the identity of the prefix to which the model binds its thinking, for `CommittedTurn.prefix`.

    The identity is the digest of the transcript. It has a suffix if the sent prefix depends on more than the
    transcript: on server tools, or on turns that were sent without their thinking.
    """
    transcript = prepared.request.transcript
    server_tools = options_of(prepared.request, config.options).server_tools or ()
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
    """Return the JSON path in `later` of the first entry that differs from `earlier`.

    None if `later` only adds entries.
    """
    head, flat = _flat(earlier, config)
    later_head, later_flat = _flat(later, config)
    for name in ("tools", "system"):
        mine, other = head[name], later_head[name]
        if (at := differs_at(mine, other)) is not None:
            return f"$.{name}[{at}]"
    return changed_path(flat, later_flat, "$.messages")


_Flat = list[tuple[str, object, str]]


def _flat(prepared: Prepared, config: ClaudeConfig) -> tuple[dict[str, list[object]], _Flat]:
    """Return the head of a body, and its messages as a flat list of role, block and path.

    Ephemerals and cache breakpoints are left out.
    """
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
