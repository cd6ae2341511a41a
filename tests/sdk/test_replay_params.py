"""Recorded turns as they go back: the next request of each is what the SDKs' param types declare."""

from collections import Counter
from typing import Any

import corpus
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming as Message
from claude import claude_wire
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as Chat
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming as Responses
from openai_chat import chat_wire
from openai_responses import responses_wire
from sdk.params import faults

import lutum

pytestmark = pytest.mark.corpus

WIRE: dict[str, tuple[Any, Any]] = {
    "claude_messages": (claude_wire, Message),
    "openai_chat": (chat_wire, Chat),
    "openai_responses": (responses_wire, Responses),
}
# What goes back as it came and no param type declares: words of "record: path: problem", and why.
OWN = "the members of its host, which no one else is sent"
UNDECLARED: dict[str, dict[str, str]] = {
    "claude_messages": {".abort_reason:": "a member of an answer that the SDK's params have not got yet"},
    "openai_chat": {
        "AssistantMessageParam.reasoning_details:": OWN,
        "AssistantMessageParam.reasoning_content:": OWN,
        "AssistantMessageParam.reasoning:": OWN,
        "mistral": "thinking as a part of the content, as Mistral has it",
    },
    "openai_responses": {
        "ResponseCustomToolCallParam.status:": "answers have it, params have not",
        "ai/xai/": OWN,
        "openai-codex": OWN,
        "prism/": "written by hand, without the annotations that every answer has",
        "model_web_search_tool_stream": "a search without a query, which the params require",
    },
}


@pytest.mark.parametrize("protocol", WIRE)
def test_replayed_turns(protocol: Any) -> None:
    """Every recorded turn that is exact goes back as the API's own client would be allowed to send it."""
    wire, params = WIRE[protocol]
    checked, declared, unknown, seen = 0, 0, list[str](), Counter[str]()
    for record in corpus.load(protocol):
        if not record["sse"] or record["status"] != 200:
            continue
        try:
            last = wire.decode(record["sse"].encode())[-1]
        except lutum.ProviderError:
            continue
        if not isinstance(last, lutum.Completed) or not last.turn.exact:
            continue
        said = lutum.ModelInput().user("Hi").turn(last.turn)
        for call in last.turn.tool_calls:
            said = said.tool_result(call.id, "done")
        prepared = wire.prepare(said.user("And?"))
        checked += 1
        reasons = set[str]()
        for fault in faults(params, prepared.body):
            told = f"{record['id']}: {fault}"
            reason = next((words for words in UNDECLARED[protocol] if words in told), None)
            reasons.add(reason or "?")
            if reason is None:
                unknown.append(told)
        declared += not reasons
        seen.update(reasons)
    print(f"\n{protocol}: {checked} turns, {declared} as declared")
    for reason, count in seen.most_common():
        print(f"  {count}  {reason}: {UNDECLARED[protocol].get(reason)}")
    assert not unknown, "\n".join(unknown)
    assert checked
