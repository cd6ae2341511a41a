"""The conformance kit on recorded bodies of OpenAI's dialects; `test_wire_turns.py` has Claude's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import corpus
import pytest

from lutum.abc import Adapter
from lutum.testing import check_adapter
from lutum_openai import OpenAIAdapter, OpenAIChatAdapter
from lutum_openrouter import OpenRouterAdapter

pytestmark = pytest.mark.corpus


def whole(protocol: str, at_openrouter: bool) -> list[bytes]:
    """Short recorded streams of turns that completed and call nothing, one host after another."""
    found = dict[str, list[bytes]]()
    for record in corpus.load(protocol, real=at_openrouter):
        sse, final = record.get("sse"), record.get("final")
        if not sse or not record.get("faithful") or not final or len(sse) > 9000 or calls(final):
            continue
        if "n_gt_1" in record.get("features", ()) or (record["host"] == "openrouter.ai") is not at_openrouter:
            continue
        if protocol == "openai_chat" and "finish_reason" not in str(final):
            continue
        found.setdefault(record["host"], []).append(sse.encode())
    return [body for bodies in found.values() for body in bodies[:2]]


def calls(final: dict[str, Any]) -> bool:
    """Whether the turn holds a call that somebody must answer."""
    if "choices" in final:
        messages = [choice["message"] for choice in final["choices"]]
        return not messages or any(m.get("tool_calls") or m.get("function_call") for m in messages)
    return any(item["type"].endswith(("_call", "_request")) for item in final["output"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "protocol", "router"),
    [
        (OpenAIAdapter, "openai_responses", False),
        (OpenAIChatAdapter, "openai_chat", False),
        (OpenRouterAdapter, "openai_chat", True),
        (partial(OpenRouterAdapter, api="responses"), "openai_responses", True),
    ],
    ids=["responses", "chat", "router", "router-responses"],
)
async def test_on_recorded_bodies(make: Callable[..., Adapter], protocol: str, router: bool) -> None:
    """Promises 1, 2, 3, 5 and 7 hold on what real servers sent."""
    recorded = whole(protocol, router)
    assert recorded, "nothing recorded"
    await check_adapter(
        lambda client: make("gpt-5.5", api_key="k", http_client=client), recorded[:6], cuts=10
    )
