"""Hypothesis strategies for lutum's values, and checks of the laws that these values keep.

They are for property tests of your own code: your storage of transcripts, your tool loop, your consumer of
events, your adapter. This module needs hypothesis: `pip install "lutum[testing]"`. No other module of lutum
imports it.

    @given(strategies.transcripts())
    def test_my_table(transcript):
        strategies.check_replay(transcript, save=my_table.insert, load=my_table.fetch)

The checks are plain functions that raise AssertionError. They need no test framework and no data from
hypothesis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any, TypeVar, cast

import msgspec

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "lutum.testing.strategies needs hypothesis: pip install 'lutum[testing]' (in a clone: '.[testing]')",
        name=_missing.name,
    ) from None

from lutum._tools.round import ToolRound
from lutum._tools.toolset import Toolset
from lutum._turn.reducer import Reducer
from lutum._values.events import (
    Completed,
    Event,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallReady,
    TurnStarted,
    UsageUpdate,
)
from lutum._values.items import Document, Image, Item, Message, Part, Raw, Role, Text, ToolResult
from lutum._values.results import (
    CommittedTurn,
    ReasoningItem,
    RefusalItem,
    Response,
    TextItem,
    TextResult,
    TokenChoice,
    Tokens,
    ToolCallItem,
    ToolDef,
    Usage,
    ViewItem,
)
from lutum._values.transcript import Transcript
from lutum.abc import Adapter, Prepared, TurnRequest
from lutum.testing._schema_values import text as _letters, values

__all__ = [
    "check_prefix",
    "check_replay",
    "check_rounds",
    "chunkings",
    "event_streams",
    "tool_rounds",
    "transcripts",
    "turns",
]

I = TypeVar("I")

_PNG = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452000000010000000108060000001f15c489")

# Text that breaks line-based files and hand-written JSON: line ends, quotes, NUL, letters beyond U+FFFF.
_AWKWARD = st.sampled_from(
    ["\n", "\r\n", "\u2028", "\x00", '"', "\\", "\\u0000", "\ufeff", "é", "🦀", "</s>"]
)
_texts = st.text(_letters, max_size=12)
_text = st.lists(_texts | _AWKWARD, min_size=1, max_size=4).map("".join)
_words = _text.map(lambda text: "word " + text)  # for places where a provider refuses blank text
_names = st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True)
_lexemes = st.sampled_from(
    ["0", "-0", "1e2", "1.0", "1E+2", "0.10", "12345678901234567890123", "true", "null", "[]"]
)
_hex = st.binary(min_size=16, max_size=16).map(bytes.hex)


_logprobs = st.floats(-1e4, 0)
_choices = st.builds(TokenChoice, _logprobs, _text, st.none() | st.integers(0, 2**32))
_tokens = st.builds(
    Tokens,
    st.lists(st.integers(0, 2**32), min_size=1, max_size=4).map(tuple),
    st.lists(_logprobs, max_size=4).map(tuple),
    st.lists(_text, max_size=2).map(tuple),
    st.lists(st.lists(_choices, max_size=2).map(tuple), max_size=2).map(tuple),
    st.none() | st.lists(st.integers(0, 2**32), max_size=4).map(tuple),
)
_usages = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6))


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()


_objects = st.dictionaries(_names, _text.map(_quote) | _lexemes, max_size=3).map(
    lambda members: "{" + ", ".join(f"{_quote(name)}:{value}" for name, value in members.items()) + "}"
)
"""JSON objects as text. They contain spellings of numbers that decoding and encoding would change."""

_extras: st.SearchStrategy[list[Event]] = st.lists(
    st.builds(ProviderEvent, _names, _objects.map(str.encode)) | st.builds(UsageUpdate, _usages), max_size=2
)


@st.composite
def transcripts(draw: st.DrawFn, adapter: Adapter | None = None, *, max_turns: int = 4) -> Transcript:
    """Generate transcripts with every kind of item and part, in which every call has a result.

    With `adapter`, generate conversations that the adapter can send. They contain turns of this and of other
    adapters, but no raw JSON. They end with a user message or a tool result.
    """
    ids = (f"call_{i}" for i in count(1))
    items = list[Item](draw(st.lists(_messages(("system", "developer"), adapter), max_size=2)))
    if adapter is not None:
        items.append(draw(_messages(("user",), adapter)))
    for _ in range(draw(st.integers(0, max_turns))):
        if draw(st.booleans()):
            items += draw(st.lists(_others(adapter, ids), max_size=2))
        name, scope = draw(
            st.sampled_from([("claude", "claude.test"), ("scripted", "scripted"), ("other", "x")])
        )
        if adapter is not None and draw(st.booleans()):
            name, scope = adapter.name, adapter.scope
        turn = draw(_turns(name, scope, ids, anything=adapter is None))
        items.append(turn)
        items += (draw(_results(call)) for call in draw(st.permutations(turn.tool_calls)))
        if adapter is not None and not turn.tool_calls:
            items.append(draw(_messages(("user",), adapter)))
    return Transcript(items)


@st.composite
def turns(draw: st.DrawFn, adapter: Adapter) -> CommittedTurn:
    """Generate committed turns that `adapter` might have made: text, reasoning and calls.

    For the Claude adapter and `ScriptedAdapter`, the `wire` of a turn follows the adapter's protocol. For
    another adapter, `wire` is an arbitrary JSON object. This is enough for tests of storage, but not for the
    adapter's `prepare`.
    """
    ids = (f"call_{i}" for i in count(1))
    return draw(_turns(adapter.name, adapter.scope, ids, anything=False))


@st.composite
def event_streams(draw: st.DrawFn, adapter: Adapter) -> list[Event]:
    """Generate the events of a completed turn, in a possible order and possible pieces.

    `ScriptedAdapter([events[1:]])` streams them. It adds the first event, `TurnStarted`, itself.
    """
    turn = draw(turns(adapter))
    events = list[Event]()
    for item in turn.items:
        match item:
            case TextItem(text=text):
                events += map(TextDelta, draw(_cut(text)))
            case ReasoningItem(text=text):
                events += map(ReasoningDelta, draw(_cut(text)))
            case RefusalItem(text=text):
                events += map(RefusalDelta, draw(_cut(text)))
            case ToolCallItem(id=id, name=name, arguments=arguments):
                events += (ToolCallDelta(id, name, piece) for piece in draw(_cut(arguments)))
                events.append(ToolCallReady(id, name, arguments))
    for event in draw(_extras):
        events.insert(draw(st.integers(0, len(events))), event)
    reason = "tool_calls" if turn.tool_calls else draw(st.sampled_from(["stop", "length", "pondering"]))
    usage = draw(_usages)
    return [TurnStarted(turn.model, Response(id="answer_1")), *events, Completed(reason, usage, turn)]


@st.composite
def chunkings(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Generate ways to cut `data`: whole, byte by byte, or at random places. Pieces may be empty."""
    if draw(st.integers(0, 7)) == 0:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


@st.composite
def tool_rounds(draw: st.DrawFn, toolset: Toolset[I]) -> ToolRound[I]:
    """Generate rounds of one to four calls of `toolset`. Some calls are invalid, so no tool can run them.

    Inputs are made from the tools' JSON schemas. `round.base` is the transcript before the turn, so
    `Session(llm, round.base)` can commit the round.
    """
    calls = list[ToolCallItem]()
    for i in range(draw(st.integers(1, 4))):
        name, arguments = draw(st.one_of(_good_calls(toolset), _good_calls(toolset), _bad_calls(toolset)))
        calls.append(ToolCallItem(f"call_{i}", name, arguments))
    spoken = [TextItem(draw(_words))] if draw(st.booleans()) else []
    items: tuple[ViewItem, ...] = (*spoken, *calls)
    turn = CommittedTurn("scripted", "scripted", "scripted-1", msgspec.json.encode(items), items)
    base = Transcript([Message("user", (Text(draw(_words)),))])
    reducer = Reducer(cast("Toolset[dict[str, Any]]", toolset))
    for call in calls:
        reducer.apply(ToolCallReady(call.id, call.name, call.arguments))
    result = TextResult(
        text=turn.text,
        reasoning="",
        refusal="",
        finish_reason="tool_calls",
        usage=Usage(10, len(items)),
        cumulative_usage=Usage(10, len(items)),
        attempts=(),
        model=turn.model,
        response=Response(),
        turn=turn,
        base=base,
        _request=TurnRequest(transcript=base),
    )
    return cast("ToolRound[I]", ToolRound(result, tuple(reducer.calls), tuple(reducer.issues)))


def check_replay(
    subject: Transcript | CommittedTurn,
    *,
    save: Callable[[Transcript], Any] = Transcript.dump,
    load: Callable[[Any], Transcript] = Transcript.load,
    adapter: Adapter | None = None,
) -> None:
    """Check that saving and loading changes no byte of a transcript or turn, and no byte of its request.

    A turn is put into a small transcript with results for its calls. `save` may return any value that `load`
    accepts: bytes, a row's id, a path. The requests are compared only if `adapter` is given. The adapter must
    be able to send the transcript.

    Raises:
      AssertionError: an item, the digest, the dump or the request differs.
      TranscriptError: `load` raised it.
    """
    before = subject if isinstance(subject, Transcript) else _around(subject)
    after = load(save(before))
    for i, (mine, theirs) in enumerate(zip(before, after, strict=False)):
        assert type(mine) is type(theirs), f"item {i}: was {type(mine).__name__}, is {type(theirs).__name__}"
        for field in mine.__struct_fields__:
            was, now = getattr(mine, field), getattr(theirs, field)
            assert was == now, f"item {i}: {field} was {was!r}, is {now!r}"
    assert len(before) == len(after), f"{len(before)} items were saved, {len(after)} loaded"
    assert before == after, "the digests differ"
    assert hash(before) == hash(after), "equal transcripts hash differently"
    assert before.dump() == after.dump(), "the dumps differ"
    assert before.head == after.head, "the heads differ"
    if adapter is not None:
        sent, again = adapter.prepare(_request(before)), adapter.prepare(_request(after))
        assert sent.body == again.body, f"the request differs at byte {_differs(sent.body, again.body)}"
        assert sent.forms == again.forms, f"the replay forms were {sent.forms}, are {again.forms}"


def check_prefix(adapter: Adapter, requests: Iterable[TurnRequest]) -> None:
    """Check that each request begins with the previous one, unless the adapter gives an `inexact_reason`.

    `requests` are the requests of one conversation, in order, as `ScriptedAdapter.requests` keeps them. Every
    turn of the conversation must have been committed. A request with an `inexact_reason` is skipped: the
    request after it is compared with the request before it. The check also prepares each request twice and
    compares the bytes.

    Raises:
      AssertionError: a request changes earlier content without a reason. The message contains the JSON path.
    """
    earlier: Prepared | None = None
    for number, request in enumerate(requests):
        prepared = adapter.prepare(request)
        again = adapter.prepare(request)
        assert prepared.body == again.body, f"prepare returned two bodies for request {number}"
        assert adapter.first_difference(prepared, again) is None, f"request {number} differs from itself"
        if prepared.inexact_reason:
            continue
        if earlier is not None:
            path = adapter.first_difference(earlier, prepared)
            assert path is None, (
                f"request {number} does not begin with the earlier one: they differ at {path}"
            )
        earlier = prepared


def check_rounds(items: Iterable[Item]) -> None:
    """Check that every call has exactly one result, in the place that the providers require.

    The Messages API requires a result for every `tool_use` in the very next message, and no other results
    there (Claude docs, "Implement tool use"). The Chat API requires an answer to every `tool_call_id` before
    any other message (OpenAI docs, "Function calling"). A `ToolResult` that has the name and the arguments of
    its call counts as both the call and the result.

    Raises:
      AssertionError: a call has no result or two results, or a result has no call. The message names the
        item.
    """
    waiting = dict[str, int]()
    seen = set[str]()
    for at, item in enumerate(items):
        if isinstance(item, ToolResult):
            if item.call_id in waiting:
                del waiting[item.call_id]
                continue
            assert not waiting, (
                f"item {at}: result {item.call_id!r} is among the results of item {_first(waiting)}"
            )
            complete = item.name is not None and item.arguments is not None
            assert complete, f"item {at}: result {item.call_id!r} has no call before it, or a second result"
            assert item.call_id not in seen, f"item {at}: a second result for call {item.call_id!r}"
            seen.add(item.call_id)
            continue
        assert not waiting, (
            f"item {at}: calls {list(waiting)} of item {_first(waiting)} have no result before it"
        )
        if isinstance(item, CommittedTurn):
            for call in item.tool_calls:
                assert call.id not in waiting, f"item {at}: two calls have the id {call.id!r}"
                waiting[call.id] = at
            seen = set(waiting)
    assert not waiting, f"calls {list(waiting)} of item {_first(waiting)} have no result"


def _first(waiting: Mapping[str, int]) -> int:
    return next(iter(waiting.values()), -1)


def _around(turn: CommittedTurn) -> Transcript:
    """Return the shortest conversation with this turn that a provider accepts."""
    before = Transcript([Message("user", (Text("Go on."),)), turn])
    for call in turn.tool_calls:
        before = before.append(ToolResult(call.id, (Text("done"),)))
    return before if turn.tool_calls else before.append(Message("user", (Text("And then?"),)))


def _request(transcript: Transcript) -> TurnRequest:
    return TurnRequest(transcript=transcript)


def _differs(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@st.composite
def _cut(draw: st.DrawFn, text: str) -> list[str]:
    """Return non-empty pieces that join to `text`."""
    cuts = sorted(draw(st.sets(st.integers(1, len(text) - 1), max_size=3))) if len(text) > 1 else []
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)]) if a < b]


def _parts(adapter: Adapter | None) -> st.SearchStrategy[Part]:
    text = st.builds(Text, _words)
    media: st.SearchStrategy[Part] = st.sampled_from(
        [
            Image.from_bytes(_PNG),
            Image.from_url("https://example.com/a.png"),
            Image.from_file_id("file_1"),
            Document.from_text("Two\nlines.", title="Notes", citations=True),
            Document.from_bytes(b"%PDF-1.7\n\xff", title='A "title"', context="Why it is here"),
            Document.from_url("https://example.com/a.pdf"),
        ]
    )
    if adapter is not None:
        return text | media
    return st.one_of(st.builds(Text, _text), media, st.builds(Raw, _names, _objects))


def _messages(roles: Sequence[Role], adapter: Adapter | None) -> st.SearchStrategy[Message]:
    plain = adapter is not None and roles != ("user",)
    parts = st.builds(Text, _words) if plain else _parts(adapter)
    content = st.lists(parts, min_size=1, max_size=3).map(lambda found: tuple[Part, ...](found))
    return st.builds(Message, st.sampled_from(roles), content)


def _others(adapter: Adapter | None, ids: Iterator[str]) -> st.SearchStrategy[Item]:
    if adapter is not None:
        return _messages(("user", "system", "developer"), adapter)
    alone = st.builds(_alone, _text, _names, _objects, st.booleans(), st.just(ids))
    messages = _messages(("system", "developer", "user", "assistant"), None)
    return st.one_of(messages, alone, st.builds(Raw, _names, _objects))


def _alone(text: str, name: str, arguments: str, wrong: bool, ids: Iterator[str]) -> ToolResult:
    return ToolResult(next(ids), (Text(text),), wrong, name, arguments)


def _results(call: ToolCallItem) -> st.SearchStrategy[ToolResult]:
    content = st.lists(st.builds(Text, _words), min_size=1, max_size=2).map(tuple)
    return st.builds(ToolResult, st.just(call.id), content, st.booleans())


@st.composite
def _turns(draw: st.DrawFn, name: str, scope: str, ids: Iterator[str], *, anything: bool) -> CommittedTurn:
    items = list[ViewItem]()
    blocks = list[str]()
    kinds = ["text", "thinking", "call"] + (["redacted", "server", "unknown"] if name == "claude" else [])
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
        block, item = draw(_blocks(kind, ids))
        blocks.append(block)
        if item is not None:
            items.append(item)
    if name == "claude":
        calls = any(isinstance(item, ToolCallItem) for item in items)
        wire = _claude_message(draw(_names), blocks, "tool_use" if calls else "end_turn").encode()
    elif name == "scripted":
        wire = msgspec.json.encode(items)
    else:
        wire = draw(_objects).encode()
    turn = CommittedTurn(name, scope, draw(_names), wire, tuple(items))
    if not anything:
        return turn
    return msgspec.structs.replace(
        turn,
        inexact_reason=draw(st.none() | _words),
        prefix=draw(st.none() | _hex),
        preface=draw(st.sampled_from([b"", b'[{"role":"system","content":"now"}]'])),
        tools=draw(st.lists(st.builds(ToolDef, _names, _objects, _text), max_size=2).map(tuple)),
        tokens=draw(st.none() | _tokens),
    )


@st.composite
def _blocks(draw: st.DrawFn, kind: str, ids: Iterator[str]) -> tuple[str, ViewItem | None]:
    """Return a content block as the Messages API writes it, and the same content as an item of the view."""
    match kind:
        case "text":
            text = draw(_words)
            return f'{{"type":"text","text":{_quote(text)},"citations":null}}', TextItem(text)
        case "thinking":
            text, signature = draw(_text | st.just("")), draw(_hex)
            return (
                f'{{"type":"thinking","thinking":{_quote(text)},"signature":"{signature}"}}',
                ReasoningItem(text),
            )
        case "redacted":
            return f'{{"type":"redacted_thinking","data":"{draw(_hex)}"}}', ReasoningItem("")
        case "call":
            id, name, arguments = next(ids), draw(_names), draw(_objects)
            block = f'{{"type":"tool_use","id":"{id}","name":"{name}","input":{arguments}}}'
            return block, ToolCallItem(id, name, arguments)
        case "server":
            id = "srvtoolu_" + next(ids)
            use = f'{{"type":"server_tool_use","id":"{id}","name":"web_search","input":{draw(_objects)}}}'
            return f'{use},{{"type":"web_search_tool_result","tool_use_id":"{id}","content":[]}}', None
        case _:
            return f'{{"type":"novelty","data":{draw(_objects)}}}', None


def _claude_message(model: str, blocks: Sequence[str], stop: str) -> str:
    return (
        f'{{"id":"msg_1","type":"message","role":"assistant","model":"{model}","content":[{",".join(blocks)}],'
        f'"stop_reason":"{stop}","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}'
    )


def _good_calls(toolset: Toolset[I]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(toolset.definitions).flatmap(
        lambda tool: st.tuples(st.just(tool.name), _arguments(tool, toolset))
    )


def _arguments(tool: ToolDef, toolset: Toolset[I]) -> st.SearchStrategy[str]:
    schema = json.loads(tool.schema)
    written = st.builds(_written, values(schema, schema), st.sampled_from([None, 1]))
    return written.filter(lambda text: _decodes(toolset, tool.name, text))


def _written(value: Any, indent: int | None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _decodes(toolset: Toolset[I], name: str, arguments: str) -> bool:
    tool = toolset.get(name)
    assert tool is not None
    try:
        tool.decode(arguments)
    except msgspec.MsgspecError:
        return False  # the type is stricter than the schema
    return True


def _bad_calls(toolset: Toolset[I]) -> st.SearchStrategy[tuple[str, str]]:
    unknown = st.tuples(_names.filter(lambda name: toolset.get(name) is None), _objects)
    broken = st.sampled_from(["", "[]", "null", '{"a":', "{} {}", "not JSON", "[" * 200])
    return unknown | st.tuples(st.sampled_from(toolset.names), broken)
