"""The recorded exchanges with doors of clouds, and the adapter that speaks to each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import corpus
import msgspec

from lutum.abc import Prepared
from lutum_claude import ClaudeAdapter
from lutum_gemini import GeminiAdapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter

CloudAdapter = ClaudeAdapter | GeminiAdapter | OpenAIAdapter | OpenAIChatAdapter

_CLOUD = re.compile(r"azure\.com|amazonaws\.com|\.api\.aws|aiplatform\.googleapis\.com|^bedrock\.api\.")
_BEDROCK = re.compile(r"bedrock-(runtime|mantle)\.([^.]+)\.")
_VERTEX = re.compile(r".*/projects/([^/]+)/locations/([^/]+)/publishers/[a-z]+/models/([^/:]+):")


def records() -> Iterator[dict[str, Any]]:
    """Every recorded exchange with a cloud; the test is skipped where there are no recordings."""
    for name in ("claude_messages", "openai_chat", "openai_responses"):
        for place in ("streams", "hosts"):
            yield from (one for one in corpus.load(name, place) if _CLOUD.search(one["host"] or ""))
    folder = corpus.HOSTS.parent / "gemini"
    kinds = ("bedrock_claude_messages", "bedrock_openai_chat", "bedrock_openai_responses", "gemini_generate")
    for kind in kinds:
        path: Path = folder / f"{kind}.jsonl"
        if path.exists():
            found = msgspec.json.Decoder().decode_lines(path.read_bytes())
            yield from (one for one in found if _CLOUD.search(one["host"] or ""))


def adapter_of(record: dict[str, Any]) -> CloudAdapter:
    """The adapter that reaches the door which a record comes from."""
    host, path = record["host"].replace("_", "-"), record["path"].replace("//", "/")
    bare, _, query = path.partition("?")
    asked = (record.get("request") or {}).get("model")
    if (found := _BEDROCK.match(host)) is not None or host.startswith("bedrock.api."):
        door = found[1] if found else "runtime"
        region = "us-east-1" if found is None or "<" in found[2] else found[2]
        given: dict[str, Any] = {"region": region, "door": door, "api_key": "key"}
        if bare.endswith("/messages"):
            return ClaudeAdapter.bedrock("us.anthropic.claude-haiku-4-5-20251001-v1:0", **given)
        make = OpenAIAdapter if bare.endswith("/responses") else OpenAIChatAdapter
        model = asked if asked and "." in asked else "openai.gpt-oss-20b-1:0"
        return make.bedrock(model, **given)
    if "aiplatform" in host:
        found = _VERTEX.match(bare)
        project = "project" if found is None else re.sub("[^a-z0-9-]", "", found[1].lower())
        region = "global" if found is None else re.sub("[^a-z0-9-]", "", found[2].lower())
        model = unquote(found[3]) if found else "gemini-2.5-flash"
        cls = ClaudeAdapter if "/anthropic/" in bare else GeminiAdapter
        return cls.vertex(model, project=project, region=region, token="token")
    if bare.endswith("/messages"):
        return ClaudeAdapter.azure(
            asked or "claude-haiku-4-5", resource=host.partition(".")[0], api_key="key"
        )
    # Some recorders drop the query; these paths have no other form.
    older = "/deployments/" in bare or bare.endswith("/openai/responses")
    version = parse_qs(query).get("api-version", ["2024-10-21" if older else None])[0]
    deployment = re.search("/deployments/([^/]+)/", bare)
    model = deployment[1] if deployment else asked or "gpt-5-mini"
    make = OpenAIAdapter if bare.endswith("/responses") else OpenAIChatAdapter
    where: dict[str, Any] = {"base_url": f"https://{host}"}
    if host.endswith((".services.ai.azure.com", ".openai.azure.com")):
        where = {"resource": host.split(".")[0], "classic": host.endswith(".openai.azure.com")}
    return make.azure(model, api_key="key", api_version=version, **where)


def urls_of(record: dict[str, Any], prepared: Prepared) -> tuple[str, str]:
    """The address that the record was sent to, and the one that the adapter sends to, without queries."""
    host = record["host"].replace("_", "-").replace("<aws-region>", "us-east-1")
    theirs = host + record["path"].replace("//", "/").replace(":rawPredict", ":streamRawPredict")
    return theirs.partition("?")[0], prepared.url.removeprefix("https://").partition("?")[0]
