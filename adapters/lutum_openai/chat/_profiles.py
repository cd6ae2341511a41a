"""What is known about the servers that speak this dialect, by host.

A host that is not in the table is taken to be as lenient as most: it gets the reasoning members it sent
itself, `max_tokens`, and a request for the usage chunk.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

Structured = Literal["json_schema", "json_object", "tool"]


class Profile(Struct, frozen=True, kw_only=True):
    """What one host takes; give `OpenAIChatAdapter(profile=)` another where the table is wrong.

    Attributes:
      reasoning: members of an assistant message that carry its reasoning back: of those that the turn has,
        the first goes back and every other stays behind. None: all that the turn has. Empty: none.
      required: the reasoning member without which an assistant message with tool calls is refused; empty
        where the host said none itself, as in turns of others.
      max_tokens: the member that bounds the output.
      developer: takes the role `developer`; elsewhere such items go out as `system`.
      usage: takes `stream_options.include_usage`. Others report usage by themselves.
      allowed_tools: takes a `tool_choice` that names the tools on offer.
      seed: the member for the seed.
      file_urls: takes a document by URL.
      tool_media: takes images and files in tool messages; elsewhere they go into a user message behind the
        round's results.
      null_content: takes `content: null` beside calls; elsewhere (llama-cpp-python) it is left out.
      call_id: the pattern that a call's id must match whole; ids of other providers are made to fit.
      structured: how values are asked for unless `OpenAIOptions.structured` says.
    """

    reasoning: tuple[str, ...] | None = None
    required: str | None = None
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    developer: bool = False
    usage: bool = True
    allowed_tools: bool = False
    seed: str = "seed"
    file_urls: bool = False
    tool_media: bool = False
    null_content: bool = True
    call_id: str = r".{1,40}"  # "string too long. Expected a string with maximum length 40": api.openai.com
    structured: Structured = "json_schema"

    def with_max_tokens(self, field: Literal["max_tokens", "max_completion_tokens"]) -> Profile:
        """This profile with another member that bounds the output."""
        return msgspec.structs.replace(self, max_tokens=field)


UNKNOWN = Profile()

# developers.openai.com, API reference: max_tokens is deprecated, reasoning models refuse it; tool messages
# hold text (400 "Image URLs are only allowed for messages with role 'user'").
_OPENAI = Profile(max_tokens="max_completion_tokens", developer=True, allowed_tools=True)

PROFILES: dict[str, Profile] = {
    "api.openai.com": _OPENAI,
    # learn.microsoft.com, "Azure OpenAI reference": as OpenAI, behind its own URLs. `allowed_tools` depends
    # on the api-version, so it is not counted on.
    "openai.azure.com": Profile(max_tokens="max_completion_tokens", developer=True),
    # openrouter.ai/docs, "Reasoning tokens", "Preserving reasoning": the whole sequence of reasoning_details
    # unmodified, or the `reasoning` string. A tool message with an
    # image was answered (recorded exchanges).
    "openrouter.ai": Profile(
        reasoning=("reasoning_details", "reasoning"), developer=True, file_urls=True, tool_media=True
    ),
    # vercel.com/docs/ai-gateway, OpenAI-compatible API, "Reasoning": as OpenRouter.
    "ai-gateway.vercel.sh": Profile(reasoning=("reasoning_details", "reasoning")),
    # api.groq.com answers 400 "property 'reasoning_content' is unsupported" (janhq/jan#8136), and for some
    # models "property 'reasoning' is unsupported" (musistudio/claude-code-router#1204).
    "api.groq.com": Profile(reasoning=(), max_tokens="max_completion_tokens"),
    # 400 "property 'messages.2.assistant.reasoning_content' is unsupported" (Kilo-Org/kilocode#10375).
    "api.cerebras.ai": Profile(reasoning=(), max_tokens="max_completion_tokens"),
    # api-docs.deepseek.com/guides/thinking_mode, "Tool Calls": 400 "Missing `reasoning_content` field in the
    # assistant message" in tool rounds; JSON mode only (guides/json_mode).
    "api.deepseek.com": Profile(
        reasoning=("reasoning_content",), required="reasoning_content", structured="json_object"
    ),
    # 400 "thinking is enabled but reasoning_content is missing in assistant tool call message"
    # (bytedance/deer-flow#3043).
    "api.moonshot.ai": Profile(reasoning=("reasoning_content",), required="reasoning_content"),
    "api.moonshot.cn": Profile(reasoning=("reasoning_content",), required="reasoning_content"),
    # docs.z.ai, "Thinking mode", "Preserved thinking": reasoning_content goes back unmodified.
    "api.z.ai": Profile(reasoning=("reasoning_content",), structured="json_object"),
    # docs.x.ai, API reference: `reasoning_content` of an assistant message.
    "api.x.ai": Profile(reasoning=("reasoning_content",), max_tokens="max_completion_tokens"),
    # docs.mistral.ai, API reference: thinking stands in the content; unknown members are refused (422
    # extra_forbidden), `stream_options` among them, and usage comes by itself; the seed is `random_seed`;
    # a call's id has nine letters and digits; a tool message holds any content chunk, and no user message may
    # follow it (400 "Unexpected role 'user' after role 'tool'").
    "api.mistral.ai": Profile(usage=False, seed="random_seed", tool_media=True, call_id="[a-zA-Z0-9]{9}"),
}
"""Profiles by host; an entry is for the host and all under it."""


def profile_of(host: str) -> Profile:
    """The profile of a host, whatever its port."""
    name = host.partition(":")[0].lower()
    while name:
        if (found := PROFILES.get(name)) is not None:
            return found
        name = name.partition(".")[2]
    return UNKNOWN
