"""A request to bytes. PURE: `Prepared` is a function of `TurnRequest` and `Config`.

Body = head (model, tools, system) + messages joined from cached pieces + tail (everything else), so that
request 1,001 of a conversation encodes one item and is request 1,000 with more at its end. Three things are
decided here, while joining, because they depend on more than one item:

- *Adjacent messages of one role become one*, except messages that go out as they are (`raw`, prefaces).
- *A late system message* may stand only behind a user message, and last or before an assistant's. It is
  held back until the next assistant message or the end; where no user message stands before it then, it
  goes out as user text. What follows later never moves it.
- *Thinking that was bound to something else* (an item replaced, an ephemeral gone, tools changed) would be
  refused. `ClaudeOptions.prefix_mismatch` says what happens: by default the turn goes out without its
  thinking, because that always runs and loses only reasoning the provider would not read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from lutum import BadValue, CommittedTurn, Estimate, Item, Message
from lutum.abc import Prepared, ReplayForm, TurnRequest
from lutum_claude import _estimate, _tail, _tools, _wire
from lutum_claude._items import Block, Encoder, Piece, system_texts
from lutum_claude._options import ClaudeOptions, json_bytes

_STREAM = b',"stream":true}'
# An assistant turn without a block that may go back, where a system message stands before it and needs one.
_SILENCE = (Block(b'{"type":"text","text":"(no answer)"}', False),)
_BREAKPOINT = {
    "5m": b',"cache_control":{"type":"ephemeral"}}',
    "1h": b',"cache_control":{"type":"ephemeral","ttl":"1h"}}',
}


class Config(Struct, frozen=True):
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


class _Sent:
    """A message being joined; `raw` is one that goes out as it is."""

    __slots__ = ("blocks", "raw", "role")

    def __init__(self, role: str, blocks: Sequence[Block], raw: bytes = b"") -> None:
        self.role = role
        self.blocks = list(blocks)
        self.raw = raw


class _JoinSpec(Struct, frozen=True):
    """What decides how pieces are joined.

    Attributes:
      head: how many of them are the head's system items.
      extra: what else stands before every turn: server tools.
      keep_bound: thinking that was bound to something else is sent all the same.
      manual: thinking has a budget. Then the API wants a turn that goes on, in a tool round or after a pause,
        to begin with its thinking, so there it is never left out; no model that binds takes budgets.
    """

    head: int
    late_system: bool
    extra: bytes
    keep_bound: bool
    manual: bool


class _Join:
    """The messages of a request, in order, and what was found on the way."""

    def __init__(self, spec: _JoinSpec, *, changed: bool) -> None:
        self.messages = list[_Sent]()
        self.system = list[Block]()
        self.forms = list[ReplayForm]()
        self.tokens = 0
        self.unbounded = list[str]()
        self.inexact: str | None = None
        self.paused = False
        self.stable: tuple[int, int] | None = None  # message and block where the first ephemeral stands
        self.stable_system: int | None = None
        self.marks = 0  # cache breakpoints of yours
        self.last_turn = 0  # message where the last committed turn stands
        self._held = list[Piece]()
        self._late_system = spec.late_system
        self._head = spec.head
        self._extra = spec.extra
        self._kept = spec.keep_bound
        self._manual = spec.manual
        self._goes_on: Piece | None = None
        self._lost = list[int]()
        self._changed = changed

    def run(self, pieces: Sequence[Piece], ephemerals: Sequence[tuple[int, Item, Piece]]) -> None:
        waiting = list(ephemerals)
        if self._manual:
            self._goes_on = next((piece for piece in reversed(pieces) if not piece.answers), None)
        for i, piece in enumerate(pieces):
            while waiting and waiting[0][0] <= i and not piece.answers:
                self._ephemeral(waiting.pop(0)[2], in_head=i <= self._head)
            if i < self._head:
                self.system += piece.groups[0][1]
                self.tokens += piece.tokens
            else:
                self._item(piece)
        for _, _, piece in waiting:
            self._ephemeral(piece, in_head=len(pieces) <= self._head)
        self._place_held()

    def can_change(self) -> bool:
        """Whether a system message with tool changes may stand at the end."""
        return bool(self.messages) and self.messages[-1].role in ("user", "system")

    def add_preface(self, message: bytes) -> None:
        self.messages.append(_Sent("system", (), message))
        self.tokens += _estimate.json_tokens(message) + _estimate.MESSAGE_TOKENS

    def _ephemeral(self, piece: Piece, *, in_head: bool) -> None:
        self.inexact = "an ephemeral item was sent that later requests leave out"
        if in_head and piece.wrapped:
            if self.stable_system is None:
                self.stable_system = len(self.system)
            self.system += piece.groups[0][1]
            self.tokens += piece.tokens
            self._changed = True
            return
        if self.stable is None:
            last = len(self.messages) - 1
            self.stable = (last, len(self.messages[last].blocks) if last >= 0 else 0)
        forms, lost = list(self.forms), list(self._lost)
        self._item(piece)
        self.forms, self._lost = forms, lost
        self._changed = True

    def _item(self, piece: Piece) -> None:
        self.tokens += piece.tokens
        self.unbounded += piece.unbounded
        self.marks += piece.marks
        self.paused = piece.paused
        if piece.wrapped:
            if self._late_system:
                self._held.append(piece)
            else:
                self._add("user", piece.wrapped)
            return
        if piece.form is not None:
            self._turn(piece, piece.form)
            return
        for role, blocks in piece.groups:
            raw, _, of_role = role.rpartition(" ")
            if of_role == "assistant":
                self._place_held()
            if raw:
                self.messages.append(_Sent(of_role, (), blocks[0].json))
                continue
            self._add(role, blocks)

    def _turn(self, piece: Piece, form: ReplayForm) -> None:
        self._place_held()
        for message in piece.preface:
            self.add_preface(message)
        ((_, blocks),) = piece.groups
        if piece.bound is not None and (
            self._changed or piece.bound != piece.digest + _note(self._extra, self._lost)
        ):
            reason = "its thinking is bound to what stood before it, which has changed"
            if self._kept:
                form = ReplayForm(True, reason + "; the provider is left to judge")
            else:
                form = ReplayForm(False, reason)
        if not form.exact and piece.home:
            self._lost.append(len(self.forms))
            if piece.bare is not None and piece is not self._goes_on:
                blocks = piece.bare
        self.forms.append(form)
        if not blocks and self.messages and self.messages[-1].role == "system":
            blocks = _SILENCE
        self._add("assistant", blocks)
        self.last_turn = len(self.messages) - 1

    def _place_held(self) -> None:
        for piece in self._held:
            stands = bool(self.messages) and self.messages[-1].role in ("user", "system")
            self._add(*piece.groups[0] if stands else ("user", piece.wrapped))
        self._held.clear()

    def _add(self, role: str, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == role and not last.raw:
            last.blocks += blocks
        else:
            self.messages.append(_Sent(role, blocks))


def prepare(request: TurnRequest, config: Config) -> Prepared:
    """The bytes of a request, and what is known about it.

    Raises:
      BadValue: the API, or the model as far as it is known, does not take it; names the field.
    """
    settings = request.settings
    model = config.model if settings.model is UNSET else settings.model
    capable = _wire.capabilities(model)
    options = options_of(request, config)
    server_tools = tuple(
        json_bytes(f"server_tools[{i}]", t) for i, t in enumerate(options.server_tools or ())
    )

    encoder = Encoder(config.scope, model)
    transcript = request.transcript
    pieces = transcript.memo(encoder.key, encoder)
    thinking = _tail.thinking(model, capable, options)
    spec = _JoinSpec(
        head=len(transcript.head.system),
        late_system=capable.late_system,
        extra=b",".join(server_tools),
        keep_bound="block_binding" in thinking,
        manual=thinking.get("type") == "enabled",
    )

    def joined(ephemerals: _Ephemerals, *, changed: bool = False) -> _Join:
        join = _Join(spec, changed=changed)
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

    preface = [tools.changes] if tools.changes else []
    preface += [_one_turn(item) for _, item, _ in one_turn]
    for message in preface:
        join.add_preface(message)
    context = _tail.Context(
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
    tail = _tail.members(context)
    body = _body(config, model, tool_list, join, tail, options)
    if len(body) > _wire.REQUEST_BYTES:
        raise BadValue("input", f"makes a request of {len(body)} bytes, more than {_wire.REQUEST_BYTES}")
    betas = _tail.betas(context, (*prefaces, *preface))
    tokens = join.tokens + _estimate.REQUEST_TOKENS + sum(map(_tools.tool_tokens, tool_list))
    tokens += _estimate.TOOLS_TOKENS if tool_list else 0
    tokens += _estimate.json_tokens(tail.get("output_config", b""))
    return Prepared(
        request=request,
        url=config.url.replace("{model}", model),
        body=body,
        model=model,
        headers=_tail.headers(config.version, betas, options, vertex=config.vertex),
        secret_headers=config.secret_headers,
        forms=tuple(join.forms),
        inexact_reason=join.inexact or tools.inexact_reason,
        preface=b"[" + b",".join(preface) + b"]" if preface else b"",
        estimate=Estimate(tokens, int(tail["max_tokens"])),
        unbounded=(*join.unbounded, *_tail.unbounded(options, server_tools)),
        hidden_reasoning=context.thinks,
    )


def options_of(request: TurnRequest, config: Config) -> ClaudeOptions:
    """The turn's options laid over the adapter's."""
    given = request.settings.option(ClaudeOptions)
    return config.options if given is None else given.over(config.options)


def binding(prepared: Prepared, config: Config) -> str:
    """What the model binds the thinking of its answer to, for `CommittedTurn.prefix`.

    The digest of the transcript; with a suffix where more than that decides what the model was sent.
    """
    transcript = prepared.request.transcript
    server_tools = options_of(prepared.request, config).server_tools or ()
    extra = b",".join(json_bytes("server_tools", tool) for tool in server_tools)
    lost = list[int]()
    if not all(form.exact for form in prepared.forms):
        turns = (item for item in transcript if isinstance(item, CommittedTurn))
        lost = [
            i
            for i, (turn, form) in enumerate(zip(turns, prepared.forms, strict=True))
            if not form.exact and turn.adapter == _wire.NAME and turn.scope == config.scope
        ]
    return transcript.digest + _note(extra, lost)


def first_difference(earlier: Prepared, later: Prepared, config: Config) -> str | None:
    """JSON path in `later` of the first thing that is not as `earlier` sent it; None when it only adds."""
    head, flat = _flat(earlier, config)
    later_head, later_flat = _flat(later, config)
    for name in ("tools", "system"):
        mine, other = head[name], later_head[name]
        for i in range(max(len(mine), len(other))):
            if mine[i : i + 1] != other[i : i + 1]:
                return f"$.{name}[{i}]"
    for i, (role, block, _) in enumerate(flat):
        if i >= len(later_flat):
            return "$.messages"
        other_role, other_block, path = later_flat[i]
        if (role, block) != (other_role, other_block):
            return path
    return None


_Ephemerals = tuple[tuple[int, Item, Piece], ...]


def _note(extra: bytes, lost: Sequence[int]) -> str:
    """Goes behind a digest: server tools, and turns that went out without their thinking."""
    if not extra and not lost:
        return ""
    return "-" + blake2b(_wire.encode([extra.decode(), list(lost)]), digest_size=8).hexdigest()


def _ephemerals(request: TurnRequest, encoder: Encoder, *, one_turn: bool) -> tuple[_Ephemerals, _Ephemerals]:
    """Those that the one-turn form says, and those that are sent where they stand."""
    if not request.ephemerals:
        return (), ()
    items = list(request.transcript)
    last = max((i for i, item in enumerate(items) if isinstance(item, CommittedTurn)), default=-1)
    said, placed = list[tuple[int, Item, Piece]](), list[tuple[int, Item, Piece]]()
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
    return _wire.encode({"role": "system", "content": text, "clear_at": "next_user_message"})


def _body(
    config: Config,
    model: str,
    tools: Sequence[bytes],
    join: _Join,
    tail: dict[str, bytes],
    options: ClaudeOptions,
) -> bytes:
    tool_blocks = list(map(Block, tools))
    if options.cache != "off":
        _mark(tool_blocks, join, _BREAKPOINT[options.cache or "5m"])
    if config.vertex:
        out = [b'{"anthropic_version":' + _wire.encode(_wire.VERTEX_VERSION)]
    else:
        out = [b'{"model":' + _wire.encode(model)]
    if tools:
        out.append(b',"tools":[%b]' % _joined(tool_blocks))
    if join.system:
        out.append(b',"system":[%b]' % _joined(join.system))
    out.append(b',"messages":[')
    for i, message in enumerate(join.messages):
        if i:
            out.append(b",")
        if message.raw:
            out.append(message.raw)
        else:
            out += [b'{"role":"', message.role.encode(), b'","content":[', _joined(message.blocks), b"]}"]
    out.append(b"]")
    out += [b",%b:%b" % (_wire.encode(name), value) for name, value in tail.items()]
    out.append(_STREAM)
    return b"".join(out)


def _joined(blocks: Sequence[Block]) -> bytes:
    return b",".join([block.json for block in blocks])


def _mark(tools: list[Block], join: _Join, breakpoint: bytes) -> None:
    """Write cache breakpoints: at the last block before the first ephemeral, and, where that is too far from
    the previous request's for the API to find its entry, at the last block before the last turn."""
    free = 4 - join.marks - sum(b'"cache_control"' in tool.json for tool in tools)
    if free < 1:
        return
    message, cut = join.stable or (len(join.messages) - 1, None)
    place = None if join.stable_system is not None else _last_markable(join.messages, message, cut)
    if place is not None:
        earlier = _last_markable(join.messages, join.last_turn - 1, None) if free > 1 else None
        for m, b in {place, earlier} if earlier and _apart(join.messages, earlier, place) else {place}:
            _write_mark(join.messages[m].blocks, b, breakpoint)
    elif system := join.system[: join.stable_system]:
        _write_mark(join.system, len(system) - 1, breakpoint)
    elif tools:
        _write_mark(tools, len(tools) - 1, breakpoint)


def _write_mark(blocks: list[Block], at: int, breakpoint: bytes) -> None:
    if b'"cache_control"' not in (json := blocks[at].json) or blocks[at].markable:
        blocks[at] = Block(json[:-1] + breakpoint)


def _last_markable(messages: Sequence[_Sent], message: int, cut: int | None) -> tuple[int, int] | None:
    for m in range(message, -1, -1):
        blocks = messages[m].blocks[:cut]
        cut = None
        for b in range(len(blocks) - 1, -1, -1):
            if blocks[b].markable:
                return m, b
    return None


def _apart(messages: Sequence[_Sent], earlier: tuple[int, int], later: tuple[int, int]) -> bool:
    """Whether there are more blocks between than the API looks back."""
    between = sum(len(message.blocks) for message in messages[earlier[0] : later[0]])
    return between - earlier[1] + later[1] > _wire.LOOKBACK


_Flat = list[tuple[str, object, str]]


def _flat(prepared: Prepared, config: Config) -> tuple[dict[str, list[object]], _Flat]:
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
