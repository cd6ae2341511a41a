"""`lutum smoke` at the address of a cloud: the cloud's adapter, and the names of what its door lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from lutum.cli import _clouds, _providers, _stand_in, main
from lutum.testing.wire import WireServer
from lutum_claude import ClaudeAdapter

RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"
MANTLE = "https://bedrock-mantle.us-east-1.api.aws/v1"
CLAUDE = "anthropic.claude-sonnet-5"
ADDRESSES: list[tuple[str, str, str, str | None]] = [
    ("claude", f"{RUNTIME}/anthropic", CLAUDE, "claude-bedrock-runtime"),
    ("claude", MANTLE, CLAUDE, "claude-bedrock-mantle"),
    ("openai", MANTLE, "openai.gpt-oss-120b", "openai-bedrock-mantle"),
    ("openai-chat", RUNTIME, "openai.gpt-oss-20b-1:0", "openai-bedrock-runtime"),
    ("gemini", RUNTIME, "gemini-2.5-flash", None),
    ("claude", "https://r.services.ai.azure.com/anthropic", "sonnet", "claude-azure"),
    ("openai", "https://r.openai.azure.com", "gpt", "openai-azure"),
    ("openai-chat", "https://r.cognitiveservices.azure.com", "gpt", "openai-azure"),
    ("claude", "https://europe-west1-aiplatform.googleapis.com", "claude-x@1", "claude-vertex"),
    ("gemini", "https://aiplatform.us.rep.googleapis.com", "gemini-2.5-flash", "gemini-vertex"),
    ("openai", "https://aiplatform.googleapis.com", "gpt", None),
    ("claude", "https://api.anthropic.com", "claude-sonnet-4-5", None),
    ("claude", f"{RUNTIME}.evil.test", CLAUDE, None),
]


@pytest.mark.parametrize(
    ("provider", "url", "model", "door"), ADDRESSES, ids=[str(i) for i in range(len(ADDRESSES))]
)
def test_the_adapter_of_an_address(
    provider: str, url: str, model: str, door: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address says the cloud, the door and the region; the environment has its credentials."""
    given = ("AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_FOUNDRY_API_KEY", "AZURE_OPENAI_API_KEY")
    for name in (*given, "GOOGLE_CLOUD_PROJECT", _clouds.TOKEN_VARIABLE):
        monkeypatch.setenv(name, "given")
    adapter = _clouds.cloud_adapter(provider, url, model)
    assert (None if adapter is None or adapter.door is None else adapter.door.name) == door


def test_without_credentials_of_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the plain adapter speaks to the address, with the provider's key, as before."""
    for name in ("AZURE_OPENAI_API_KEY", "ANTHROPIC_FOUNDRY_API_KEY", _clouds.TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for provider, url in (
        ("openai", "https://r.openai.azure.com"),
        ("claude", "https://r.services.ai.azure.com"),
        ("gemini", "https://aiplatform.googleapis.com"),
    ):
        assert _clouds.cloud_adapter(provider, url, "m") is None


def test_what_a_door_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people with its source, and for programs; every case that a door has works."""
    with start_blocking_portal() as portal:
        server = WireServer(_stand_in.answer, api_key="key")
        with portal.wrap_async_context_manager(server):

            def stand_in(provider: str, url: str, model: str) -> ClaudeAdapter:
                assert (provider, url) == ("claude", RUNTIME)
                return ClaudeAdapter.bedrock(model, region="us-east-1", api_key="key", base_url=server.url)

            monkeypatch.setattr(_providers, "cloud_adapter", stand_in)
            command = ["smoke", "--provider", "claude", "--base-url", RUNTIME]
            command += ["--model", "anthropic.claude-sonnet-4-5"]
            assert main([*command, "--json"]) == 0
            report: dict[str, Any] = json.loads(capsys.readouterr().out)
            assert report["door"] == "Claude on Amazon Bedrock, bedrock-runtime"
            assert "images and documents by URL" in report["lacks"]
            assert {case["verdict"] for case in report["cases"]} == {"works"}
            assert main(command) == 0
            out = capsys.readouterr().out
    assert "Claude on Amazon Bedrock, bedrock-runtime lacks" in out
    assert "the provider's batch API (docs.aws.amazon.com" in " ".join(out.split())
