"""`HttpAdapter`: an adapter of a third party over it, and keys in every adapter of lutum's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import lutum
from lutum import Event
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.testing import check_adapter
from lutum.transport import Credential, HttpAdapter, no_key
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openai.completions import OpenAICompletionsAdapter
from lutum_openrouter import OpenRouterAdapter

HI = TurnRequest(transcript=lutum.ModelInput().user("hi").transcript)


class Lines:
    """Decodes a protocol of lines: each is a piece of text, and a blank one ends the answer."""

    def __init__(self, response: lutum.Response, model: str, scope: str) -> None:
        self._response, self._model, self._scope = response, model, scope
        self._rest, self._said, self._ended = b"", list[str](), False

    def feed(self, data: bytes, out: list[Event]) -> None:
        if not self._said and not self._rest and data:
            out.append(lutum.TurnStarted(self._model, self._response))
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line:
                self._said.append(line.decode())
                out.append(lutum.TextDelta(self._said[-1]))
            elif not self._ended:
                self._ended = True
                text = "".join(self._said)
                turn = lutum.CommittedTurn(
                    adapter="lines",
                    scope=self._scope,
                    model=self._model,
                    wire=json.dumps(text).encode(),
                    items=(lutum.TextItem(text),),
                )
                out.append(lutum.Completed("stop", lutum.Usage(1, len(self._said)), turn))

    def eof(self, out: list[Event]) -> None:
        pass


class LinesAdapter(HttpAdapter):
    """What a third party writes: the pure half."""

    @property
    def name(self) -> str:
        return "lines"

    def _prepare(self, request: TurnRequest) -> Prepared:
        sent = [
            item.text for item in request.transcript if isinstance(item, lutum.Message | lutum.CommittedTurn)
        ]
        turns = [item for item in request.transcript if isinstance(item, lutum.CommittedTurn)]
        return Prepared(
            request=request,
            url=f"{self._base_url}/lines",
            body=json.dumps(sent).encode(),
            model=self._model,
            secret_headers=self._secret_headers,
            forms=tuple(self.replay_form(turn, self.scope, self._model) for turn in turns),
            estimate=lutum.Estimate(sum(map(len, sent)) + 1, 16),
        )

    def decoder(self, prepared: Prepared, response: lutum.Response) -> Decoder:
        return Lines(response, prepared.model, self.scope)

    def _fault(self, response: lutum.Response, body: bytes) -> lutum.ProviderError:
        return lutum.ProviderError(body.decode() or "no", kind="server", status=response.status, body=body)

    def replay_form(self, turn: lutum.CommittedTurn, scope: str, model: str) -> ReplayForm:
        return ReplayForm(turn.adapter == "lines" and turn.scope == scope)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        before, now = json.loads(earlier.body), json.loads(later.body)
        return next((f"$[{i}]" for i, said in enumerate(before) if now[i : i + 1] != [said]), None)


async def test_a_third_partys() -> None:
    """Somebody's adapter over it keeps the promises."""

    def connect(client: httpx.AsyncClient) -> LinesAdapter:
        return LinesAdapter("m", "http://lines.test", http_client=client)

    await check_adapter(connect, [b"Rhine\nElbe\n\n"])


async def test_the_key_of_a_third_party() -> None:
    """Its own host demands a key, which goes out in the header that was said and is shown nowhere."""
    seen = list[httpx.Headers]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, content=b"a\n\n")

    def made(credential: Credential | None, **given: Any) -> LinesAdapter:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        given = {"own_host": "lines.test", "variable": "LINES_KEY", "http_client": client, **given}
        return LinesAdapter("m", "https://lines.test/v1/", credential=credential, **given)

    with pytest.raises(
        lutum.BadValue, match=r"api_key: lines.test needs one: give api_key=, or set LINES_KEY"
    ):
        made(None).prepare(HI)
    async with made(Credential("secret", header="x-key", scheme="")) as adapter:
        assert (await lutum.Lutum(adapter).text_turn("hi").collect()).text == "a"
        assert adapter.prepare(HI).secret_headers == ("x-key",)
        assert "secret" not in repr(adapter)
    assert seen[0]["x-key"] == "secret"
    assert made(None, own_host="other.test").prepare(HI).url == "https://lines.test/v1/lines"


def test_importing_adapters_is_light() -> None:
    """The packages load no HTTP at all before an adapter is made. An adapter loads no HTTP library but ours,
    and nothing that is slow to load and that a first turn does not need: no backend that may not run, no
    parser of mail headers, no archives and temporary files."""
    program = "import sys, lutum.transport, lutum_claude, lutum_gemini, lutum_openai, lutum_openrouter\n"
    program += "assert 'httptools' not in sys.modules\n"
    program += "lutum_claude.ClaudeAdapter('m')\nassert 'httptools' in sys.modules\n"
    unused = ("httpx", "httpcore", "h11", "asyncio", "trio", "email.utils", "tempfile", "urllib.request")
    program += f"assert not {set(unused)} & set(sys.modules), {set(unused)} & set(sys.modules)\n"
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    subprocess.run([sys.executable, "-I", "-c", program], check=True, env=clean)


MAKERS: dict[str, tuple[Callable[..., HttpAdapter], str]] = {
    "claude": (ClaudeAdapter, "ANTHROPIC_API_KEY"),
    "gemini": (GeminiAdapter, "GOOGLE_API_KEY"),
    "responses": (OpenAIAdapter, "OPENAI_API_KEY"),
    "chat": (OpenAIChatAdapter, "OPENAI_API_KEY"),
    "completions": (OpenAICompletionsAdapter, "OPENAI_API_KEY"),
    "openrouter": (OpenRouterAdapter, "OPENROUTER_API_KEY"),
}
EACH = pytest.mark.parametrize(("make", "variable"), MAKERS.values(), ids=MAKERS)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC", "GEMINI", "GOOGLE", "OPENAI", "OPENROUTER"):
        for what in ("API_KEY", "AUTH_TOKEN", "BASE_URL"):
            monkeypatch.delenv(f"{name}_{what}", raising=False)


@EACH
def test_own_hosts_demand_a_key(make: Callable[..., HttpAdapter], variable: str) -> None:
    """Without a key nothing goes to the provider's own host, and the variable is named; elsewhere none is
    needed."""
    with pytest.raises(lutum.BadValue, match=variable) as caught:
        make("m").prepare(HI)
    assert caught.value.field == "api_key"
    assert make("m", base_url="http://localhost:1/api").prepare(HI).secret_headers == ()


@EACH
def test_the_environment_is_read_once(
    make: Callable[..., HttpAdapter], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of the environment is taken when the adapter is made; `no_key` looks for none."""
    monkeypatch.setenv(variable, "env-key")
    made = make("m")
    local = make("m", base_url="http://localhost:1/api", api_key=no_key)
    monkeypatch.delenv(variable)
    assert len(made.prepare(HI).secret_headers) == 1
    assert "env-key" not in repr(made) + repr(made.prepare(HI))
    assert local.prepare(HI).secret_headers == ()


@EACH
@pytest.mark.parametrize("key", [" ", "secret\n", "sec\0ret", "s\u00e9cret", 5])
def test_keys_that_no_header_can_hold(make: Callable[..., HttpAdapter], variable: str, key: Any) -> None:
    """They are refused when the adapter is made, and not quoted."""
    with pytest.raises(lutum.BadValue) as caught:
        make("m", api_key=key)
    assert caught.value.field == "api_key"
    assert "cret" not in str(caught.value)


@EACH
@pytest.mark.parametrize("given", [None, "", LookupError("vault")])
async def test_key_functions_that_give_none(
    make: Callable[..., HttpAdapter], variable: str, given: str | Exception | None
) -> None:
    """It is your mistake, chained to what the function raised, and nothing is sent."""

    async def key() -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        with pytest.raises(lutum.BadValue, match="api_key") as caught:
            await lutum.Lutum(make("m", api_key=key, http_client=client)).text_turn("hi").collect()
    assert caught.value.__cause__ is (given if isinstance(given, Exception) else None)


@EACH
@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("model", {"model": " "}),
        ("base_url", {"base_url": "localhost"}),
        ("http_client", {"http_client": object()}),
        ("default_max_output_tokens", {"default_max_output_tokens": 0}),
    ],
)
def test_bad_arguments(
    make: Callable[..., HttpAdapter], variable: str, field: str, given: dict[str, Any]
) -> None:
    """What cannot work is refused by its name when the adapter is made."""
    with pytest.raises(lutum.BadValue) as caught:
        make(**{"model": "m", **given})
    assert caught.value.field == field
