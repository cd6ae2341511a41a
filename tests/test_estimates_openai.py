"""What turns over OpenAI's two dialects reserve, against what recorded requests were billed: the share that
is covered, how far above, and why the others are not. Every request is built again, by the adapter that makes
the estimate: from messages and turns, as a program has them, and once more from raw items."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import Any

import corpus
import msgspec
import pytest
from openai_chat import chat_wire
from openai_responses import responses_wire

import lutum
from lutum.abc import OutputFormat, Prepared, ToolPlan
from lutum_openai import OpenAIOptions
from lutum_openai.chat import from_messages as from_chat
from lutum_openai.responses import from_messages as from_responses

pytestmark = pytest.mark.corpus

ADAPTERS = ["chat", "responses"]
KINDS = ["items", "raw"]
"""Messages, results and turns, as a program has them; or the JSON that was sent, in raw items."""


class Row(msgspec.Struct, frozen=True):
    """One recorded request: what the adapter makes of it, and what the provider billed."""

    id: str
    host: str
    model: str
    prepared: Prepared
    input: int
    media: bool

    @property
    def ratio(self) -> float:
        return self.prepared.estimate.input_tokens / self.input


@cache
def rows(
    adapter: str, kind: str = "items", place: corpus.Place = "streams"
) -> tuple[list[Row], Counter[str]]:
    """Recorded successes that can be built again, and why the others cannot."""
    found, left = list[Row](), Counter[str]()
    for record in corpus.load("openai_chat" if adapter == "chat" else "openai_responses", place, real=True):
        request = record["request"]
        usage = (record.get("final") or record["json"] or {}).get("usage") or {}
        billed = usage.get("prompt_tokens") or usage.get("input_tokens")
        if record["status"] != 200 or not billed or not isinstance(request, dict):
            left["no bill"] += 1
        elif record.get("request_elided"):
            left["the recording was shortened"] += 1
        elif record.get("suspect_synthetic"):
            left["not recorded"] += 1
        elif ("messages" if adapter == "chat" else "input") not in request:
            left["another endpoint"] += 1
        else:
            try:
                prepared = (chat if adapter == "chat" else responses)(record, kind)
            except (lutum.UsageError, NotSaid) as error:
                left[f"not sent: {str(error)[:40]}"] += 1
                continue
            text = msgspec.json.encode(request)
            media = any(word in text for word in (b"image_url", b"input_image", b"input_file", b"file_data"))
            media = media or b"input_audio" in text or b'"type":"file"' in text
            found.append(
                Row(record["id"], record["host"], request.get("model") or "", prepared, billed, media)
            )
    return found, left


class NotSaid(Exception):
    """Something in the request that only the provider knows."""


def chat(record: dict[str, Any], kind: str) -> Prepared:
    request = record["request"]
    if request.get("web_search_options") or request.get("plugins"):
        raise NotSaid("the provider searches the web")
    if request.get("functions"):
        raise NotSaid("functions, which are no tools yet")
    given = from_chat(request["messages"], scope=record["host"], model=request.get("model") or "unknown")
    if kind == "raw":
        given = lutum.Transcript(lutum.Raw("openai-chat", encode(said)) for said in request["messages"])
    tools = [tool["function"] for tool in request.get("tools") or [] if tool.get("type") == "function"]
    if len(tools) != len(request.get("tools") or []):
        raise NotSaid("a tool that the provider runs")
    form = request.get("response_format") or {}
    extra = {"response_format": form} if form and form["type"] != "json_schema" else {}
    return chat_wire.prepare(
        given,
        via=chat_wire.adapter(record["host"], request.get("model") or "unknown"),
        tools=plan(tools, request.get("tool_choice")),
        output=output(form.get("json_schema")),
        options=OpenAIOptions(extra_body=extra) if extra else None,
    )


def responses(record: dict[str, Any], kind: str) -> Prepared:
    request = record["request"]
    tools = request.get("tools") or []
    if any(request.get(name) for name in ("previous_response_id", "conversation", "prompt")):
        raise NotSaid("state at the provider")
    if any(tool["type"] != "function" for tool in tools):
        raise NotSaid("a tool that the provider runs")
    said = request["input"]
    items = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
    if request.get("instructions"):
        items.insert(0, {"role": "developer", "content": request["instructions"]})
    given = from_responses(items, scope=record["host"], model=request.get("model") or "unknown")
    if kind == "raw":
        given = lutum.Transcript(lutum.Raw("openai-responses", encode(item)) for item in items)
    form = (request.get("text") or {}).get("format") or {}
    return responses_wire.prepare(
        given,
        request.get("model") or "unknown",
        via=responses_wire.adapter(base_url=f"https://{record['host']}/v1"),
        tools=plan(tools, request.get("tool_choice")),
        output=output(form if form.get("type") == "json_schema" else None),
    )


def output(form: dict[str, Any] | None) -> OutputFormat | None:
    return None if form is None else OutputFormat(form.get("name") or "value", encode(form["schema"]))


def plan(tools: list[dict[str, Any]], choice: Any) -> ToolPlan:
    own = tuple(
        lutum.ToolDef(tool["name"], encode(tool.get("parameters") or {}), tool.get("description") or "")
        for tool in tools
    )
    return ToolPlan(head=own, choice="auto" if own and choice != "none" else "none")


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# Billed more than was estimated, and why. By what the recording's name holds.
MISSES = {
    "chat": {
        "test_groq_web_search_tool": "a model that searches the web by itself",
        "test_openrouter_with_native_options": "another model answered, with a system prompt of its own",
        "TestOpenRouter": "a host that puts a page of its own before the messages",
        "supports_response_format_param": "what comes with JSON mode",
        "returns_reasoning_content_for_effort_high": "what comes with reasoning",
        "blocking_reasoner_parallel_tool_turn": "what comes with reasoning",
        "web_search_on": "what the host searched",
        "character_slug": "a character's system prompt at the host",
        "extractor_smoke": "a host's system prompt, which is not always as long",
        "test_openrouter_with_preset": "a preset's system prompt at the host",
        "test_trace_propagation": "a tokenizer of 2022, and no template",
        "test_decorator_return_function_call": "what comes with a forced tool, some ten tokens",
        "crewAI/": "what comes with a tool, a few tokens",
        "set-attributes-in-span-for-chat": "a template's default system prompt",
    },
    "responses": {
        "gpt_5_6_reasoning": "a system prompt that the account or the model has",
        "reasoning_effort": "what comes with reasoning",
        "streams_reasoning_deltas": "what comes with reasoning",
        "test_instrument_langchain": "reasoning that the provider kept",
        "test_openai_responses_stream": "what the provider adds to some requests, about 190 tokens",
        "test_function_tool_exception": "what the provider adds to some requests, about 190 tokens",
        "responses_delete_setup": "what the provider adds to some requests",
    },
}
UNLISTED = "no cause is listed"
NEAR = "up to seven in a hundred, which no rule of bytes tells"


def cause(adapter: str, row: Row) -> str:
    unlisted = NEAR if row.ratio >= 0.93 else UNLISTED
    return next((why for name, why in MISSES[adapter].items() if name in row.id), unlisted)


def bounded(adapter: str, kind: str = "items") -> list[Row]:
    return [row for row in rows(adapter, kind)[0] if not row.prepared.unbounded]


def misses(adapter: str, kind: str = "items") -> list[Row]:
    return [row for row in bounded(adapter, kind) if row.ratio < 1]


def high(ratios: list[float]) -> float:
    return sorted(ratios)[int(len(ratios) * 0.95)]


@pytest.mark.parametrize(("adapter", "least"), [("chat", 430), ("responses", 190)])
def test_what_can_be_said_of_how_many_in_estimates_openai(adapter: str, least: int) -> None:
    """Most recorded requests with a bill can be built again, and nearly all of those are bounded; of the
    others it is known why."""
    found, left = rows(adapter)
    reasons = {"no bill", "the recording was shortened", "not recorded", "another endpoint"}
    assert {reason for reason in left if not reason.startswith("not sent: ")} <= reasons
    assert len(found) >= least
    assert len(bounded(adapter)) / len(found) >= 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("adapter", "least"), [("chat", 0.93), ("responses", 0.92)])
def test_the_share_that_is_covered_in_estimates_openai(adapter: str, least: float, kind: str) -> None:
    """Of bounded requests so many are billed no more input than was estimated."""
    assert 1 - len(misses(adapter, kind)) / len(bounded(adapter, kind)) >= least


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_each_miss_has_a_cause_in_estimates_openai(adapter: str) -> None:
    """No request is billed more than its estimate for a reason that nobody has looked at."""
    found = misses(adapter)
    assert [(row.id, round(row.ratio, 2)) for row in found if cause(adapter, row) == UNLISTED] == []
    assert [name for name in MISSES[adapter] if not any(name in row.id for row in found)] == []
    assert sum(cause(adapter, row) == NEAR for row in found) / len(bounded(adapter)) < 0.03


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_estimate_does_not_starve_in_estimates_openai(adapter: str) -> None:
    """The median of estimate over bill, and of 95 in 100: an estimate far above the bill holds up others."""
    ratios = sorted(row.ratio for row in bounded(adapter) if not row.media)
    assert ratios[len(ratios) // 2] <= 1.55
    assert high(ratios) <= 2.8
    assert high([row.ratio for row in bounded(adapter, "raw") if not row.media]) <= 3.0


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_other_recordings_would_say_the_same(adapter: str) -> None:
    """The rates do not stand and fall with single recordings: of any half chosen by chance 95 in 100 are
    mostly no further above either, and it is covered as well."""
    chance, found = random.Random(7), [row.ratio for row in bounded(adapter) if not row.media]
    halves = [chance.sample(found, len(found) // 2) for _ in range(200)]
    assert sum(high(half) <= 3.0 for half in halves) / len(halves) >= 0.95
    assert min(sum(ratio >= 1 for ratio in half) / len(half) for half in halves) >= 0.85
