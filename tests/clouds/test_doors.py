"""Doors: addresses by region, resource and model, what each refuses before sending, scopes and prices."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import lutum
from lutum import ModelInput
from lutum.abc import TurnRequest
from lutum.testing.wire import Call, Reply, Say, Think, WireServer
from lutum_claude import ClaudeAdapter, ClaudeOptions, batch_line
from lutum_clouds import DOORS, FEATURES, AwsCredentials, door_of
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions, responses

CLAUDE = "anthropic.claude-sonnet-5"
LUNA = "openai.gpt-5.6-luna"
OSS = "openai.gpt-oss-20b-1:0"
PROFILE = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.anthropic.claude-sonnet-5"
OPAQUE = "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/a1b2c3"
HERE: dict[str, Any] = {"region": "us-east-1", "api_key": "key"}
RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"
MANTLE = "https://bedrock-mantle.us-east-1.api.aws"


def preview(adapter: Any, **given: Any) -> lutum.Preview:
    turn = lutum.Lutum(adapter).text_turn(given.get("input", "hi"))
    if "model" in given:
        turn = turn.model(given["model"])
    if "options" in given:
        turn = turn.ext(given["options"])
    return turn.preview()


ADDRESSES: list[tuple[Callable[[], Any], str]] = [
    (lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE), f"{RUNTIME}/anthropic/v1/messages"),
    (lambda: ClaudeAdapter.bedrock(PROFILE, **HERE), f"{RUNTIME}/anthropic/v1/messages"),
    (lambda: ClaudeAdapter.bedrock(OPAQUE, **HERE), f"{RUNTIME}/anthropic/v1/messages"),
    (lambda: ClaudeAdapter.bedrock(CLAUDE, door="mantle", **HERE), f"{MANTLE}/anthropic/v1/messages"),
    (
        lambda: ClaudeAdapter.bedrock(CLAUDE, prefix="/v2", base_url="https://vpce.test/", **HERE),
        "https://vpce.test/v2/v1/messages",
    ),
    (lambda: OpenAIAdapter.bedrock(LUNA, **HERE), f"{RUNTIME}/openai/v1/responses"),
    (lambda: OpenAIAdapter.bedrock(LUNA, door="mantle", **HERE), f"{MANTLE}/openai/v1/responses"),
    (
        lambda: OpenAIAdapter.bedrock("openai.gpt-oss-120b", door="mantle", **HERE),
        f"{MANTLE}/v1/responses",
    ),
    (
        lambda: OpenAIAdapter.bedrock("openai.gpt-oss-120b", door="mantle", prefix="/openai/v1", **HERE),
        f"{MANTLE}/openai/v1/responses",
    ),
    (lambda: OpenAIChatAdapter.bedrock(OSS, **HERE), f"{RUNTIME}/openai/v1/chat/completions"),
    (
        lambda: OpenAIChatAdapter.bedrock("mistral.voxtral-mini-3b-2507", door="mantle", **HERE),
        f"{MANTLE}/v1/chat/completions",
    ),
    (
        lambda: OpenAIChatAdapter.bedrock(OSS, region="cn-north-1", api_key="key"),
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/openai/v1/chat/completions",
    ),
    (
        lambda: ClaudeAdapter.azure("sonnet", resource="My-Resource", api_key="key"),
        "https://my-resource.services.ai.azure.com/anthropic/v1/messages",
    ),
    (
        lambda: OpenAIAdapter.azure("gpt", resource="res", api_key="key"),
        "https://res.services.ai.azure.com/openai/v1/responses",
    ),
    (
        lambda: OpenAIAdapter.azure("gpt", resource="res", api_key="key", classic=True),
        "https://res.openai.azure.com/openai/v1/responses",
    ),
    (
        lambda: OpenAIChatAdapter.azure("gpt", resource="res", api_key="key"),
        "https://res.services.ai.azure.com/openai/v1/chat/completions",
    ),
    (
        lambda: OpenAIChatAdapter.azure(
            "gpt", resource="res", api_key="key", classic=True, api_version="2024-10-21"
        ),
        "https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
    ),
    (
        lambda: OpenAIChatAdapter.azure(
            "gpt", base_url="https://gate.test", api_key="key", api_version="2024-10-21"
        ),
        "https://gate.test/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
    ),
    (
        lambda: ClaudeAdapter.vertex("claude-x@1", project="acme.com:p", region="europe-west1", token="t"),
        "https://europe-west1-aiplatform.googleapis.com/v1/projects/acme.com:p/locations/europe-west1"
        "/publishers/anthropic/models/claude-x@1:streamRawPredict",
    ),
]


@pytest.mark.parametrize(("make", "url"), ADDRESSES, ids=[str(i) for i in range(len(ADDRESSES))])
def test_clouds_doors_addresses(make: Callable[[], Any], url: str) -> None:
    assert preview(make()).url == url


def test_the_prefix_follows_the_model_of_a_turn() -> None:
    """A turn with another model goes to that model's route."""
    for make, path in ((OpenAIAdapter, "/responses"), (OpenAIChatAdapter, "/chat/completions")):
        adapter = make.bedrock(LUNA, door="mantle", **HERE)
        assert preview(adapter, model="openai.gpt-oss-20b").url == f"{MANTLE}/v1{path}"
        assert preview(adapter).url == f"{MANTLE}/openai/v1{path}"


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "a region with a space": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, region="us east", api_key="k"),
        "^region: 'us east' is not part of a host name",
    ),
    "a region that ends in a hyphen": (
        lambda: OpenAIAdapter.bedrock(LUNA, region="us-", api_key="k"),
        "^region: 'us-' is not part of a host name",
    ),
    "a region with a path": (
        lambda: OpenAIChatAdapter.bedrock(OSS, region="us-east-1/x", api_key="k"),
        "^region: 'us-east-1/x' is an address",
    ),
    "a region with a user": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, region="a@evil", api_key="k"),
        "^region: 'a@evil' is not part of a host name",
    ),
    "a blank region": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, region=" ", api_key="k"),
        "^region: is blank",
    ),
    "a region of another type": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, region=1, api_key="k"),  # type: ignore[arg-type]
        "^region: must be a str such as 'us-east-1', not int",
    ),
    "no region": (lambda: ClaudeAdapter.bedrock(CLAUDE, api_key="k"), "^region: is missing: give region="),
    "an unknown door": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, door="front", **HERE),  # type: ignore[arg-type]
        "^door: 'front' is not a door of Bedrock: use 'runtime' or 'mantle'",
    ),
    "a prefix that is a URL": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, prefix="https://x", **HERE),
        "^prefix: 'https://x' is not the start of a path",
    ),
    "two kinds of credentials": (
        lambda: ClaudeAdapter.bedrock(
            CLAUDE, credentials=AwsCredentials(access_key="A", secret_key="S"), **HERE
        ),
        "^credentials: is given together with api_key",
    ),
    "credentials of another type": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, region="us-east-1", credentials=("A", "S")),  # type: ignore[arg-type]
        r"^credentials: must be AwsCredentials\(...\), or a function that returns them, not tuple",
    ),
    "a name of Anthropic's own API": (
        lambda: ClaudeAdapter.bedrock("claude-sonnet-5", **HERE),
        "^model: 'claude-sonnet-5' is not a model id of Bedrock",
    ),
    "OpenAI's model at Claude's door": (
        lambda: ClaudeAdapter.bedrock(LUNA, **HERE),
        "^model: .* is not a Claude model: use OpenAIAdapter.bedrock",
    ),
    "Claude at OpenAI's door": (
        lambda: OpenAIChatAdapter.bedrock(f"us.{CLAUDE}", **HERE),
        "^model: .* use ClaudeAdapter.bedrock",
    ),
    "GPT-OSS over Responses at runtime": (
        lambda: OpenAIAdapter.bedrock(OSS, **HERE),
        "^door: .* has the Responses API at bedrock-mantle only",
    ),
    "a profile at mantle": (
        lambda: ClaudeAdapter.bedrock(f"eu.{CLAUDE}", door="mantle", **HERE),
        "^model: .* is an inference profile, which bedrock-mantle does not accept",
    ),
    "an ARN at mantle": (
        lambda: ClaudeAdapter.bedrock(PROFILE, door="mantle", **HERE),
        "^model: .* is an ARN, which bedrock-mantle does not accept",
    ),
    "a version at mantle": (
        lambda: OpenAIChatAdapter.bedrock(OSS, door="mantle", **HERE),
        "^model: .* has a version, unlike the ids at bedrock-mantle",
    ),
    "an ARN of another region": (
        lambda: ClaudeAdapter.bedrock(PROFILE, region="eu-west-1", api_key="k"),
        "^model: .* is in the region us-east-1, but region= is eu-west-1",
    ),
    "an ARN of another service": (
        lambda: ClaudeAdapter.bedrock("arn:aws:s3:::bucket", **HERE),
        "^model: 'arn:aws:s3:::bucket' is not the ARN of a model",
    ),
    "a resource with dots": (
        lambda: ClaudeAdapter.azure("d", resource="a.services.ai.azure.com", api_key="k"),
        "^resource: 'a.services.ai.azure.com' is an address; give only the name",
    ),
    "a resource with an underscore": (
        lambda: OpenAIAdapter.azure("d", resource="my_resource", api_key="k"),
        "^resource: 'my_resource' is not part of a host name",
    ),
    "a resource that is too long": (
        lambda: OpenAIChatAdapter.azure("d", resource="a" * 64, api_key="k"),
        "^resource: 'a+' is not part of a host name",
    ),
    "no resource": (lambda: OpenAIAdapter.azure("d", api_key="k"), "^resource: is missing"),
    "a resource and an address": (
        lambda: OpenAIAdapter.azure("d", resource="r", base_url="https://x.test", api_key="k"),
        "^resource: is given together with base_url",
    ),
    "a key and a token": (
        lambda: ClaudeAdapter.azure("d", resource="r", api_key="k", token="t"),
        "^token: is given together with api_key",
    ),
    "no key": (lambda: ClaudeAdapter.azure("d", resource="r"), "^api_key: is missing: .*Entra"),
    "a project with a slash": (
        lambda: ClaudeAdapter.vertex("m", project="a/b", region="eu", token="t"),
        "^project: 'a/b' is not a project id",
    ),
    "a location that is not a label": (
        lambda: GeminiAdapter.vertex("m", project="p", region="e u", token="t"),
        "^region: 'e u' is not part of a host name",
    ),
    "a blank token": (
        lambda: GeminiAdapter.vertex("m", project="p", token=" "),
        "^token: is blank",
    ),
}


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ANTHROPIC_FOUNDRY_RESOURCE", "ANTHROPIC_FOUNDRY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_environment")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    """It is refused when the adapter is made, and the error names the field."""
    make, words = BAD[case]
    with pytest.raises(lutum.BadValue, match=words):
        make()


def test_a_model_of_a_turn_is_checked() -> None:
    """The model of a turn that the door does not serve is refused before anything is reserved."""
    with pytest.raises(lutum.BadValue, match=r"use OpenAIAdapter.bedrock"):
        preview(ClaudeAdapter.bedrock(CLAUDE, **HERE), model=LUNA)
    for make in (OpenAIAdapter, OpenAIChatAdapter):
        with pytest.raises(lutum.BadValue, match=r"use ClaudeAdapter.bedrock"):
            preview(make.bedrock(LUNA, **HERE), model=CLAUDE)


@pytest.mark.parametrize(
    ("variables", "make", "url"),
    [
        (
            {"AWS_DEFAULT_REGION": "eu-west-1"},
            lambda: ClaudeAdapter.bedrock(CLAUDE, api_key="k"),
            "https://bedrock-runtime.eu-west-1.amazonaws.com/anthropic/v1/messages",
        ),
        (
            {"ANTHROPIC_FOUNDRY_RESOURCE": "res", "ANTHROPIC_FOUNDRY_API_KEY": "k"},
            lambda: ClaudeAdapter.azure("d"),
            "https://res.services.ai.azure.com/anthropic/v1/messages",
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/", "AZURE_OPENAI_API_KEY": "k"},
            lambda: OpenAIAdapter.azure("d"),
            "https://res.openai.azure.com/openai/v1/responses",
        ),
    ],
    ids=["AWS", "Claude on Azure", "OpenAI on Azure"],
)
@pytest.mark.usefixtures("no_environment")
def test_the_environment(
    variables: dict[str, str], make: Callable[[], Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "of another door")
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "https://elsewhere.test")
    assert preview(make()).url == url


IMAGE = ModelInput().user([lutum.Image.from_url("https://x.test/a.png"), lutum.Text("What is it?")])
FILE = ModelInput().user([lutum.Document.from_file_id("file_1"), lutum.Text("What is it?")])
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
BASH = {"type": "bash_20250124", "name": "bash"}

REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "an image by URL at bedrock-runtime": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE),
        {"input": IMAGE},
        r"^input\[0\].content\[0\]: .* does not have images and documents by URL; send the bytes",
    ),
    "an image by URL at bedrock-mantle": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, door="mantle", **HERE),
        {"input": IMAGE},
        r"^input\[0\].content\[0\]: ",
    ),
    "an image by URL on Vertex AI": (
        lambda: ClaudeAdapter.vertex("claude-x", project="p", region="eu", token="t"),
        {"input": IMAGE},
        r"^input\[0\].content\[0\]: ",
    ),
    "a file at Bedrock": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE),
        {"input": FILE},
        r"^input\[0\].content\[0\]: .* does not have files by id",
    ),
    "a file over Responses": (
        lambda: OpenAIAdapter.bedrock(LUNA, **HERE),
        {"input": FILE},
        r"^input\[0\].content\[0\]: .* does not have files by id",
    ),
    "a file over Chat": (
        lambda: OpenAIChatAdapter.bedrock(OSS, **HERE),
        {"input": FILE},
        r"^input\[0\].content\[0\]: .* does not have files by id",
    ),
    "a search at bedrock-runtime": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE),
        {"options": ClaudeOptions(server_tools=(SEARCH,))},
        r"^server_tools\[0\]: .* does not run web_search_20250305",
    ),
    "code execution on Vertex AI": (
        lambda: ClaudeAdapter.vertex("claude-x", project="p", region="eu", token="t"),
        {
            "options": ClaudeOptions(
                server_tools=({"type": "code_execution_20250825", "name": "code_execution"},)
            )
        },
        r"^server_tools\[0\]: .* does not run code_execution",
    ),
    "a search over Responses at bedrock-runtime": (
        lambda: OpenAIAdapter.bedrock(LUNA, **HERE),
        {"options": OpenAIOptions(server_tools=({"type": "web_search"},))},
        r"^server_tools\[0\]: .* does not run web_search",
    ),
    "a background response at bedrock-runtime": (
        lambda: OpenAIAdapter.bedrock(LUNA, **HERE),
        {"options": OpenAIOptions(extra_body={"background": True})},
        r"^extra_body.background: .* does not have responses in the background",
    ),
    "MCP servers at bedrock-runtime": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE),
        {"options": ClaudeOptions(mcp_servers=[{"type": "url", "url": "https://x.test", "name": "x"}])},
        "^mcp_servers: .* does not have the MCP connector",
    ),
    "a container at bedrock-mantle": (
        lambda: ClaudeAdapter.bedrock(CLAUDE, door="mantle", **HERE),
        {"options": ClaudeOptions(container="c_1")},
        "^container: .* does not have containers and skills",
    ),
    "a URL at Bedrock's address": (
        lambda: ClaudeAdapter(CLAUDE, base_url=f"{RUNTIME}/anthropic", auth_token="k"),
        {"input": IMAGE},
        r"^input\[0\].content\[0\]: ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_door_lacks_is_refused(case: str) -> None:
    make, given, words = REFUSED[case]
    with pytest.raises(lutum.BadValue, match=words):
        preview(make(), **given)


def test_what_a_door_has_is_sent() -> None:
    """The caller's own tools of Claude, a search where there is one, and what Anthropic's own API takes."""
    assert preview(
        ClaudeAdapter.bedrock(CLAUDE, **HERE), options=ClaudeOptions(server_tools=(BASH,))
    ).body.count(b"bash_20250124")
    vertex = ClaudeAdapter.vertex("claude-x", project="p", region="eu", token="t")
    assert b"web_search" in preview(vertex, options=ClaudeOptions(server_tools=(SEARCH,))).body
    mantle = OpenAIAdapter.bedrock(LUNA, door="mantle", **HERE)
    assert (
        b"web_search" in preview(mantle, options=OpenAIOptions(server_tools=({"type": "web_search"},))).body
    )
    assert b"a.png" in preview(ClaudeAdapter("claude-sonnet-4-5", api_key="k"), input=IMAGE).body


def test_batches() -> None:
    """A line of a batch is made only for a door that takes batches."""
    for adapter in (
        ClaudeAdapter.bedrock(CLAUDE, **HERE),
        ClaudeAdapter.azure("claude-haiku-4-5", resource="r", api_key="k"),
    ):
        with pytest.raises(lutum.BadValue, match=r"^turn: .* does not have the provider's batch API"):
            batch_line(lutum.Lutum(adapter).text_turn("hi"), "one")
    luna = OpenAIAdapter.bedrock(LUNA, **HERE)
    with pytest.raises(lutum.BadValue, match=r"^turn: .* does not have the provider's batch API"):
        responses.batch_line(lutum.Lutum(luna).text_turn("hi"), "one")
    azure = OpenAIAdapter.azure("gpt", resource="r", api_key="k")
    assert responses.batch_line(lutum.Lutum(azure).text_turn("hi"), "one")


SCOPES: list[tuple[Callable[[], Any], str]] = [
    (lambda: ClaudeAdapter.bedrock(CLAUDE, **HERE), "bedrock-runtime.us-east-1.amazonaws.com"),
    (
        lambda: ClaudeAdapter.bedrock(CLAUDE, base_url="https://vpce.test", **HERE),
        "bedrock-runtime.us-east-1.amazonaws.com",
    ),
    (lambda: OpenAIAdapter.bedrock(LUNA, door="mantle", **HERE), "bedrock-mantle.us-east-1.api.aws"),
    (lambda: OpenAIAdapter.bedrock(LUNA, replay_scope="team", **HERE), "team"),
    (lambda: ClaudeAdapter.azure("d", resource="r", api_key="k"), "r.services.ai.azure.com"),
    (lambda: OpenAIAdapter.azure("d", resource="r", api_key="k", classic=True), "r.openai.azure.com"),
    (
        lambda: ClaudeAdapter.vertex("m", project="p", region="global", token="t"),
        "aiplatform.googleapis.com",
    ),
    (lambda: GeminiAdapter.vertex("m", project="p", token="t"), "aiplatform.googleapis.com/p"),
]


@pytest.mark.parametrize(("make", "scope"), SCOPES, ids=[str(i) for i in range(len(SCOPES))])
def test_scopes(make: Callable[[], Any], scope: str) -> None:
    """A turn goes back exactly to its door, in its region or resource."""
    assert make().scope == scope


@pytest.mark.parametrize(
    "make",
    [
        lambda **given: ClaudeAdapter.bedrock("anthropic.claude-sonnet-4-5", **HERE, **given),
        lambda **given: ClaudeAdapter.azure("claude-sonnet-4-5", resource="r", api_key="key", **given),
        lambda **given: ClaudeAdapter.vertex(
            "claude-sonnet-4-5@20250929", project="p", region="eu", token="key", **given
        ),
    ],
    ids=["Bedrock", "Azure", "Vertex AI"],
)
async def test_a_conversation_in_clouds(make: Any) -> None:
    """Signed thinking and a round go back exactly to the same door, and as their view to another."""
    server = WireServer(
        [Reply(Think("Let me see."), Call("look", {"at": "x"})), Reply(Say("It is x."))], api_key="key"
    )
    adapter = make(http_client=server.connect)
    tools = lutum.Toolset(lutum.raw_tool("look", {"type": "object", "properties": {}}))
    options = ClaudeOptions(thinking=2_048)
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_user("Look.")
    outcome = await session.text_turn().tools(tools).ext(options).max_output_tokens(4_096).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    session.commit_round(outcome.round, [call.complete("x") for call in outcome.round.calls])
    turn = session.text_turn().tools(tools).ext(options).max_output_tokens(4_096)
    assert [form.exact for form in turn.preview().forms] == [True]
    finished = await turn.collect()
    assert isinstance(finished, lutum.Finished)
    assert finished.result.text == "It is x."
    elsewhere = ClaudeAdapter("claude-sonnet-4-5", api_key="k")
    moved = lutum.Session(lutum.Lutum(elsewhere), session.transcript).text_turn().tools(tools).preview()
    assert [form.exact for form in moved.forms] == [False]


async def test_ids_that_begin_anew() -> None:
    """bedrock-mantle calls the first call of each response `call_0`: both rounds go back as they came."""
    replies = [Reply(Call("look", {"at": place}, id="call_0")) for place in "ab"]
    server = WireServer(replies, api_key="key")
    gpt = OpenAIAdapter.bedrock(LUNA, door="mantle", http_client=server.connect, **HERE)
    tools = lutum.Toolset(lutum.raw_tool("look", {"type": "object", "properties": {}}))
    session = lutum.Session(lutum.Lutum(gpt))
    session.push_user("Look.")
    for _ in range(2):
        outcome = await session.text_turn().tools(tools).collect()
        assert isinstance(outcome, lutum.NeedsTools)
        session.commit_round(outcome.round, [call.complete(call.arguments) for call in outcome.round.calls])
        session.transcript = lutum.Transcript.load(session.transcript.dump())
    shown = session.text_turn().tools(tools).preview()
    assert [form.exact for form in shown.forms] == [True, True]
    sent = json.loads(shown.body)["input"]
    rounds = [(one["type"], one["call_id"]) for one in sent if "call_id" in one]
    assert rounds == [("function_call", "call_0"), ("function_call_output", "call_0")] * 2
    outputs = [one["output"] for one in sent if one["type"] == "function_call_output"]
    assert [json.loads(output) for output in outputs] == [{"at": "a"}, {"at": "b"}]


@pytest.mark.parametrize(
    ("make", "cost"),
    [
        # A Regional profile of Bedrock costs a tenth more than the maker's own API and a global profile.
        (
            lambda **given: ClaudeAdapter.bedrock(
                "us.anthropic.claude-haiku-4-5-20251001-v1:0", **HERE, **given
            ),
            "1.1",
        ),
        (
            lambda **given: ClaudeAdapter.bedrock(
                "global.anthropic.claude-haiku-4-5-20251001-v1:0", **HERE, **given
            ),
            "1",
        ),
        (
            lambda **given: ClaudeAdapter.vertex(
                "claude-haiku-4-5@20251001", project="p", region="eu", token="k", **given
            ),
            "1",
        ),
        (lambda **given: ClaudeAdapter.azure("claude-haiku-4-5", resource="r", api_key="k", **given), "1"),
    ],
    ids=["regional", "global", "Vertex AI", "Azure"],
)
async def test_clouds_prices(make: Any, cost: str) -> None:
    """Prices are those of the cloud that bills, where genai-prices has them."""
    pytest.importorskip("genai_prices")
    usage = {"input_tokens": 1_000_000, "output_tokens": 1}
    server = WireServer([Reply("ok", usage=usage)])
    llm = lutum.Lutum(make(http_client=server.connect), pricing=lutum.Pricing.from_genai_prices())
    result = await llm.text_turn("hi").collect()
    assert result.usage.cost_usd is not None
    assert round(result.usage.cost_usd, 2) == Decimal(cost)
    assert llm.budget.spent.cost_usd == result.usage.cost_usd


def test_the_table() -> None:
    """Each row has its sources, each host leads to one row, and its names are those that adapters use."""
    assert len({door.name for door in DOORS}) == len(DOORS)
    for door in DOORS:
        assert set(door.lacks) <= set(FEATURES), door.name
        assert all(source.strip() for source in door.lacks.values()), door.name
        assert not door.tools or "server_tools" in door.lacks
    for make, _ in [*ADDRESSES, *SCOPES]:
        adapter = make()
        assert adapter.door is not None
        assert adapter.name in adapter.door.dialects
    assert door_of("api.anthropic.com", "claude") is None
    assert door_of("bedrock-runtime.us-east-1.amazonaws.com.evil.test", "claude") is None
    assert door_of("x.services.ai.azure.com:443", "claude") is not None


def test_a_plain_address_is_unchanged() -> None:
    """An adapter at a host without a row sends what it sent before."""
    request = TurnRequest(transcript=ModelInput().user("hi").transcript)
    prepared = ClaudeAdapter("claude-sonnet-4-5", api_key="k").prepare(request)
    assert (prepared.billed_by, prepared.signed_headers) == (None, ())
