"""The table of hosts: every value has a source, every name is found, and the page is what the table says."""

import runpy
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum_claude._hosts import HOSTS as CLAUDE_HOSTS, ClaudeHost, host_of
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter, Profile
from lutum_openai._hosts import HOSTS, PROFILES, HostRow, for_model, host_row, profile_of
from lutum_openai._profiles import UNKNOWN

ROOT = Path(__file__).parents[1]


def test_the_page_is_generated() -> None:
    """docs/hosts.md is what scripts/hosts_page.py writes; run it after a change of the table."""
    page: str = runpy.run_path(str(ROOT / "scripts" / "hosts_page.py"))["page"]()
    assert (ROOT / "docs" / "hosts.md").read_text("utf-8") == page


@pytest.mark.parametrize("row", HOSTS, ids=lambda row: row.name)
def test_every_value_has_a_source(row: HostRow) -> None:
    """A row says where each of its values comes from, and nothing about a value that is the default."""
    changed = {
        field for field in Profile.__struct_fields__ if getattr(row.profile, field) != getattr(UNKNOWN, field)
    }
    assert row.sources.keys() == changed
    assert all(source.strip() for source in row.sources.values())
    assert row.hosts or row.ports
    for host in row.hosts:
        assert host_row(host.replace("*", "us-east-1")) is row
        if "*" not in host:
            assert profile_of(f"x.{host.upper()}:443") is row.profile
    for port in row.ports:
        for local in ("127.0.0.1", "localhost", "[::1]", "192.168.0.7", "gpu", "box.local"):
            assert host_row(f"{local}:{port}") is row
        assert host_row(f"example.com:{port}") is None


@pytest.mark.parametrize("row", CLAUDE_HOSTS, ids=lambda row: row.name)
def test_every_value_of_a_messages_host_has_a_source(row: ClaudeHost) -> None:
    """Likewise in the table of hosts that speak the Messages API."""
    known = ("name", "title", "hosts", "sources", "note")
    fields = [field for field in ClaudeHost.__struct_fields__ if field not in known]
    assert row.sources.keys() == {name for name in fields if getattr(row, name)}
    assert row.sources or row.note
    assert all(host_of(host.replace("*", "us-east-1")) is row for host in row.hosts)
    assert not host_of("gateway.example").strict


def test_names_are_unique() -> None:
    """No host, port or name is in two rows."""
    for places in (
        [r.name for r in HOSTS],
        [h for r in HOSTS for h in r.hosts],
        [p for r in HOSTS for p in r.ports],
    ):
        assert len(set(map(str, places))) == len(places)


USED = frozenset(
    {
        *("openai", "azure", "groq", "cerebras", "deepseek", "moonshot", "zai", "minimax", "xai", "mistral"),
        *("gemini", "perplexity", "openrouter", "dashscope", "meta", "nvidia", "copilot", "together"),
        *("fireworks", "vllm", "sglang", "tgi", "llama.cpp", "ollama", "lmstudio", "cloudflare", "bedrock"),
        "databricks",
    }
)


def test_the_hosts_that_people_use() -> None:
    """Each of them has a row."""
    assert {row.name for row in HOSTS} >= USED


@pytest.mark.parametrize(
    ("host", "row"),
    [
        ("my.openai.azure.com", "azure"),
        ("my.services.ai.azure.com", "azure"),
        ("my.cognitiveservices.azure.com", "azure"),
        ("us-central1-aiplatform.googleapis.com", "gemini"),
        ("aiplatform.googleapis.com", "gemini"),
        ("bedrock-runtime.us-west-2.amazonaws.com", "bedrock"),
        ("ec2-1-2-3-4.compute.amazonaws.com:8000", None),
        ("adb-1.2.azuredatabricks.net", "databricks"),
        ("notapi.openai.com.evil.example", None),
        ("10.0.0.3:9999", "local"),
        ("8.8.8.8:8000", None),
        ("host.docker.internal:11434", "ollama"),
    ],
)
def test_how_a_row_is_found(host: str, row: str | None) -> None:
    """By the host's name, by a pattern, or at a local address by the port."""
    found = host_row(host)
    assert (None if found is None else found.name) == row


@pytest.mark.parametrize("kind", [OpenAIChatAdapter, OpenAIAdapter])
def test_a_profile_by_name(kind: Any) -> None:
    """`profile=` takes a name of the table; another one is refused with the list."""
    adapter = kind("m", base_url="https://gateway.example/v1", profile="vllm")
    assert adapter._config.profile is PROFILES["vllm"]
    with pytest.raises(lutum.BadValue, match="known names are openai, azure"):
        kind("m", base_url="https://gateway.example/v1", profile="vlm")
    with pytest.raises(lutum.BadValue, match="profile"):
        kind("m", base_url="https://gateway.example/v1", profile=3)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sytem": "one"}, "profile.sytem"),
        ({"system": "two"}, "profile.system"),
        ({"stops": "4"}, "profile.stops"),
        ({"reasoning": ["reasoning"]}, "profile.reasoning"),
        ({"strict": 1}, "profile.strict"),
        ({"default_output": "endless"}, "profile.default_output"),
    ],
)
def test_bad_profiles(values: dict[str, Any], field: str) -> None:
    """An unknown field and a value of another type are refused by name."""
    with pytest.raises(lutum.BadValue) as caught:
        Profile(**values)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("host", "model", "expected"),
    [
        ("gateway.example", "openai/gpt-5.1", {"max_tokens": "max_completion_tokens"}),
        ("localhost:4000", "o3", {"max_tokens": "max_completion_tokens"}),
        ("gateway.example", "gpt-4o", {"max_tokens": "max_tokens"}),
        ("openrouter.ai", "openai/gpt-5", {"max_tokens": "max_tokens"}),
        ("localhost:8000", "google/gemma-3-27b-it", {"system": "one", "alternate": True}),
        ("localhost:8000", "google/gemma-4-31b", {"alternate": False}),
        ("integrate.api.nvidia.com", "mistralai/mistral-small-4", {"alternate": True, "after_tool": False}),
        ("api.mistral.ai", "mistral-large-latest", {"alternate": False, "after_tool": False}),
        ("generativelanguage.googleapis.com", "gemini-2.5-pro", {"call_signature": None}),
    ],
)
def test_rules_of_models(host: str, model: str, expected: dict[str, Any]) -> None:
    """What a model demands at every server that applies its template, and where the host knows better."""
    profile = for_model(profile_of(host), host, model)
    assert {name: getattr(profile, name) for name in expected} == expected
