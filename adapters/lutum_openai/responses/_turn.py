"""The committed turn: how a response becomes a turn, and how the turn is sent back. No I/O, no clock, no
tasks.

A turn contains its stored JSON (`wire`) and its content as lutum's items (the view). `turn_from_response` is
the only function that makes a turn, from a streamed response or a whole one. `wire` is the response object
without the members that only repeat the request (`REQUEST_ECHO`). It contains the output items byte for byte.
The items are sent back without the members that only responses may have: see the rules below.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from lutum import (
    CommittedTurn,
    ReasoningItem,
    RefusalItem,
    TextItem,
    Tokens,
    ToolCallItem,
    Usage,
    ViewItem,
)
from lutum.abc import ReplayForm
from lutum.dialect.json import decode_array, decode_object, decode_str, encode, is_object, starts_with
from lutum.dialect.logprobs import SampledTokens
from lutum.dialect.replay import origin_form
from lutum.dialect.usage import member
from lutum_openai._citations import citations_of
from lutum_openai.responses import _wire
from lutum_openai.responses._wire import call_id

REQUEST_ECHO = frozenset(
    {
        "background",
        "frequency_penalty",
        "include",
        "input",
        "instructions",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""Members of a response that repeat its request, such as `instructions` and all tools. A turn does not keep
them."""

RESPONSE_ONLY_MEMBERS = frozenset({"created_by"})
"""Members that output items have but input items do not (openai-python, types/responses: each type of
`ResponseOutputItem` compared with its `ResponseInputItemParam`). The API refuses unknown members."""

EMPTIED = b'"logprobs"'
"""The member of a text part for log probabilities. It is sent back as an empty list, because log
probabilities are many times longer than the text and no model reads them. Input items may have an empty list
(openai-python, `ResponseOutputTextParam`)."""

UNFINISHED = "an item was never said to be whole: "
"""Prefix of `inexact_reason` if `wire` may lack a part of an item. Then only the turn's view is sent
back."""

VALUE_CALL = "the value came as a call of the forced tool "
"""Prefix of `inexact_reason` if the turn ends with a call that is never answered. Then only the turn's view
is sent back."""


def turn_from_response(
    response: bytes,
    *,
    scope: str,
    model: str,
    stored: bool = True,
    inexact_reason: str | None = None,
    preface: bytes = b"",
    value_tool: str | None = None,
) -> CommittedTurn:
    """Return the turn of a whole response object.

    Args:
      model: the requested model, used if the response does not name a model.
      stored: whether the request had `store: true`, used if the response lacks `store`.
      value_tool: the forced tool whose arguments are the structured value. The view contains these arguments
        as a text instead of the call.

    Raises:
      msgspec.DecodeError: `response` is not a response.
    """
    members = {name: value for name, value in decode_object(response).items() if name not in REQUEST_ECHO}
    if bytes(members.get("output", Raw(b"null"))) == b"null":
        members["output"] = Raw(b"[]")
    if "store" not in members:
        members["store"] = Raw(encode(stored))
    wire = encode(members)
    head = _wire.decode_head(wire)
    items = [bytes(item) for item in head.output or ()]
    view = _view(items, value_tool)
    if inexact_reason is None and value_tool and any(_is_value(item, value_tool) for item in items):
        inexact_reason = f"{VALUE_CALL}{value_tool!r}"
    if inexact_reason is None:
        bad = (v for v in view if isinstance(v, ToolCallItem) and not is_object(v.arguments))
        if call := next(bad, None):
            inexact_reason = f"the arguments of call {call.id!r} are not a JSON object"
    return CommittedTurn(
        adapter=_wire.NAME,
        scope=scope,
        model=head.model or model,
        wire=wire,
        items=view,
        inexact_reason=inexact_reason,
        preface=preface,
    )


def finish_reason(head: _wire.ResponseHead, turn: CommittedTurn, usage: Usage) -> str:
    """Return the finish reason: the reported reason, else the reason that follows from the turn."""
    if said := head.stop_reason or head.finish_reason:
        return _wire.FINISH.read(said)
    if head.incomplete_details is not None and (reason := head.incomplete_details.reason):
        return _wire.FINISH.read(reason)
    if head.status == "incomplete":
        return "length"
    spoke = any(not isinstance(item, ReasoningItem) for item in turn.items)
    limit = head.max_output_tokens
    if not spoke and limit is not None and usage.output_tokens >= limit:
        return "length"  # the whole output is reasoning
    if turn.tool_calls:
        return "tool_calls"
    return "content_filter" if turn.refusal else "stop"


def open_items(turn: CommittedTurn) -> tuple[bytes, ...]:
    """Return the items of a turn that need an answer from the caller, as received."""
    items = wire_items(turn)
    heads = [_wire.read_item(item) for item in items]
    answered = {(head.type, head.call_id) for head in heads}
    return tuple(
        item
        for item, head in zip(items, heads, strict=True)
        if head.type in _wire.OUTPUTS
        and (_wire.OUTPUTS[head.type], head.call_id) not in answered
        and (head.type != "tool_search_call" or head.execution == "client")
    )


def wire_items(turn: CommittedTurn) -> list[bytes]:
    """Return all received output items."""
    return [bytes(item) for item in _wire.decode_head(turn.wire).output or ()]


def is_by_program(item: bytes) -> bool:
    """Return whether an item is a call made by a program that the model wrote in an earlier response."""
    return _wire.decode_tag(item).type == "function_call" and _wire.caller_of(item) == "program"


def tokens_of(output: Sequence[bytes], usage: Usage) -> Tokens | None:
    """Return the log probabilities in the texts of a response; None if it has no log probabilities."""
    tokens = SampledTokens()
    for json in output:
        if b'"logprobs"' in json:
            for part in parts(_wire.read_item(json).content):
                tokens.add_entries(part.logprobs)
    return tokens.finish(usage)


def is_search(item: bytes) -> bool:
    """Return whether an item is a web search. Each search is billed (openai.com/api/pricing)."""
    if _wire.decode_tag(item).type != "web_search_call":
        return False
    action = member(decode_object(item), "action", "type")
    return action is None or action == Raw(b'"search"')


def has_reasoning(turn: CommittedTurn) -> bool:
    """Return whether the turn's `wire` contains reasoning. Only models that reason can read reasoning."""
    return any(_wire.decode_tag(item).type == "reasoning" for item in wire_items(turn))


def replay_form(turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
    """Return whether `turn` can be replayed exactly to `scope` and `model`.

    Encrypted reasoning is also sent to other models that reason. The API drops reasoning that it cannot read,
    and lists it in `input_transformations`, which become events.
    """
    form = origin_form(turn, _wire.NAME, scope)
    if not form.exact:
        return form
    if loses_trailing(turn):
        return ReplayForm(False, "the API does not accept stored reasoning at the end of a turn")
    if _wire.reasons(model) is False and has_reasoning(turn):
        return ReplayForm(False, f"{model} does not read the reasoning of {turn.model}")
    return form


def replay_items(turn: CommittedTurn, *, reasoning: bool = True) -> list[bytes]:
    """Return the output items that are sent back, with or without their reasoning."""
    head = _wire.decode_head(turn.wire)
    items = [bytes(item) for item in head.output or ()]
    typed = [(_wire.read_item(item), item) for item in items]
    last = max((i for i, (item, _) in enumerate(typed) if item.type != "reasoning"), default=-1)
    sent = list[bytes]()
    for i, (item, json) in enumerate(typed):
        if item.type == "reasoning":
            # Reasoning that was not stored and has neither `encrypted_content` nor text is lost. The API
            # returns 404 "Item with id 'rs_...' not found. Items are not persisted when `store` is set to
            # false".
            readable = _is_readable(item)
            if not reasoning or not (readable or head.store):
                continue
            # The API refuses reasoning that no item follows: 400 "Item 'rs_...' of type 'reasoning' was
            # provided without its required following item". Such an item occurs if the model used up its
            # tokens while it reasoned. The API accepts it without its id (recorded: five such items before a
            # user message, status 200). The API does not look up the id of reasoning that contains its
            # `encrypted_content` or text, so nothing is lost without the id.
            if i > last:
                if not readable:
                    continue
                json = _without_id(json)
        sent.append(_without_response_members(json))
    return sent


def loses_trailing(turn: CommittedTurn) -> bool:
    """Return whether stored reasoning at the end of a turn is left out. lutum knows only the id of stored
    reasoning, and the API refuses this id if no item follows the reasoning."""
    head = _wire.decode_head(turn.wire)
    for json in reversed(head.output or ()):
        item = _wire.read_item(bytes(json))
        if item.type != "reasoning":
            return False
        if head.store and not _is_readable(item):
            return True
    return False


def view_items(turn: CommittedTurn) -> list[bytes]:
    """Return the view of a turn as input items: text, refusals and calls, without reasoning.

    Text and refusals become a message whose content is a string. A message with parts would need the id that
    the API gave it, and some servers check this id.
    """
    sent, said = list[bytes](), list[str]()
    for item in turn.items:
        match item:
            case TextItem(text=text) | RefusalItem(text=text):
                said.append(text)
            case ToolCallItem():
                _flush(said, sent)
                sent.append(call_item(item.id, item.name, item.arguments))
            case ReasoningItem():
                pass
    _flush(said, sent)
    return sent


def call_item(id: str, name: str, arguments: str) -> bytes:
    """Return a function_call. Its arguments are sent unchanged, as a string."""
    return b'{"type":"function_call","call_id":%b,"name":%b,"arguments":%b}' % (
        encode(call_id(id)),
        encode(name),
        encode(arguments),
    )


def call_of(item: _wire.ItemHead) -> ToolCallItem:
    """Return the tool call of a function_call item."""
    given = bytes(item.arguments)
    arguments = decode_str(given) if given[:1] == b'"' else given.decode()
    if arguments in ("", "null"):
        arguments = "{}"
    return ToolCallItem(item.call_id or item.id or "", item.name or "", arguments)


def _flush(said: list[str], sent: list[bytes]) -> None:
    if words := "".join(said):
        sent.append(b'{"type":"message","role":"assistant","content":%b}' % encode(words))
    said.clear()


def _is_readable(item: _wire.ItemHead) -> bool:
    encrypted = bytes(item.encrypted_content) not in (b"", b"null", b'""')
    return encrypted or any(part.text for part in parts(item.content))


def _without_id(item: bytes) -> bytes:
    members = decode_object(item)
    return (
        encode({name: value for name, value in members.items() if name != "id"}) if "id" in members else item
    )


def _without_response_members(item: bytes) -> bytes:
    if b'"created_by"' in item:
        members = decode_object(item)
        item = encode({name: value for name, value in members.items() if name not in RESPONSE_ONLY_MEMBERS})
    return _without_logprobs(item) if EMPTIED in item else item


def _without_logprobs(item: bytes) -> bytes:
    """Empty the log probabilities of an item's texts. An item without them is returned byte for byte."""
    members = decode_object(item)
    if not starts_with(members.get("content"), b"["):
        return item
    found, sent = False, list[bytes]()
    for raw in decode_array(members["content"]):
        part = decode_object(raw) if starts_with(raw, b"{") else {}
        if len(bytes(part.get("logprobs", b""))) > 2 and starts_with(part.get("logprobs"), b"["):
            found = True
            sent.append(encode(part | {"logprobs": Raw(b"[]")}))
        else:
            sent.append(bytes(raw))
    content = Raw(b"[" + b",".join(sent) + b"]")
    return encode(members | {"content": content}) if found else item


def _is_value(item: bytes, value_tool: str) -> bool:
    head = _wire.read_item(item)
    return head.type == "function_call" and head.name == value_tool


def _view(items: Sequence[bytes], value_tool: str | None) -> tuple[ViewItem, ...]:
    view = list[ViewItem]()
    for json in items:
        item = _wire.read_item(json)
        if item.type in ("message", ""):  # stored messages may lack the type
            for part in parts(item.content):
                if part.type == "refusal" or (part.text is None and part.refusal is not None):
                    view.append(RefusalItem(part.refusal or ""))
                elif part.text:
                    cited = citations_of(bytes(part.annotations))
                    view.append(TextItem(part.text, cited, item.phase or ""))
        elif item.type == "reasoning":
            texts = [part.text or "" for part in (*parts(item.summary), *parts(item.content))]
            view += [ReasoningItem(text) for text in texts] or [ReasoningItem("")]
        elif item.type == "function_call":
            call = call_of(item)
            if call.name == value_tool:
                view.append(TextItem(call.arguments))
            else:
                view.append(call)
    return tuple(view)


def parts(content: Raw) -> list[_wire.ResponsesPart]:
    """Return the parts of an item's `content` or `summary`. A string is one text part."""
    json = bytes(content)
    if json[:1] == b'"':
        return [_wire.ResponsesPart("output_text", decode_str(json))]
    return [_wire.read_part(bytes(part)) for part in decode_array(json)] if json[:1] == b"[" else []


def preface_items(preface: bytes) -> list[bytes]:
    """Return the input items of `CommittedTurn.preface`, which is a JSON array."""
    return [bytes(item) for item in decode_array(preface)] if preface else []
