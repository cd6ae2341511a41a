"""The Completions adapter: what goes out, what comes back, what is refused, and whole turns on the wire."""

import json
import random
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, strategies as st

import lutum
from lutum.abc import OutputFormat, Prepared, ToolPlan, TurnRequest
from lutum.testing import _check_adapter
from lutum.testing.wire import Cut, ErrorEvent, Reply, Say, Status, WireServer
from lutum_openai import OpenAIOptions
from lutum_openai.completions import OpenAICompletionsAdapter
from lutum_openai.completions._decode import CompletionsDecoder

MODEL = "gpt-3.5-turbo-instruct"
KEY = "sk-secret-0123456789"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = b"data: [DONE]\n\n"


def adapter(**given: Any) -> OpenAICompletionsAdapter:
    given.setdefault("base_url", "https://api.openai.com/v1")
    given.setdefault("api_key", KEY)
    return OpenAICompletionsAdapter(MODEL, **given)


def prepare(
    input: lutum.ModelInput | None = None,
    *options: OpenAIOptions,
    via: OpenAICompletionsAdapter | None = None,
    **more: Any,
) -> Prepared:
    request: dict[str, Any] = {
        "transcript": (lutum.ModelInput().user("Once upon") if input is None else input).transcript,
        "settings": lutum.Settings(ext=options),
    }
    return (via or adapter()).prepare(TurnRequest(**request | more))


def body(prepared: Prepared) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(prepared.body)
    return read


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if text is None else [{"text": text, "index": 0, "finish_reason": finish, "logprobs": None}]
    whole = {"id": "cmpl-1", "object": "text_completion", "model": "instruct-x", "choices": choices}
    return b"data: " + msgspec.json.encode(whole | more) + b"\n\n"


STREAM = chunk("Hel") + chunk("lo") + chunk("", "stop") + chunk(usage=USAGE) + DONE


def decode(*pieces: bytes) -> list[lutum.Event]:
    """The events of a whole response."""
    out = list[lutum.Event]()
    reading = CompletionsDecoder(lutum.Response(), model=MODEL, scope="host", estimate=lutum.Estimate(20, 50))
    for piece in pieces:
        reading.feed(piece, out)
    reading.eof(out)
    return out


def completed(events: list[lutum.Event]) -> lutum.Completed:
    last = events[-1]
    assert isinstance(last, lutum.Completed), events
    return last


def test_the_request() -> None:
    """A prompt, what was set, and that it streams and reports usage; preparing it twice gives the same."""
    settings = lutum.Settings(temperature=0.5, top_p=0.9, max_output_tokens=64, stop=("\n",), seed=7)
    prepared = prepare(lutum.ModelInput().user("Once upon"), settings=settings)
    assert prepared.url == "https://api.openai.com/v1/completions"
    assert body(prepared) == {
        "model": MODEL,
        "prompt": "Once upon",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 64,
        "stop": ["\n"],
        "seed": 7,
        "stream_options": {"include_usage": True},
        "stream": True,
    }
    assert prepared.estimate.output_tokens == 64
    assert prepared.secret_headers == ("authorization",)
    assert KEY not in repr(prepared)
    assert prepare(lutum.ModelInput().user("Once upon"), settings=settings).body == prepared.body


def test_what_nobody_said_is_bounded() -> None:
    """A request without a bound is sent the adapter's, and that is what is reserved."""
    assert body(prepare())["max_tokens"] == 1024
    via = adapter(default_max_output_tokens=9)
    assert prepare(via=via).estimate.output_tokens == body(prepare(via=via))["max_tokens"] == 9
    with pytest.raises(lutum.BadValue, match="default_max_output_tokens"):
        adapter(default_max_output_tokens=0)


def test_completions_options() -> None:
    """Of the options, the user and the extras go out; several answers are several times the bound."""
    prepared = prepare(
        None, OpenAIOptions(user="u1", extra_body={"n": 3, "echo": True}, extra_headers={"X-Trace": "1"})
    )
    assert body(prepared).items() >= {"user": "u1", "n": 3, "echo": True}.items()
    assert ("x-trace", "1") in prepared.headers
    assert prepared.estimate.output_tokens == 3 * 1024
    assert body(prepare(None, OpenAIOptions(extra_body={"stream_options": None})))["stream_options"] is None


REFUSED: list[tuple[str, Any]] = [
    ("output", lambda: prepare(output=OutputFormat("x", "{}"))),
    ("tools", lambda: prepare(tools=ToolPlan(head=(lutum.ToolDef("f", "{}"),)))),
    ("tools", lambda: prepare(tools=ToolPlan(new=(lutum.ToolDef("f", "{}"),)))),
    ("ephemerals", lambda: prepare(ephemerals=((0, lutum.ModelInput().system("x").transcript[0]),))),
    ("input", lambda: prepare(lutum.ModelInput().system("x").user("y"))),
    ("input", lambda: prepare(lutum.ModelInput())),
    (r"input\[0\]", lambda: prepare(lutum.ModelInput().system("x"))),
    (r"input\[0\]", lambda: prepare(lutum.ModelInput().raw("openai-completions", "{}"))),
    (
        r"input\[0\]\.content\[1\]",
        lambda: prepare(lutum.ModelInput().user([lutum.Text("a"), lutum.Image.from_url("https://x/y.png")])),
    ),
    ("effort", lambda: prepare(None, OpenAIOptions(effort="low"))),
    ("structured", lambda: prepare(None, OpenAIOptions(structured="tool"))),
    (r"extra_body\.prompt", lambda: prepare(None, OpenAIOptions(extra_body={"prompt": "other"}))),
]


@pytest.mark.parametrize(("field", "build"), REFUSED, ids=range(len(REFUSED)))
def test_anything_but_a_prompt_is_refused(field: str, build: Any) -> None:
    """Roles, tools, schemas, pictures, options of other APIs: refused, and the field is named."""
    with pytest.raises(lutum.BadValue, match=f"^{field}: "):
        build()


def test_urls_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's own host demands a key, another does not; Azure has the model in its URL."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(lutum.BadValue, match="api_key"):
        prepare(via=adapter(api_key=None))
    local = adapter(api_key=None, base_url="http://localhost:8000/v1")
    assert prepare(via=local).url == "http://localhost:8000/v1/completions"
    assert local.scope == "localhost:8000"
    with pytest.raises(lutum.BadValue, match="api_version"):
        adapter(base_url="https://me.openai.azure.com")
    azure = adapter(base_url="https://me.openai.azure.com", api_version="2024-10-21")
    assert prepare(via=azure).secret_headers == ("api-key",)
    assert (
        prepare(via=azure).url == "https://me.openai.azure.com/openai/deployments/"
        f"{MODEL}/completions?api-version=2024-10-21"
    )
    with pytest.raises(lutum.BadValue, match="model"):
        OpenAICompletionsAdapter(" ")


def test_a_stream() -> None:
    """Text as it comes, usage of the last chunk, and a completion at `[DONE]` that no provider replays."""
    events = decode(STREAM)
    assert events[:-1] == [
        lutum.TurnStarted("instruct-x", lutum.Response(id="cmpl-1")),
        lutum.TextDelta("Hel"),
        lutum.TextDelta("lo"),
        lutum.UsageUpdate(lutum.Usage(7, 3), True),
    ]
    done = completed(events)
    assert (done.finish_reason, done.usage, done.turn.text) == ("stop", lutum.Usage(7, 3), "Hello")
    assert not done.turn.exact
    assert not adapter().replay_form(done.turn, "host", MODEL).exact


def test_usage_wherever_it_comes() -> None:
    """In any chunk, in the last, or never: then what is settled is a count and an estimate, not zero."""
    early = decode(chunk("Hello", usage=USAGE), chunk("", "stop"), DONE)
    assert completed(early).usage == lutum.Usage(7, 3, known="lower_bound")
    with_finish = decode(chunk("Hello"), chunk("", "length", usage=USAGE), DONE)
    assert completed(with_finish).usage == lutum.Usage(7, 3)
    assert completed(with_finish).finish_reason == "length"
    never = decode(chunk("Hel"), chunk("lo", "stop"), DONE)
    assert completed(never).usage == lutum.Usage(20, 2, known="estimated")


def test_only_a_finish_reason_completes() -> None:
    """Neither `[DONE]` nor the end of the response completes a stream without a finish reason."""
    for pieces in ([chunk("Hello")], []):
        assert not any(isinstance(event, lutum.Completed) for event in decode(*pieces))
    for pieces in ([chunk("Hello"), DONE], [DONE]):
        with pytest.raises(lutum.ProviderError, match="without a finish_reason"):
            decode(*pieces)
    assert completed(decode(chunk("Hello", "stop"))).turn.text == "Hello"
    assert completed(decode(chunk("", "stop"), DONE)).turn.items == ()


@given(st.lists(st.integers(0, len(STREAM)), max_size=6), st.integers(0, len(STREAM)))
def test_split_anywhere(places: list[int], cut: int) -> None:
    """Any split gives the same events; a prefix gives no completion, or the whole text."""
    ends = [*sorted(places), len(STREAM)]
    assert decode(*(STREAM[a:b] for a, b in zip([0, *ends], ends, strict=False))) == decode(STREAM)
    whole = [event for event in decode(STREAM[:cut]) if isinstance(event, lutum.Completed)]
    assert all(event.turn.text == "Hello" for event in whole)


def test_what_is_not_known_is_kept() -> None:
    """Further answers, log probabilities and members a server adds are events of their own."""
    events = decode(
        chunk("a", system_fingerprint="fp_1"),
        b'data: {"choices":[{"text":"b","index":1}],"system_fingerprint":"fp_1"}\n\n',
        b'data: {"choices":[{"text":"","index":0,"logprobs":{"tokens":["a"]}}]}\n\n',
        b': keep-alive\n\ndata: {"object":"ping"}\n\n',
        chunk("", "stop"),
        DONE,
    )
    assert [event for event in events if isinstance(event, lutum.ProviderEvent)] == [
        lutum.ProviderEvent("system_fingerprint", b'"fp_1"'),
        lutum.ProviderEvent("choice.1", b'{"text":"b","index":1}'),
        lutum.ProviderEvent("logprobs", b'{"tokens":["a"]}'),
        lutum.ProviderEvent("chunk", b'{"object":"ping"}'),
    ]
    assert completed(events).turn.text == "a"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'data: {"error":{"message":"busy","type":"overloaded_error"}}\n\n', "overloaded"),
        (b'event: error\ndata: {"message":"slow down","type":"rate_limit_error"}\n\n', "rate_limit"),
        (b"data: {no json}\n\n", "malformed"),
        (b'data: {"choices":"none"}\n\n', "malformed"),
        (b'data: {"choices":[{"text":7}]}\n\n', "malformed"),
        (b'data: {"choices":[{"text":"\xff"}]}\n\n', "malformed"),
    ],
)
def test_completions_errors_in_a_stream(data: bytes, kind: str) -> None:
    """An error event, and data that is not the protocol, end the turn behind what came before."""
    out = list[lutum.Event]()
    reading = CompletionsDecoder(lutum.Response(), model=MODEL, scope="host", estimate=lutum.Estimate())
    with pytest.raises(lutum.ProviderError) as caught:
        reading.feed(chunk("a") + data + STREAM, out)
    assert caught.value.kind == kind
    assert out[-1] == lutum.TextDelta("a")
    reading.feed(STREAM, out)
    reading.eof(out)
    assert out[-1] == lutum.TextDelta("a")


async def test_on_the_wire() -> None:
    """A completion through `Lutum(completion=)`: one request with the key, charged as the server says."""
    server = WireServer([Reply(Say(" a", " time"))], api_key=KEY)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        llm = lutum.Lutum(
            adapter(base_url=f"{server.url}/v1", http_client=client),
            budget=lutum.Budget(tokens=10_000),
        )
        turn = llm.completion("Once upon").temperature(0)
        shown = turn.preview()
        result = await turn.collect()
        (request,) = server.requests
        assert (request.path, request.body) == ("/v1/completions", shown.body)
        assert KEY not in repr(shown)
        assert (result.text, result.finish_reason) == (" a time", "stop")
        assert result.usage.known == "exact"
        assert llm.budget.spent == result.usage
        with pytest.raises(lutum.BadValue, match=r"^output: "):
            await llm.structured_completion(list[int], "count").collect()
        assert len(server.requests) == 1


async def test_faults_on_the_wire() -> None:
    """A status, an error event and a cut are what they are with every other dialect."""
    scripts = [
        Status(401),
        Reply(Say(" a", ErrorEvent("server_error"))),
        Reply(Say(" a", Cut())),
    ]
    server = WireServer(scripts)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        turn = lutum.Lutum(adapter(base_url=f"{server.url}/v1", http_client=client)).completion("Once upon")
        with pytest.raises(lutum.ProviderError) as status:
            await turn.collect()
        assert (status.value.status, status.value.kind) == (401, "authentication")
        with pytest.raises(lutum.ProviderError) as event:
            await turn.collect()
        assert (event.value.kind, event.value.started) == ("server", True)
        with pytest.raises(lutum.Interrupted) as cut:
            await turn.collect()
        assert cut.value.partial.text == " a"


async def test_what_the_conformance_kit_checks_of_one_turn() -> None:
    """Splits, cuts and early exits; there is no second turn here whose replay it could check."""
    chance = random.Random(0)
    for body in (STREAM, chunk("Hi", "stop") + DONE):
        whole = await _check_adapter._check_splits(connected, body, chance)
        await _check_adapter._check_cuts(connected, body, chance, 200, whole)
        await _check_adapter._check_exits(connected, body)
    await _check_adapter._check_refusals(connected)


def connected(client: httpx.AsyncClient) -> OpenAICompletionsAdapter:
    return adapter(http_client=client)
