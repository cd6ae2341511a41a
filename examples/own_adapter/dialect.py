"""The API of Reed as pure functions: a request to bytes, and the bytes of an answer to events.

A request is `{"model", "system", "tools", "lines", ...}`. Its answer is a stream of events: `open`, then
`text` and `call`, then `used`, and at last `close` with a seal. The model's line is sent back with its seal.
"""

from __future__ import annotations

from typing import Final, Literal, final

import msgspec
from msgspec import UNSET, Raw, Struct

import lutum
from lutum.abc import Prepared, ReplayForm, SchemaDialect, TurnRequest
from lutum.dialect.errors import ErrorTable
from lutum.dialect.finish import FinishTable
from lutum.dialect.headers import check_extra_headers, request_headers
from lutum.dialect.json import FAULTS, copied, decode_array, decode_object, encode, is_object, string
from lutum.dialect.options import ProviderOptions, check_extra_body, merge_extra_body, options_of
from lutum.dialect.prefix import changed_at, differs_at
from lutum.dialect.replay import origin_form
from lutum.dialect.schema import narrow
from lutum.dialect.stream import StreamDecoder
from lutum.dialect.tokens import Rates
from lutum.dialect.usage import Reported, UsageReports, count, is_odd

NAME: Final = "reed"
ERRORS: Final = ErrorTable(types={"busy": ("overloaded", 503), "no_ink": ("billing", 402)})
FINISH: Final = FinishTable({"done": "stop", "full": "length", "call": "tool_calls"})
SCHEMAS: Final = SchemaDialect(name=NAME, keywords=frozenset({"minimum", "maximum"}), recursive=False)
RATES: Final = Rates(ascii_per_token=3.5, other_tokens=1.0)

_WRITTEN: Final = {"lines": "push items", "limit": "use .max_output_tokens()", "tools": "use .tools()"}


class ReedOptions(ProviderOptions, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Options of one turn, or of the adapter. `tone` is the tone of the answer."""

    tone: Literal["plain", "warm"] | None = None

    def __post_init__(self) -> None:
        check_extra_body(self.extra_body, _WRITTEN)
        check_extra_headers(self.extra_headers, secret={"x-reed-key"})


class ReedConfig(Struct, frozen=True, kw_only=True):
    """The values that an adapter adds to its requests."""

    scope: str
    url: str
    model: str
    options: ReedOptions
    default_limit: int
    secret_headers: tuple[str, ...]


class ReedLine(Struct, frozen=True):
    """An item of the transcript as lines of a request. For a turn, `form` states if it is sent exactly."""

    json: tuple[bytes, ...]
    form: ReplayForm | None = None


# --- a request to bytes ------------------------------------------------------------------------


def prepare(request: TurnRequest, config: ReedConfig) -> Prepared:
    """Encode a request. Raises BadValue, which names the field, for a value that Reed does not accept."""
    settings, options = request.settings, options_of(request, config.options)
    model = config.model if settings.model is UNSET else settings.model
    limit = config.default_limit if settings.max_output_tokens is UNSET else settings.max_output_tokens
    if settings.effort not in (UNSET, "none"):
        raise lutum.BadValue("effort", "Reed does not reason; leave .effort() out")
    system, lines, forms = _lines(request, config.scope, model)
    tools, inexact_reason = _tools(request)
    members = {"model": encode(model), "system": system, "tools": tools, "lines": lines} | _use(request)
    others: dict[str, object] = {
        "limit": limit,
        "heat": settings.temperature,
        "top": settings.top_p,
        "seed": settings.seed,
        "end": settings.stop,
        "tone": UNSET if options.tone is None else options.tone,
    }
    members |= {name: encode(value) for name, value in others.items() if value is not UNSET}
    dropped: tuple[str, ...] = ()
    if request.output is not None:
        schema, dropped = narrow(request.output.schema, SCHEMAS)
        members["form"] = schema.encode()
    merge_extra_body(members, options.extra_body)
    body = encode({name: Raw(json) for name, json in members.items()})
    return Prepared(
        request=request,
        url=config.url,
        body=body,
        model=model,
        headers=request_headers(options.extra_headers),
        secret_headers=config.secret_headers,
        forms=forms,
        inexact_reason=inexact_reason,
        estimate=lutum.Estimate(RATES.json(body), limit),
        structured="form" if request.output is not None else "",
        dropped_constraints=dropped,
    )


def replay_form(turn: lutum.CommittedTurn, scope: str, model: str) -> ReplayForm:
    """Return whether a turn is sent back exactly. A seal is valid for one account and one model."""
    form = origin_form(turn, NAME, scope)
    if form.exact and turn.model != model:
        return ReplayForm(False, f"its seal belongs to {turn.model}")
    return form


def first_difference(earlier: Prepared, later: Prepared, config: ReedConfig) -> str | None:
    """Return the JSON path in `later` of the first change from `earlier`; None if `later` only adds."""
    before, now = _compared(earlier, config), _compared(later, config)
    for name in ("system", "tools"):
        if (at := differs_at(before[name], now[name])) is not None:
            return f"$.{name}[{at}]"
    at = changed_at(before["lines"], now["lines"])
    return None if at is None else f"$.lines[{at}]"


def _compared(prepared: Prepared, config: ReedConfig) -> dict[str, list[bytes]]:
    if prepared.request.ephemerals:
        prepared = prepare(msgspec.structs.replace(prepared.request, ephemerals=()), config)
    body = decode_object(prepared.body)
    return {name: [bytes(each) for each in decode_array(body[name])] for name in ("system", "tools", "lines")}


def _lines(request: TurnRequest, scope: str, model: str) -> tuple[bytes, bytes, tuple[ReplayForm, ...]]:
    """Return the system lines of the head, the lines behind them, and the forms of the turns.

    `memo` keeps the encoded form of each item, so that request 1,001 of a conversation encodes one item.
    """

    def made(item: lutum.Item, before: lutum.Transcript) -> ReedLine:
        return _line(item, f"input[{len(before)}]", scope, model)

    head = len(request.transcript.head.system)
    lines = request.transcript.memo((NAME, scope, model), made)
    placed = lines[head:]
    for at, item in reversed(request.ephemerals):
        placed.insert(max(0, at - head), _line(item, "ephemerals", scope, model))
    forms = tuple(line.form for line in lines if line.form is not None)
    return _joined(lines[:head]), _joined(placed), forms


def _joined(lines: list[ReedLine]) -> bytes:
    return b"[%b]" % b",".join(json for line in lines for json in line.json)


def _line(item: lutum.Item, field: str, scope: str, model: str) -> ReedLine:
    if isinstance(item, lutum.CommittedTurn):
        form = replay_form(item, scope, model)
        return ReedLine((item.wire if form.exact else _said(item.items),), form)
    if isinstance(item, lutum.Raw):
        if item.adapter != NAME:
            raise lutum.BadValue(field, f"is JSON of {item.adapter}, which Reed does not take")
        return ReedLine((item.json.encode(),))
    for i, part in enumerate(item.content):
        if not isinstance(part, lutum.Text):
            raise lutum.BadValue(f"{field}.content[{i}]", f"Reed takes text, not {type(part).__name__}")
    if isinstance(item, lutum.Message):
        if item.role == "assistant":
            return ReedLine((_said((lutum.TextItem(item.text),)),))
        return ReedLine((encode({"by": item.role, "text": item.text}),))
    result = encode({"by": "tool", "call": item.call_id, "text": item.text, "failed": item.is_error})
    if item.name is None or item.arguments is None:
        return ReedLine((result,))
    return ReedLine((_said((lutum.ToolCallItem(item.call_id, item.name, item.arguments),)), result))


def _said(items: tuple[lutum.ViewItem, ...]) -> bytes:
    """Encode a line without a seal, for a turn of another provider or model, or one that lost its seal."""
    parts = list[object]()
    for item in items:
        if isinstance(item, lutum.ToolCallItem):
            arguments = item.arguments if is_object(item.arguments) else "{}"
            parts.append({"call": item.id, "name": item.name, "input": Raw(arguments.encode())})
        elif item.text:
            parts.append({"text": item.text})
    return encode({"by": "model", "parts": parts})


def _tools(request: TurnRequest) -> tuple[bytes, str | None]:
    """Return the tools of the head, then the new ones; and the reason if the request is not append-only."""
    head, new = request.tools.head, request.tools.new
    names = {tool.name for tool in new}
    declared = [_tool(tool) for tool in (*(tool for tool in head if tool.name not in names), *new)]
    if not new or request.transcript.head.tools is None:
        return b"[%b]" % b",".join(declared), None
    return b"[%b]" % b",".join(declared), f"tool {new[0].name!r} is new in the middle of the conversation"


def _tool(tool: lutum.ToolDef) -> bytes:
    schema = narrow(tool.schema, SCHEMAS)[0] if tool.strict else tool.schema
    return encode({"name": tool.name, "about": tool.description, "input": Raw(schema.encode())})


def _use(request: TurnRequest) -> dict[str, bytes]:
    """Return which tools the model may call, and whether it must call one."""
    plan = request.tools
    if not plan.head and not plan.new:
        return {}
    use = {"auto": "free", "none": "never", "any": "must", "tool": plan.tool}[plan.choice]
    return {"use": encode(use)} | ({} if plan.available is None else {"may": encode(plan.available)})


# --- the bytes of an answer to events ----------------------------------------------------------


@final
class ReedDecoder(StreamDecoder):
    """Decode one answer. Only `close` completes it."""

    def __init__(self, response: lutum.Response, prepared: Prepared, scope: str) -> None:
        super().__init__(response, ERRORS)
        self._scope = scope
        self._model = prepared.model
        self._text = lutum.TextDelta if prepared.request.output is None else lutum.StructuredDelta
        self._parts = list[dict[str, object]]()
        self._items = list[lutum.ViewItem]()
        self._inexact = prepared.inexact_reason
        self._usage = UsageReports(prepared.estimate)
        self._deltas = 0

    def _whole_body(self, body: bytes, out: list[lutum.Event]) -> None:
        self._refuse_body(body)  # Reed always streams

    def _take(self, name: bytes, data: bytes, out: list[lutum.Event]) -> None:
        try:
            members = decode_object(data)
            match name:
                case b"open":
                    self._model = string(members.get("model")) or self._model
                    head = msgspec.structs.replace(self._response, id=string(members.get("id")))
                    out.append(lutum.TurnStarted(self._model, head))
                case b"text":
                    self._say(string(members.get("text")) or "", out)
                case b"call":
                    self._call(data, members, out)
                case b"used":
                    self._used(data, members, out)
                case b"close":
                    self._close(data, members, out)
                case b"error":
                    self._raise(data)
                case _:  # a newer server may send more
                    out.append(lutum.ProviderEvent(name.decode(errors="replace") or "event", data))
        except FAULTS as exc:
            self._fail(data, str(exc))

    def _say(self, text: str, out: list[lutum.Event]) -> None:
        if not text:
            return
        self._deltas += 1
        before = ""
        if self._items and isinstance(last := self._items[-1], lutum.TextItem):
            before = last.text
            del self._items[-1], self._parts[-1]
        self._items.append(lutum.TextItem(before + text))
        self._parts.append({"text": before + text})
        out.append(self._text(text))

    def _call(self, data: bytes, members: dict[str, Raw], out: list[lutum.Event]) -> None:
        """Take a call. Its members are kept unchanged, so that unknown members are sent back too."""
        id, name = string(members.get("call")), string(members.get("name"))
        if not id or not name:
            self._fail(data, "a call without an id or a name")
        arguments = copied(members.get("input", b"{}")).decode()
        self._deltas += 1
        self._parts.append({key: Raw(copied(raw)) for key, raw in members.items()})
        self._items.append(lutum.ToolCallItem(id, name, arguments))
        out.append(lutum.ToolCallDelta(id, name, arguments))
        if is_object(arguments):
            out.append(lutum.ToolCallReady(id, name, arguments))
        else:
            self._inexact = self._inexact or f"the arguments of call {id!r} are not a JSON object"
            out.append(lutum.ToolCallIssue(id, name, arguments, "malformed_arguments"))

    def _used(self, data: bytes, members: dict[str, Raw], out: list[lutum.Event]) -> None:
        given, made = members.get("in"), members.get("out")
        read = Reported(
            input_tokens=count(given), output_tokens=count(made), odd=is_odd(given) or is_odd(made)
        )
        self._usage.take(read, data, out, counted=self._deltas, final=True)

    def _close(self, data: bytes, members: dict[str, Raw], out: list[lutum.Event]) -> None:
        self._done = True
        reason = string(members.get("why")) or ""
        if (error := FINISH.broken(reason, self._response, data)) is not None:
            raise error
        seal = Raw(copied(members.get("seal", b"null")))
        turn = lutum.CommittedTurn(
            adapter=NAME,
            scope=self._scope,
            model=self._model,
            wire=encode({"by": "model", "parts": self._parts, "seal": seal}),
            items=tuple(self._items),
            inexact_reason=self._inexact or self._repaired,
        )
        out.append(lutum.Completed(FINISH.read(reason), self._usage.settle(self._deltas), turn))
