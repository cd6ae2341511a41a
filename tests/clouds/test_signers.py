"""Credentials: what a signer sees, when it is asked, what is hidden, and what a failing one costs."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import logging
import math
import time
import traceback
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import lutum
from lutum import trace
from lutum.abc import Prepared, TurnRequest
from lutum.testing import RecordingAdapter, cancel_at, dump_logs, virtual_time
from lutum.testing.wire import Reply, Status, WireServer
from lutum.transport import OutgoingRequest, RequestSigner
from lutum_claude import ClaudeAdapter
from lutum_clouds import AwsCredentials, SigV4Signer
from lutum_clouds._chain import AwsChain
from lutum_clouds._credentials import expiry_of
from lutum_clouds._sigv4 import sign
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

MODEL = "anthropic.claude-sonnet-5"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
VIRTUAL = [pytest.param((name, virtual_time(name)), id=name) for name in ("asyncio", "trio")]
SOON = lutum.RetryPolicy(initial=0.0)
KEYS = AwsCredentials(access_key="AKIDEXAMPLE", secret_key=SECRET, token="FwoGZXIvYXdzEXAMPLETOKEN")


def claude(server: WireServer, **given: Any) -> ClaudeAdapter:
    given = {"region": "us-east-1", "http_client": server.connect, **given}
    return ClaudeAdapter.bedrock(MODEL, **given)


def expected(request: Any, service: str, credentials: AwsCredentials = KEYS) -> str:
    """The signature that the received request must have, computed from what was received."""
    headers = {name.lower(): value for name, value in request.headers.multi_items()}
    stamp = dt.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    kept = tuple((name, headers[name]) for name in names if name not in ("host", "x-amz-date"))
    kept = tuple(pair for pair in kept if pair[0] != "x-amz-security-token")
    seen = OutgoingRequest(request.method, f"https://{headers['host']}{request.path}", kept, request.body)
    return sign(seen, credentials, region="us-east-1", service=service, now=stamp.timestamp())[
        "authorization"
    ]


def prepared(adapter: Any, text: str = "hi") -> Prepared:
    found: Prepared = adapter.prepare(TurnRequest(transcript=lutum.ModelInput().user(text).transcript))
    return found


@pytest.mark.parametrize(("door", "service"), [("runtime", "bedrock"), ("mantle", "bedrock-mantle")])
async def test_what_arrives_is_what_was_signed(door: Any, service: str) -> None:
    """Method, path, headers and body as they arrive give the signature; each attempt has its own."""
    server = WireServer([Status(529), Reply("ok")])
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))
    signer = SigV4Signer(KEYS, region="us-east-1", service=service, clock=lambda: next(clock))
    llm = lutum.Lutum(claude(server, door=door, api_key=signer), retry=SOON)
    assert (await llm.text_turn("hi").collect()).text == "ok"
    signatures = [request.headers["authorization"] for request in server.requests]
    assert signatures == [expected(request, service) for request in server.requests]
    assert len(set(signatures)) == 2
    names = signatures[0].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"content-type", "host", "anthropic-version", "x-amz-security-token"} <= set(names)


async def test_every_adapter_signs() -> None:
    """Chat and Responses sign as Claude does, and so do small requests beside a turn."""
    server = WireServer([Reply("a"), Reply("b")])
    given: dict[str, Any] = {"region": "us-east-1", "credentials": KEYS, "http_client": server.connect}
    for adapter in (
        OpenAIAdapter.bedrock("openai.gpt-5.6-luna", **given),
        OpenAIChatAdapter.bedrock("openai.gpt-oss-20b-1:0", **given),
    ):
        await lutum.Lutum(adapter).text_turn("hi").collect()
    counting = claude(server, credentials=KEYS)
    assert await counting.count_input_tokens(prepared(counting)) > 0
    assert [one.path for one in server.requests] == [
        "/openai/v1/responses",
        "/openai/v1/chat/completions",
        "/anthropic/v1/messages/count_tokens",
    ]
    for request in server.requests:
        assert request.headers["authorization"] == expected(request, "bedrock")


async def test_over_an_httpx_client() -> None:
    """A client of the user sends the same request, with the signature that fits it."""
    server = WireServer([Reply("ok")])
    async with httpx.AsyncClient(transport=server.transport(), headers={"x-trace": "1"}) as client:
        await lutum.Lutum(claude(server, credentials=KEYS, http_client=client)).text_turn("hi").collect()
    [request] = server.requests
    assert request.headers["authorization"] == expected(request, "bedrock")


class Own(RequestSigner):
    """A signer of a third party."""

    def __init__(self) -> None:
        self.seen = list[OutgoingRequest]()

    @property
    def secret_headers(self) -> tuple[str, ...]:
        return ("x-signature",)

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        self.seen.append(request)
        return {"x-signature": f"{len(request.body)}-of-{request.method}"}


async def test_a_signer_of_a_third_party() -> None:
    """It sees method, address, headers and body as they go out, and every adapter takes it as a key."""
    server = WireServer([Reply("ok")] * 4)
    signer = Own()
    given: dict[str, Any] = {
        "api_key": signer,
        "base_url": "https://gate.test/v1",
        "http_client": server.connect,
    }
    adapters = [
        ClaudeAdapter("claude-sonnet-4-5", **{**given, "base_url": "https://gate.test"}),
        OpenAIAdapter("gpt-5.5", **given),
        OpenAIChatAdapter("gpt-5.5", **given),
        GeminiAdapter("gemini-3.8-flash", **{**given, "base_url": "https://gate.test"}),
    ]
    for adapter in adapters:
        assert lutum.Lutum(adapter).text_turn("hi").preview().headers["x-signature"] == "signed at send time"
        await lutum.Lutum(adapter).text_turn("hi").collect()
    for request, seen in zip(server.requests, signer.seen, strict=True):
        assert seen.method == "POST"
        assert seen.url.removeprefix("https://gate.test").partition("?")[0] == request.path
        assert seen.body == request.body
        assert dict(seen.headers).items() <= dict(request.headers.multi_items()).items()
        assert request.headers["x-signature"] == f"{len(request.body)}-of-POST"


async def test_a_signer_that_fails() -> None:
    """What a third party's signer raises or gives is named; nothing is sent or charged."""

    class Broken(Own):
        async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
            if "two" in request.body.decode():
                return None  # type: ignore[return-value]
            raise OSError("the key is secret")

    server = WireServer([])
    llm = lutum.Lutum(claude(server, api_key=Broken()))
    with pytest.raises(lutum.BadValue, match=r"^credentials: Broken raised OSError\b"):
        await llm.text_turn("one").collect()
    with pytest.raises(lutum.BadValue, match=r"^credentials: Broken returned NoneType, not a mapping"):
        await llm.text_turn("two").collect()
    assert llm.budget.spent.total_tokens == 0
    assert server.requests == []


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Invocation of model ID x with on-demand throughput isn’t supported.", "inference profile"),
        ("Invocation of model ID x with on-demand throughput isn't supported.", "inference profile"),
        ("model 'x' isn't supported on this route", "prefix="),
    ],
)
async def test_advice(words: str, advice: str) -> None:
    """Where the door's words do not say what to do, a note does."""
    server = WireServer([Status(400, body=json.dumps({"message": words}).encode())])
    with pytest.raises(lutum.ProviderError) as caught:
        await lutum.Lutum(claude(server, api_key="key")).text_turn("hi").collect()
    assert any(advice in note for note in caught.value.__notes__)


async def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Not in previews, reprs, logs, raw traces, recordings, or errors that quote the request."""
    caplog.set_level(logging.DEBUG)
    token = KEYS.token or ""
    quoting = json.dumps({"message": f"the canonical string is x-amz-security-token:{token}"}).encode()
    server = WireServer([Reply("ok"), Status(403, body=quoting)])
    adapter = claude(server, credentials=KEYS)
    recorder = RecordingAdapter(adapter)
    llm = lutum.Lutum(recorder)
    shown = [str(llm.text_turn("hi").preview()), repr(adapter), repr(KEYS), repr(adapter._credential)]
    async with trace.capture(raw=True, content=True, to=tmp_path / "trace.jsonl"):
        await llm.text_turn("hi").collect()
        with pytest.raises(lutum.ProviderError) as caught:
            await llm.text_turn("again").collect()
    error = caught.value
    assert error.kind == "permission"
    shown += [str(error), repr(error), error.body.decode(), "".join(traceback.format_exception(error))]
    shown += [str(lutum.explain(error)), caplog.text]
    dump_logs(recorder.logs, tmp_path / "logs")
    shown += kept_in(tmp_path)
    for secret in (SECRET, token, *(one.headers["authorization"] for one in server.requests)):
        assert not [text for text in shown if secret in text]
    assert "signed at send time" in shown[0]
    assert "***" in error.body.decode()


def kept_in(folder: Path) -> list[str]:
    return [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]


def skewed(server_time: float) -> Status:
    """AWS's answer to a signature that came too late."""
    words = "Signature expired: 20261129T120000Z is now earlier than 20261129T125500Z (- 5 min.)"
    headers = {
        "x-amzn-errortype": "InvalidSignatureException:http://internal.amazon.com/coral/",
        "date": formatdate(server_time, usegmt=True),
    }
    return Status(403, body=json.dumps({"message": words}).encode(), headers=headers)


async def test_a_wrong_clock() -> None:
    """A retried turn is signed by the server's clock; without a retry the error says what is wrong."""
    now = 1_800_000_000.0
    server = WireServer([skewed(now + 3_600), Reply("ok"), skewed(now + 3_600), Reply("later")])
    signer = SigV4Signer(KEYS, region="us-east-1", service="bedrock", clock=lambda: now)
    llm = lutum.Lutum(claude(server, api_key=signer), retry=SOON)
    assert (await llm.text_turn("hi").collect()).text == "ok"
    stamps = [request.headers["x-amz-date"] for request in server.requests]
    assert stamps == ["20270115T080000Z", "20270115T090000Z"]
    fresh = SigV4Signer(KEYS, region="us-east-1", service="bedrock", clock=lambda: now)
    alone = lutum.Lutum(claude(server, api_key=fresh))
    with pytest.raises(lutum.ProviderError) as caught:
        await alone.text_turn("hi").collect()
    assert (caught.value.kind, caught.value.type) == ("authentication", "InvalidSignatureException")
    assert any("3600 seconds behind" in note for note in caught.value.__notes__)
    assert alone.budget.spent.total_tokens == 0
    assert (await alone.text_turn("hi").collect()).text == "later"


async def test_a_clock_that_was_corrected_is_not_corrected_for_ever() -> None:
    """If the server's own clock does not help, the error is raised instead of retried."""
    now = 1_800_000_000.0
    server = WireServer([skewed(now + 3_600)] * 3)
    signer = SigV4Signer(KEYS, region="us-east-1", service="bedrock", clock=lambda: now)
    with pytest.raises(lutum.ProviderError, match="Signature expired"):
        await lutum.Lutum(claude(server, api_key=signer), retry=SOON).text_turn("hi").collect()
    assert len(server.requests) == 2


def bedrock_key(signed: float, seconds: int) -> str:
    """A short-term key, as AWS's token generator writes it."""
    stamp = dt.datetime.fromtimestamp(signed, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    query = f"Action=CallWithBearerToken&X-Amz-Date={stamp}&X-Amz-Expires={seconds}&Version=1"
    url = f"bedrock.amazonaws.com/?{query}"
    return "bedrock-api-key-" + base64.b64encode(url.encode()).decode()


def jwt(expires: float) -> str:
    """A token of Entra ID, as far as it is read."""
    parts = ({"alg": "RS256"}, {"exp": expires})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return ".".join([*encoded, "c2lnbmF0dXJl"])


OLD = time.time() - 7_200


MADE: dict[str, tuple[str, Any]] = {
    "Bedrock": ("api_key", lambda **given: ClaudeAdapter.bedrock(MODEL, region="us-east-1", **given)),
    "Claude on Azure": (
        "token",
        lambda api_key, **given: ClaudeAdapter.azure("d", resource="r", token=api_key, **given),
    ),
    "OpenAI on Azure": (
        "token",
        lambda api_key, **given: OpenAIAdapter.azure("d", resource="r", token=api_key, **given),
    ),
    "Claude on Vertex AI": (
        "token",
        lambda api_key, **given: ClaudeAdapter.vertex("m", project="p", region="eu", token=api_key, **given),
    ),
    "Gemini on Vertex AI": (
        "token",
        lambda api_key, **given: GeminiAdapter.vertex("m", project="p", token=api_key, **given),
    ),
}


@pytest.mark.parametrize("place", MADE)
@pytest.mark.parametrize("old", [bedrock_key(OLD - 43_200, 43_200), jwt(OLD)], ids=["Bedrock's", "JWT"])
async def test_an_expired_token_is_not_sent(place: str, old: str) -> None:
    """A token that says when it expires is refused by name, from a function too; a valid one goes out."""
    field, make = MADE[place]
    server = WireServer([Reply("ok")])
    for token in (old, lambda: old):
        llm = lutum.Lutum(make(api_key=token, http_client=server.connect))
        with pytest.raises(lutum.BadValue, match=f"^{field}: expired at 20") as caught:
            await llm.text_turn("hi").collect()
        assert old not in str(caught.value)
        assert llm.budget.spent.total_tokens == 0
    assert server.requests == []
    valid = jwt(time.time() + 600)
    llm = lutum.Lutum(make(api_key=valid, http_client=server.connect))
    assert (await llm.text_turn("hi").collect()).text == "ok"
    assert server.requests[0].headers["authorization"] == f"Bearer {valid}"


@pytest.mark.parametrize(
    "token",
    ["", "sk-1", "a.b.c", "bedrock-api-key-%%%", "bedrock-api-key-QUJD", "eyJ.e30.x", jwt(0)[:-12] + "é"],
)
def test_a_token_that_says_nothing(token: str) -> None:
    """What cannot be read is left to the server."""
    assert expiry_of(token) is None


async def test_expired_credentials() -> None:
    """Temporary credentials that have expired sign nothing; the error says when and what to do."""
    server = WireServer([])
    old = AwsCredentials(
        access_key="AKIDEXAMPLE", secret_key=SECRET, expires=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    )
    for credentials in (old, lambda: old):
        llm = lutum.Lutum(claude(server, credentials=credentials))
        with pytest.raises(lutum.BadValue, match=r"credentials: expired at 2020-01-01T00:00:00"):
            await llm.text_turn("hi").collect()
    assert server.requests == []


@pytest.mark.parametrize(
    ("errortype", "kind"),
    [
        ("ExpiredTokenException", "authentication"),
        ("UnrecognizedClientException:http://internal.amazon.com/", "authentication"),
        ("com.amazon.coral.service#AccessDeniedException", "permission"),
        ("ValidationException:http://internal.amazon.com/", "invalid_request"),
        ("ResourceNotFoundException", "not_found"),
        ("ThrottlingException", "rate_limit"),
        ("ServiceUnavailableException", "overloaded"),
        ("ModelTimeoutException", "timeout"),
    ],
)
async def test_refusals_of_the_gateway(errortype: str, kind: str) -> None:
    """AWS's gateway says the type in a header, and Bedrock's ids of requests are kept."""
    statuses = {"authentication": 403, "permission": 403, "not_found": 404, "rate_limit": 429}
    status = {**statuses, "overloaded": 503, "timeout": 408}.get(kind, 400)
    headers = {"x-amzn-errortype": errortype, "x-amzn-requestid": "0f5c"}
    server = WireServer([Status(status, body=b'{"message":"no"}', headers=headers)])
    with pytest.raises(lutum.ProviderError) as caught:
        await lutum.Lutum(claude(server, api_key="key")).text_turn("hi").collect()
    error = caught.value
    assert (error.kind, error.message) == (kind, "no")
    assert error.type == errortype.partition(":")[0].rpartition("#")[2]


async def test_a_function_that_fails() -> None:
    """What it raises or gives is named without quoting it; nothing is sent or charged."""

    def broken() -> Any:
        raise RuntimeError("secret in here")

    server = WireServer([])
    for source, words in [
        (broken, "the function raised RuntimeError"),
        (lambda: "AKID", "the function returned str, not AwsCredentials"),
        (lambda: None, "the function returned NoneType, not AwsCredentials"),
    ]:
        llm = lutum.Lutum(claude(server, credentials=source))
        with pytest.raises(lutum.BadValue, match=f"^credentials: {words}"):
            await llm.text_turn("hi").collect()
        assert llm.budget.spent.total_tokens == 0
        assert llm.budget.reserved.total_tokens == 0
    assert server.requests == []


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_function_that_hangs() -> None:
    """It is awaited for a minute; the turn costs nothing."""

    async def hangs() -> AwsCredentials:
        await anyio.sleep(math.inf)
        return KEYS

    server = WireServer([])
    llm = lutum.Lutum(claude(server, credentials=hangs))
    began = anyio.current_time()
    with pytest.raises(lutum.BadValue, match="credentials: returned nothing within 60 seconds"):
        await llm.text_turn("hi").collect()
    assert anyio.current_time() - began == 60
    assert llm.budget.spent.total_tokens == 0
    assert llm.budget.reserved.total_tokens == 0


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_a_cancel_at_every_step_of_a_function() -> None:
    """Cancelled while credentials are fetched, a turn has sent nothing and costs nothing."""
    inside = list[bool]()

    async def slow() -> AwsCredentials:
        inside.append(True)
        for _ in range(3):
            await anyio.sleep(0.1)
        inside.pop()
        return KEYS

    steps = 0
    for k in itertools.count(1):
        server, inside = WireServer([Reply("ok")]), list[bool]()
        llm = lutum.Lutum(claude(server, credentials=slow), budget=lutum.Budget(tokens=100_000))
        cancelled, result = await cancel_at(llm.text_turn("hi").collect(), k)
        assert llm.budget.reserved.total_tokens == 0
        if inside:
            steps += 1
            assert result is None
            assert server.requests == []
            assert llm.budget.spent == lutum.Usage()
        if not cancelled:
            break
    assert steps >= 3


async def test_the_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """botocore finds a profile, in a thread; what is missing is named."""
    pytest.importorskip("botocore")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = {SECRET}\naws_session_token = T\n"
    )
    server = WireServer([Reply("ok")])
    adapter = claude(server, aws_profile="work")
    assert (await lutum.Lutum(adapter).text_turn("hi").collect()).text == "ok"
    [request] = server.requests
    known = AwsCredentials(access_key="AKIDWORK", secret_key=SECRET, token="T")
    assert request.headers["authorization"] == expected(request, "bedrock", known)
    for chain, words in [
        (AwsChain("absent"), "the AWS chain failed with ProfileNotFound"),
        (AwsChain(), "the AWS chain found no credentials"),
    ]:
        with pytest.raises(lutum.BadValue, match=words):
            await chain()


def test_where_credentials_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bearer key, the environment's credentials, the chain: the first one counts."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bearer")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not for AWS")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    def headers(**given: Any) -> dict[str, str]:
        return lutum.Lutum(ClaudeAdapter.bedrock(MODEL, **given)).text_turn("hi").preview().headers

    assert headers()["authorization"] == "***"
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
    assert headers()["authorization"] == "signed at send time"
    assert "x-api-key" not in headers()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(lutum.BadValue, match="AWS_SECRET_ACCESS_KEY is not set"):
        headers()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(lutum.BadValue, match=r"pip install 'lutum\[bedrock\]'"):
        headers()
    assert headers(api_key="given")["authorization"] == "***"
