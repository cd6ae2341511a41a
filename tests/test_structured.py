"""Structured turns over the wire: values at any split, one typed outcome for everything else."""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import corpus
import httpx
import msgspec
import pytest
from example_files import loaded
from hypothesis import given, strategies as st
from msgspec import UNSET, Meta, Struct
from test_schema import Typed, same, types

import lutum
from lutum._schema import shape as _schema
from lutum._schema.shape import shape_of
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Block, Call, Reply, Say, Status, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions
from lutum_gemini import GeminiAdapter, GeminiOptions
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions


class River(Struct):
    """A river of the world."""

    name: str
    km: int = 0
    banks: list[Literal["left", "right"]] = []


ASK = "Which river is the longest? Say it as JSON."
NILE = '{"name":"Nile","km":6650,"banks":["left"]}'
TOOLS = lutum.Toolset(lutum.raw_tool("weather", {"type": "object", "properties": {}}))


class Way(Struct, frozen=True):
    """One way to ask for a value: an adapter, its options, and how the server words things."""

    name: str
    adapter: Callable[..., Any]
    model: str
    options: object
    length: str
    refused: dict[str, Any]
    tool: bool = False

    def says(self, *pieces: str, value: str = "River") -> list[Say | Call]:
        """The parts of a reply whose value is these pieces of JSON."""
        return [Call(value, pieces)] if self.tool else [Say(*pieces)]

    @contextmanager
    def llm(self, server: WireServer, **given: Any) -> Iterator[lutum.Lutum]:
        client = httpx.AsyncClient(transport=server.transport())
        url = server.url + ("/v1" if self.adapter is OpenAIAdapter else "")
        adapter = self.adapter(self.model, api_key="k", base_url=url, http_client=client)
        yield lutum.Lutum(adapter, ext=(self.options,), **given)


def ways() -> list[Way]:
    claude = {"stop_reason": "refusal"}
    responses = {"parts": (Block({"type": "refusal", "refusal": "I would rather not."}),)}
    chat = {"parts": (Block({"refusal": "I would rather not."}),)}
    made = [
        Way("claude-format", ClaudeAdapter, "claude-sonnet-4-5", ClaudeOptions(), "max_tokens", claude),
        Way(
            "claude-tool",
            ClaudeAdapter,
            "claude-sonnet-4-5",
            ClaudeOptions(structured="tool"),
            "max_tokens",
            claude,
            tool=True,
        ),
    ]
    for mode in ("json_schema", "tool"):
        refused = {"stop_reason": "SAFETY", "stop_details": {"finishMessage": "I would rather not."}}
        options = GeminiOptions(structured=mode)
        model, length = "gemini-3.8-flash", "MAX_TOKENS"
        made.append(
            Way(f"gemini-{mode}", GeminiAdapter, model, options, length, refused, tool=mode == "tool")
        )
    for name, adapter, length, refused in (
        ("responses", OpenAIAdapter, "max_output_tokens", responses),
        ("chat", OpenAIChatAdapter, "length", chat),
    ):
        for mode in ("json_schema", "json_object", "tool"):
            options = OpenAIOptions(structured=mode)
            made.append(
                Way(f"{name}-{mode}", adapter, "gpt-4o", options, length, refused, tool=mode == "tool")
            )
    return made


WAYS = ways()
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
ways_with_text = pytest.mark.parametrize(
    "way", [way for way in WAYS if not way.tool], ids=lambda way: way.name
)


def cut(text: str, places: Iterable[int]) -> list[str]:
    """The text in pieces, none of them empty."""
    ends = [*sorted({at for at in places if 0 < at < len(text)}), len(text)]
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.slow
@given(types, st.data())
async def test_round_trip_at_any_split(typed: Typed, data: st.DataObject) -> None:
    """Any value of any type, streamed at random splits, is the value, and each view before it a part."""
    type, pairs = typed
    shape = shape_of(type)
    value, written = data.draw(pairs)
    wire = {"value": written} if shape.wrapped else written
    text = json.dumps(wire, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1)))
    pieces = cut(text, data.draw(st.lists(st.integers(1, len(text)), max_size=8)))
    server = WireServer([Reply(*WAYS[0].says(*pieces))])
    with WAYS[0].llm(server) as llm:
        async with llm.structured_turn(type, "a value").stream() as stream:
            async for event in stream:
                if isinstance(event, lutum.StructuredDelta):
                    reader = shape.partial()
                    reader.feed(stream.partial.json)
                    assert stream.partial_value() == shape.view(reader.value())
                elif isinstance(event, lutum.StructuredReady):
                    assert same(event.value, value)
                    assert event.json == text
        assert same(stream.result.value, value)
        assert stream.partial_value() == written


@every_way
async def test_a_value_in_structured(way: Way) -> None:
    """Deltas, then the decoded value once, then the end; null where there is a default is the default."""
    nulls = '{"name":"Nile","km":null,"banks":null}'
    server = WireServer([Reply(*way.says(*cut(NILE, range(0, 40, 7)))), Reply(*way.says(nulls))])
    with way.llm(server) as llm:
        turn = llm.structured_turn(River, ASK)
        async with turn.stream() as stream:
            events = [event async for event in stream]
        ready = [event for event in events if isinstance(event, lutum.StructuredReady)]
        assert ready == [lutum.StructuredReady(NILE, River("Nile", 6650, ["left"]))]
        assert events.index(ready[0]) == len(events) - 2
        assert "".join(event.json for event in events if isinstance(event, lutum.StructuredDelta)) == NILE
        assert stream.result.value == ready[0].value
        assert (stream.result.finish_reason, stream.result.refusal) == ("stop", None)
        assert stream.result.turn.text == NILE
        assert (await turn.collect()).value == River("Nile", 0, [])


@every_way
async def test_scalars_and_lists_are_wrapped_for_the_provider_alone(way: Way) -> None:
    """The schema's root is an object; the value, its views and the paths of errors know of no wrapper."""
    shape = shape_of(list[int])
    replies = [Reply(*way.says(text, value=shape.name)) for text in ('{"value":[1,2]}', '{"value":[1,"2"]}')]
    with way.llm(WireServer(replies)) as llm:
        turn = llm.structured_turn(list[int], ASK)
        async with turn.stream() as stream:
            async for event in stream:
                if isinstance(event, lutum.StructuredDelta) and stream.partial.json.endswith("]}"):
                    assert stream.partial_value() == stream.partial_value(as_type=True) == [1, 2]
        assert stream.result.value == [1, 2]
        with pytest.raises(lutum.OutputInvalid, match="Expected `int`") as caught:
            await turn.collect()
        assert caught.value.path == "$[1]"


@every_way
async def test_a_value_that_was_cut(way: Way) -> None:
    """The output limit is one error, however much had come: it is in its partial, and is charged."""
    for text in (NILE[:12], NILE):
        server = WireServer([Reply(*way.says(text), stop_reason=way.length)])
        with way.llm(server, budget=lutum.Budget(tokens=50_000)) as llm:
            turn = llm.structured_turn(River, ASK)
            with pytest.raises(lutum.OutputLimitExceeded) as caught:
                await turn.collect()
            error = caught.value
            assert (error.partial.json, error.started) == (text, True)
            assert error.usage == llm.budget.spent
            assert error.usage.known == "exact"
            assert llm.budget.spent.output_tokens > 0


@every_way
async def test_a_refusal_is_a_result(way: Way) -> None:
    """Its words are in `refusal`, `value` raises, nothing was ready, and a session stores it."""
    reply: dict[str, Any] = {"parts": (Say("I would rather not."),), **way.refused}
    parts = reply.pop("parts")
    with way.llm(WireServer([Reply(*parts, **reply)])) as llm:
        session = lutum.Session(llm)
        session.push_user(ASK)
        async with session.structured_turn(River).stream() as stream:
            events = [event async for event in stream]
        assert not any(isinstance(event, lutum.StructuredReady) for event in events)
        assert stream.result.refusal == "I would rather not."
        with pytest.raises(lutum.Refused, match="I would rather not"):
            _ = stream.result.value
        session.commit_structured(stream.result)
        assert session.turns() == [stream.result.turn]


@ways_with_text
async def test_a_refusal_counts_whatever_stands_beside_it(way: Way) -> None:
    """A whole value and a refusal in one answer are a refusal; the text is still there."""
    reply: dict[str, Any] = {"parts": (), **way.refused}
    refusal = reply.pop("parts")
    with way.llm(WireServer([Reply(Say(NILE), *refusal, **reply)])) as llm:
        result = await llm.structured_turn(River, ASK).collect()
        assert result.refusal
        with pytest.raises(lutum.Refused):
            _ = result.value


async def test_a_refusal_without_a_word() -> None:
    """A filter that says nothing is a refusal too, never the value None."""
    adapter = ScriptedAdapter([lutum.testing.Script((), finish_reason="content_filter")])
    result = await lutum.Lutum(adapter).structured_turn(int | None, "x").collect()
    assert result.refusal == ""
    with pytest.raises(lutum.Refused, match="without a reason"):
        _ = result.value


@every_way
async def test_nothing_at_all(way: Way) -> None:
    """A whole turn without a value is `OutputInvalid` with nothing in `raw`."""
    reply = Reply(Say(" ")) if not way.tool else Reply(Say("Let me think."))
    with way.llm(WireServer([reply])) as llm:
        with pytest.raises(lutum.OutputInvalid, match="without a value") as caught:
            await llm.structured_turn(River, ASK).collect()
        assert caught.value.raw.strip() == ""
        assert caught.value.path == "$"


WRONG = [
    ('{"name":"Nile","km":"long","banks":[]}', "$.km", "Expected `int`"),
    ('{"name":"Nile","km":1,"banks":["left","up"]}', "$.banks[1]", "up"),
    ('{"km":1,"banks":[]}', "$", "name"),
    ("[]", "$", "Expected `object`"),
    (f"Here you are: {NILE}", "$", "not one JSON value"),
    (f"{NILE} I hope it helps", "$", "not one JSON value"),
    (f"```json\n{NILE}\n```", "$", "not one JSON value"),
    (NILE + NILE, "$", "not one JSON value"),
    (NILE[:-1], "$", "not one JSON value"),
    ('{"name":"Nile","name":"Po","km":1,"banks":[]}', "$.name", "twice"),
    ('{"name":"Nile","km":NaN,"banks":[]}', "$", "NaN"),
    ('{"name":' + "[" * 10_000 + "]" * 10_000 + "}", "$", "nested too deeply"),
    ('{"name":"\\ud800","km":1,"banks":[]}', "$.name", "surrogate"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "text", "path", "reason"),
    [
        pytest.param(way, *wrong, id=f"{way.name}-{number}")
        for way in WAYS
        for number, wrong in enumerate(WRONG)
        # Of arguments nested that deeply the wire server can make no call of the Claude dialect.
        if way.name != "claude-tool" or len(wrong[0]) < 10_000
    ],
)
async def test_what_is_no_value_in_structured(way: Way, text: str, path: str, reason: str) -> None:
    """Wrong types, prose, fences, two values, double keys, NaN, deep nesting: `OutputInvalid`, and where."""
    server = WireServer([Reply(*way.says(*cut(text, [5, 11, len(text) - 2])))])
    with way.llm(server, budget=lutum.Budget(tokens=200_000)) as llm:
        turn = llm.structured_turn(River, ASK)
        async with turn.stream() as stream:
            with pytest.raises(lutum.OutputInvalid) as caught:
                async for event in stream:
                    if isinstance(event, lutum.StructuredDelta):
                        stream.partial_value(as_type=True)
        error = caught.value
        assert (error.raw, error.path, error.partial.json) == (text, path, text)
        assert reason in error.reason
        assert str(error).startswith(f"{error.reason} - at {path} (")
        assert error.usage == llm.budget.spent
        assert error.usage.known == "exact"
        with pytest.raises(lutum.OutputInvalid):
            _ = stream.result


class Size(enum.Enum):
    small = "s"
    large = "l"


Many = enum.Enum("Many", {f"m{i}": f"v{i}" for i in range(23)})


class Labels(msgspec.Struct):
    mood: Literal["good", "bad"]
    size: Size | None
    sizes: list[Size]


@pytest.mark.parametrize(
    ("type", "json", "expected"),
    [
        (Literal["a", "b"], '{"value":"c"}', ["Invalid enum value 'c'; allowed are 'a', 'b' - at $"]),
        (Literal["a"] | None, '{"value":"c"}', ["Invalid enum value 'c'; allowed is 'a' - at $"]),
        (
            Labels,
            '{"mood":"so","size":"m","sizes":["s","m"]}',
            [
                "Invalid enum value 'so'; allowed are 'good', 'bad' - at $.mood",
                "Invalid enum value 'm'; allowed are 's', 'l' - at $.size",
                "Invalid enum value 'm'; allowed are 's', 'l' - at $.sizes[1]",
            ],
        ),
        (Many, '{"value":"c"}', ["; allowed are 'v0', 'v1', ", "'v19' and 3 more - at $"]),
    ],
)
def test_the_values_of_an_enum_are_listed(type: Any, json: str, expected: list[str]) -> None:
    """At most 20 of them, so that a model that reads the message can answer again."""
    with pytest.raises(lutum.OutputInvalid) as caught:
        shape_of(type).decode(json)
    assert [one for one in expected if one not in str(caught.value)] == []
    assert "'v20'" not in str(caught.value)


async def test_a_message_that_is_repeated_word_for_word_is_one_value() -> None:
    """gpt-4o does that; two values that differ are no value."""
    way = next(way for way in WAYS if way.name == "responses-json_schema")
    other = NILE.replace("Nile", "Po")
    with way.llm(WireServer([Reply(Say(NILE), Say(NILE)), Reply(Say(NILE), Say(other))])) as llm:
        turn = llm.structured_turn(River, ASK)
        assert (await turn.collect()).value == River("Nile", 6650, ["left"])
        with pytest.raises(lutum.OutputInvalid) as caught:
            await turn.collect()
        assert caught.value.raw == NILE + other


async def test_a_paused_turn_has_no_value_yet() -> None:
    """It is committed, and the next turn goes on with nothing pushed."""
    server = WireServer([Reply(Say(NILE[:9]), stop_reason="pause_turn")])
    with WAYS[0].llm(server) as llm:
        session = lutum.Session(llm)
        session.push_user(ASK)
        result = await session.structured_turn(River).collect()
        assert (result.finish_reason, result.refusal) == ("paused", None)
        with pytest.raises(lutum.TurnNotFinished, match="paused"):
            _ = result.value
        session.commit_structured(result)


@ways_with_text
async def test_with_tools(way: Way) -> None:
    """A turn with a call needs its tools, whatever else it says; without one it is finished."""
    scripts = [
        Reply(Say("Let me look."), Call("weather", {})),
        Reply(Say(NILE), Call("weather", {})),
        Reply(Say(NILE)),
    ]
    with way.llm(WireServer(scripts)) as llm:
        session = lutum.Session(llm)
        session.push_user(ASK)
        for said in ("Let me look.", NILE):
            async with session.structured_turn(River).tools(TOOLS).stream() as stream:
                events = [event async for event in stream]
            assert not any(isinstance(event, lutum.StructuredReady) for event in events)
            outcome = stream.result
            assert isinstance(outcome, lutum.NeedsTools)
            assert outcome.round.turn.text == said
            session.commit_round(outcome.round, [call.complete("sunny") for call in outcome.round.calls])
        finished = await session.structured_turn(River).tools(TOOLS).collect()
        assert isinstance(finished, lutum.Finished)
        assert finished.result.value == River("Nile", 6650, ["left"])
        session.commit_structured(finished.result)


class Bounded(Struct):
    """A type whose constraints Claude is not told."""

    km: Annotated[int, Meta(ge=0, le=7000)]
    name: Annotated[str, Meta(max_length=4)]


async def test_dropped_constraints_are_listed_enforced_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the provider is not told is in the preview, holds on decode, and is one warning a schema."""
    replies = [Reply(Say('{"km":1,"name":"Nile"}')), Reply(Say('{"km":7001,"name":"Nile"}'))]
    shape_of(Bounded).logged.clear()
    with WAYS[0].llm(WireServer(replies)) as llm, caplog.at_level(logging.WARNING, "lutum"):
        turn = llm.structured_turn(Bounded, "x")
        dropped = turn.preview().dropped_constraints
        assert dropped == ("$.km: maximum 7000", "$.km: minimum 0", "$.name: maxLength 4")
        assert not caplog.records
        await turn.collect()
        with pytest.raises(lutum.OutputInvalid) as caught:
            await turn.collect()
        assert caught.value.path == "$.km"
    (record,) = caplog.records
    assert record.getMessage() == (
        "claude does not receive these constraints of Bounded, which are enforced on decode: "
        + "; ".join(dropped)
    )


async def test_a_host_that_refuses_the_mode() -> None:
    """Its error is the provider's, with its status and words; nothing is sent in another way instead."""
    words = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    server = WireServer([Status(400, "invalid_request_error", words)])
    way = next(way for way in WAYS if way.name == "chat-json_schema")
    with way.llm(server) as llm:
        with pytest.raises(lutum.ProviderError, match="response_format") as caught:
            await llm.structured_turn(River, ASK).collect()
        assert (caught.value.status, caught.value.kind) == (400, "invalid_request")
        assert len(server.requests) == 1


async def test_asking_again() -> None:
    """The example's loop: what was wrong goes along once, is charged, and is in no transcript."""
    with loaded("reask") as example:
        loop = example.ask
    server = WireServer([Reply(Say(NILE.replace("6650", '"long"'))), Reply(Say(NILE))])
    with WAYS[0].llm(server) as llm:
        session = lutum.Session(llm)
        session.push_user(ASK)
        result = await loop(session, River)
        session.commit_structured(result)
        assert result.value == River("Nile", 6650, ["left"])
        assert b"Expected `int`, got `str` - at $.km" in server.requests[1].body
        assert (len(session.transcript), session.ephemerals) == (2, ())
        server.add(*[Reply(Say("{}"))] * 3)
        with pytest.raises(lutum.OutputInvalid):
            await loop(session, River)


@pytest.mark.slow
async def test_nothing_is_parsed_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a value of 1 MB in 20,000 deltas no character is parsed before the last; then it is, once."""
    parsed: list[int] = []

    def counted(data: bytes) -> object:
        parsed.append(len(data))
        return quick(data)

    quick = _schema._quick
    monkeypatch.setattr(_schema, "_quick", counted)
    monkeypatch.setattr(_schema, "_parse", None)
    rows = [{"name": f"river {i} " + "x" * 80, "km": i, "banks": []} for i in range(8_000)]
    text = json.dumps({"value": rows})
    assert len(text) > 1_000_000
    step = len(text) / 20_000
    pieces = [text[int(i * step) : int((i + 1) * step)] for i in range(20_000)]
    scripted = ScriptedAdapter([[lutum.StructuredDelta(piece) for piece in pieces]])
    async with lutum.Lutum(scripted).structured_turn(list[River], "all").stream() as stream:
        async for event in stream:
            if isinstance(event, lutum.StructuredDelta):
                assert parsed == []
                assert stream._reducer._reader is None
    assert parsed == [len(text)]
    assert stream.result.value == [River(row["name"], row["km"], []) for row in rows]


keys = st.text(st.sampled_from('ab\\"\u00e9:'), max_size=3)
trees: st.SearchStrategy[Any] = st.recursive(
    keys | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(keys, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def written(tree: Any, ascii: bool) -> str:
    """JSON text in which a tuple of pairs is an object, doubled keys and all."""
    if isinstance(tree, list):
        return f"[{', '.join(written(one, ascii) for one in tree)}]"
    if isinstance(tree, tuple):
        pairs = (f"{written(key, ascii)}: {written(one, ascii)}" for key, one in tree)
        return f"{{{','.join(pairs)}}}"
    return json.dumps(tree, ensure_ascii=ascii)


def doubled(tree: Any) -> bool:
    if isinstance(tree, tuple):
        names = [key for key, _ in tree]
        return len(set(names)) < len(names) or any(doubled(one) for _, one in tree)
    return isinstance(tree, list) and any(doubled(one) for one in tree)


@given(trees, st.booleans())
def test_the_quick_reading_meets_every_doubled_key(tree: Any, ascii: bool) -> None:
    """What it does not doubt has no key twice, and is the text again with every number's digits."""
    text = written(tree, ascii)
    read = _schema._quick(text.encode())
    if doubled(tree):
        assert read is UNSET
    elif read is not UNSET:
        assert json.loads(msgspec.json.encode(read)) == json.loads(text)
    else:
        assert "-0" in text


async def test_views_on_the_way_cost_what_arrived() -> None:
    """A hundred views of an arriving value scan each of its characters once, whatever the type."""
    text = json.dumps({"name": "Nile" * 5_000, "km": 6650, "banks": ["left"] * 500})
    pieces = cut(text, range(0, len(text), 10))
    scripted = ScriptedAdapter([[lutum.StructuredDelta(piece) for piece in pieces]])
    async with lutum.Lutum(scripted).structured_turn(River, "one").stream() as stream:
        assert stream.partial_value() is UNSET
        count = 0
        async for event in stream:
            if isinstance(event, lutum.StructuredDelta):
                count += 1
                if count % (len(pieces) // 100) == 0:
                    stream.partial_value(as_type=True)
        assert stream.partial_value() == json.loads(text)
        reader = stream._reducer._reader
        assert reader is not None
        assert reader._scanned <= len(text) * 1.01  # a cut escape or word is scanned again


# The recorded exchanges.


def structured(kind: corpus.Name) -> list[dict[str, Any]]:
    return [
        record
        for record in corpus.load(kind)
        if record["sse"] and record["final"] is not None and "structured_output" in record["features"]
    ]


def claude_text(final: dict[str, Any]) -> tuple[list[str], bool]:
    blocks = final["content"]
    return [block["text"] for block in blocks if block["type"] == "text"], any(
        block["type"] == "tool_use" for block in blocks
    )


def responses_text(final: dict[str, Any]) -> tuple[list[str], bool]:
    parts = [part for item in final["output"] for part in item.get("content") or ()]
    texts = [part["text"] for part in parts if part["type"] == "output_text"]
    return texts, any(item["type"] == "function_call" for item in final["output"])


def chat_text(final: dict[str, Any]) -> tuple[list[str], bool]:
    message = final["choices"][0]["message"]
    return [message["content"]] if message["content"] else [], bool(message.get("tool_calls"))


RECORDED: list[tuple[corpus.Name, Any, Any, int, int]] = [
    ("claude_messages", ClaudeAdapter, claude_text, 16, 631),
    ("openai_responses", OpenAIAdapter, responses_text, 8, 392),
    ("openai_chat", OpenAIChatAdapter, chat_text, 6, 591),
]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("kind", "dialect", "texts", "least", "recorded"), RECORDED, ids=[one[0] for one in RECORDED]
)
async def test_recorded_values_are_those_of_the_vendors_sdk(
    kind: corpus.Name, dialect: Any, texts: Any, least: int, recorded: int
) -> None:
    """Each recorded structured stream decodes to the value its vendor's SDK holds, or is refused as there."""
    values, invalid = 0, dict[str, tuple[str, str]]()
    for record in structured(kind):
        said, called = texts(record["final"])
        value = parsed(said[0]) if said else None
        type = typed_like(value) if isinstance(value, dict) else River

        async def answer(request: httpx.Request, record: dict[str, Any] = record) -> httpx.Response:
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, content=record["sse"].encode())

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            model = record["request"]["model"] if record["request"] else "gpt-4o"
            host = f"https://{record['host']}{'' if dialect is ClaudeAdapter else '/v1'}"
            llm = lutum.Lutum(dialect(model, api_key="k", base_url=host, http_client=client))
            try:
                outcome = await llm.structured_turn(type, "x").tools(TOOLS).collect()
            except lutum.OutputLimitExceeded:
                assert "stop_max_tokens" in record["features"] or '"length"' in record["sse"], record["id"]
                continue
            except lutum.OutputInvalid as error:  # no JSON, or not as regular as the type made from it
                invalid[record["id"]] = (error.raw, "".join(said))
                continue
        if called:
            assert isinstance(outcome, lutum.NeedsTools), record["id"]
            continue
        assert isinstance(outcome, lutum.Finished), record["id"]
        if said:
            assert msgspec.to_builtins(outcome.result.value) == value, record["id"]
            values += 1
        else:
            assert outcome.result.refusal, record["id"]
    assert all(raw == text for raw, text in invalid.values()), invalid
    assert values >= least * len(corpus.load(kind)) / recorded


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def typed_like(value: dict[str, Any]) -> Any:
    """A type whose values look like this one."""

    def like(one: Any) -> Any:
        if isinstance(one, dict):
            return typed_like(one)
        if isinstance(one, list):
            return list[like(one[0]) if one else str]
        return type(one)

    keys = {f"field{i}": key for i, key in enumerate(value)}
    fields = [(name, like(value[key])) for name, key in keys.items()]
    return msgspec.defstruct("Recorded", fields, rename=keys)


async def test_a_host_that_refuses_is_told_by_the_option() -> None:
    """A provider that takes no structured output refuses, and the error names the option that asked."""
    server = WireServer([Status(400, error_type="invalid_request_error", message="no such format")])
    client = httpx.AsyncClient(transport=server.transport())
    adapter = ClaudeAdapter(model="claude-sonnet-4-5", base_url=server.url, http_client=client)
    with pytest.raises(lutum.ProviderError, match=r"no such format .*ClaudeOptions\(structured='format'\)"):
        await lutum.Lutum(adapter).structured_turn(list[int], "hello").collect()
