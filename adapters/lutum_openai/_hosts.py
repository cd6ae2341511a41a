"""The table of known hosts of the OpenAI dialects: one row for each host. Each value has its source. No I/O.

A row is found by the host of the base URL, or by its name: `profile="vllm"`. Self-hosted servers have no
fixed host name. At a local address they are found by their default port.
"""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Struct

from lutum import BadValue
from lutum_openai._profiles import UNKNOWN, Profile


class HostRow(Struct, frozen=True, kw_only=True):
    """One row of the table: a host and its profile.

    Attributes:
      name: the row's name, as in `profile="groq"`.
      title: the host's usual name.
      hosts: host names. A row covers the name and all its subdomains. A name with `*` is a pattern.
      ports: default ports, for self-hosted servers.
      profile: the host's profile.
      sources: the source of each value that is not the default, by field.
      note: more information for users of the host.
    """

    name: str
    title: str
    hosts: tuple[str, ...]
    profile: Profile
    sources: dict[str, str]
    ports: tuple[int, ...] = ()
    note: str = ""


def _row(
    name: str,
    title: str,
    hosts: tuple[str, ...] = (),
    /,
    *,
    ports: tuple[int, ...] = (),
    note: str = "",
    like: HostRow | None = None,
    **values: tuple[Any, str],
) -> HostRow:
    """Return a row. Each keyword is a field of `Profile`: its value and its source. The other fields have the
    values of the row `like`, if it is given."""
    given = {field: value for field, (value, _) in values.items()}
    sources = {field: source for field, (_, source) in values.items()}
    if like is not None:
        given = {field: getattr(like.profile, field) for field in like.sources} | given
        sources = like.sources | sources
    return HostRow(
        name=name, title=title, hosts=hosts, ports=ports, note=note, profile=Profile(**given), sources=sources
    )


_API = "developers.openai.com, API reference"
_RECORDED = "recorded exchanges: such a request was answered"
_OPENAI = _row(
    "openai",
    "OpenAI",
    ("api.openai.com",),
    max_tokens=("max_completion_tokens", f"{_API}: max_tokens is deprecated, reasoning models refuse it"),
    default_output=("unlimited", f"{_API}: max_completion_tokens is optional and has no default"),
    system=("any", _RECORDED),
    empty_assistant=(True, _RECORDED),
    developer=(True, f"{_API}, role developer"),
    allowed_tools=(True, f"{_API}, tool_choice"),
    strict=(True, f"{_API}, tools.function.strict"),
    tool_name=(64, f"{_API}, tools.function.name: 64 characters at most"),
    stops=(4, f"{_API}, stop: up to 4 sequences"),
    cache_tokens=(1024, "developers.openai.com, guide Prompt caching: 1,024 tokens or more"),
    affinity=("prompt_cache_key", f"{_API}, prompt_cache_key"),
)
_AZURE = "learn.microsoft.com, Azure OpenAI reference"

# The self-hosted servers enforce a schema by a grammar, and apply the model's own chat template.
_TEMPLATES = "vllm#41114, Qwen3.8#244, ollama#17774: chat templates refuse late or repeated system messages"
_SELF_HOSTED = _row(
    "local",
    "A server at a local address",
    strict=(True, "vllm docs, Tool calling: arguments follow the schema only where strict is set"),
    think=(("think",), "docs.vllm.ai, Reasoning outputs: without a parser the tags stay in the text"),
    schema=("full", "grammar engines (xgrammar, llguidance, llama.cpp's GBNF) enforce more than OpenAI does"),
)

HOSTS: tuple[HostRow, ...] = (
    _OPENAI,
    _row(
        "azure",
        "Azure OpenAI and Azure AI Foundry",
        ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
        max_tokens=(
            "max_completion_tokens",
            f"{_AZURE}; opencode#37964, llm_wiki#610: GPT-5 deployments refuse max_tokens on all three hosts",
        ),
        system=("any", f"{_AZURE}: as OpenAI"),
        empty_assistant=(True, f"{_AZURE}: as OpenAI"),
        developer=(True, f"{_AZURE}, role developer"),
        strict=(True, f"{_AZURE}, tools.function.strict"),
        tool_name=(64, f"{_AZURE}, tools.function.name"),
        stops=(4, f"{_AZURE}, stop: up to 4 sequences"),
        cache_tokens=(1024, "learn.microsoft.com, Prompt caching: at least 1,024 tokens"),
        affinity=("prompt_cache_key", "learn.microsoft.com, Prompt caching: prompt_cache_key"),
        note="allowed_tools depends on the api-version, so it is not used.",
    ),
    _row(
        "openrouter",
        "OpenRouter",
        ("openrouter.ai",),
        reasoning=(
            ("reasoning_details", "reasoning"),
            "openrouter.ai/docs, Preserving reasoning: the whole reasoning_details, or the string",
        ),
        system=("any", _RECORDED),
        developer=(True, "openrouter.ai/docs, API reference, roles"),
        strict=(True, "openrouter.ai/docs, Tool calling: as OpenAI; gajae-code#2760 for the exception"),
        file_urls=(True, "openrouter.ai/docs, PDF inputs: file_data may be a URL"),
        tool_media=(True, "recorded exchanges: a tool message with an image was answered"),
        effort=("openrouter", "openrouter.ai/docs, Reasoning tokens: reasoning.effort"),
        affinity=("session_id", "openrouter.ai/docs, Prompt caching, Provider sticky routing: session_id"),
        note="A tool without properties is never sent as strict: DeepSeek's models refuse that.",
    ),
    _row(
        "vercel",
        "Vercel AI Gateway",
        ("ai-gateway.vercel.sh",),
        reasoning=(
            ("reasoning_details", "reasoning"),
            "vercel.com/docs/ai-gateway, OpenAI-compatible API, Reasoning: as OpenRouter",
        ),
        strict=(True, "vercel.com/docs/ai-gateway: tools as OpenAI; vercel/ai#10817"),
        effort=("openrouter", "vercel.com/docs/ai-gateway, Reasoning: reasoning.effort"),
    ),
    _row(
        "groq",
        "Groq",
        ("api.groq.com",),
        reasoning=(
            (),
            "janhq/jan#8136: property 'reasoning_content' is unsupported;"
            " claude-code-router#1204: and 'reasoning' is unsupported for some models",
        ),
        max_tokens=("max_completion_tokens", "console.groq.com/docs/api-reference: max_tokens is deprecated"),
        default_output=("unlimited", "console.groq.com/docs/api-reference: no default"),
        stops=(4, "console.groq.com/docs/api-reference, stop: up to 4 sequences"),
    ),
    _row(
        "cerebras",
        "Cerebras",
        ("api.cerebras.ai",),
        reasoning=(
            ("reasoning",),
            "recorded exchanges: 17 messages with reasoning were answered; qwen-code#11045;"
            " kilocode#10375: reasoning_content is refused",
        ),
        max_tokens=("max_completion_tokens", "inference-docs.cerebras.ai, Chat Completions"),
        default_output=("unlimited", "inference-docs.cerebras.ai, Chat Completions: up to the context"),
        stops=(4, "inference-docs.cerebras.ai, stop: up to 4 sequences"),
        note="strict is left out: some models refuse tools with it (livekit/agents#3134).",
    ),
    _row(
        "deepseek",
        "DeepSeek",
        ("api.deepseek.com",),
        reasoning=(("reasoning_content",), "api-docs.deepseek.com/guides/thinking_mode"),
        required=(
            "reasoning_content",
            "api-docs.deepseek.com/guides/thinking_mode, Tool Calls: 400 Missing `reasoning_content` field;"
            " an empty string is accepted",
        ),
        default_output=(4_096, "api-docs.deepseek.com/api/create-chat-completion, max_tokens: 4K by default"),
        cache_tokens=(64, "api-docs.deepseek.com/guides/kv_cache: units of 64 tokens"),
        string_content=(
            True,
            "cline#230, litellm#6642, recorded exchanges: invalid type: sequence, expected a string",
        ),
        tool_choice=("auto_while_thinking", "DeepSeek-V3#1376, litellm#37470: V4 refuses forced tools"),
        strict=(True, "api-docs.deepseek.com/guides/tool_calls; vercel/ai#10817"),
        stops=(16, "api-docs.deepseek.com/api/create-chat-completion, stop: up to 16 sequences"),
        structured=("json_object", "api-docs.deepseek.com/guides/json_mode: JSON mode only"),
        effort=("thinking", "api-docs.deepseek.com/guides/thinking_mode: thinking.type"),
    ),
    _row(
        "moonshot",
        "Moonshot (Kimi)",
        ("api.moonshot.ai", "api.moonshot.cn"),
        reasoning=(("reasoning_content",), "platform.moonshot.ai/docs, Use kimi-k2-thinking"),
        required=(
            "reasoning_content",
            "deer-flow#3043: thinking is enabled but reasoning_content is missing in tool call message",
        ),
        filler=(" ", 'llmgateway#2093, pi#4178: "" is read as missing, " " is accepted'),
        default_output=(1_024, "platform.moonshot.ai/docs/api/chat, max_tokens: 1024 by default"),
        stops=(5, "platform.moonshot.ai/docs/api/chat, stop: up to 5 strings of 32 bytes"),
        effort=("thinking", "platform.moonshot.ai/docs, Kimi K2.5: thinking.type"),
        note="An empty assistant message is left out: AstrBot#7200, lobehub#8419, kimi-code#1985.",
    ),
    _row(
        "zai",
        "Z.ai and Zhipu",
        ("api.z.ai", "open.bigmodel.cn"),
        reasoning=(("reasoning_content",), "docs.z.ai, Thinking mode, Preserved thinking"),
        tool_choice=("auto", "docs.z.ai, tool_choice: only auto; hindsight#4246, onyx#14192"),
        stops=(1, "docs.z.ai, Chat completion, stop: one word only"),
        structured=("json_object", "docs.z.ai, Structured output: JSON mode"),
        effort=("thinking", "docs.z.ai, Thinking mode: thinking.type"),
        note="A late system message becomes user text (Z.ai feedback#97).",
    ),
    _row(
        "minimax",
        "MiniMax",
        ("api.minimax.io", "api.minimaxi.com", "api.minimax.chat"),
        reasoning=(
            ("reasoning_details", "reasoning_content"),
            "platform.minimax.io/docs, Tool use and interleaved thinking: the whole message goes back",
        ),
        think=(("think",), "platform.minimax.io/docs, Compatible OpenAI API: <think> in content"),
        effort=("none", "nanobot#3068: MiniMax does not read reasoning_effort"),
        note="With OpenAIOptions(extra_body={'reasoning_split': True}) the reasoning has its own member.",
    ),
    _row(
        "xai",
        "xAI",
        ("api.x.ai",),
        reasoning=(("reasoning_content",), "docs.x.ai, API reference: reasoning_content of a message"),
        max_tokens=("max_completion_tokens", "docs.x.ai, API reference: max_tokens is deprecated"),
        default_output=("unlimited", "docs.x.ai, API reference: no default"),
        strict=(True, "docs.x.ai, Function calling: as OpenAI"),
        stops=(4, "docs.x.ai, API reference, stop: up to 4 sequences"),
        affinity=("header:x-grok-conv-id", "docs.x.ai, Maximizing cache hits; prompt_cache_key on Responses"),
        note="docs.x.ai recommends the Responses API; OpenAIAdapter works there.",
    ),
    _row(
        "mistral",
        "Mistral",
        ("api.mistral.ai",),
        default_output=("unlimited", "docs.mistral.ai, API reference, max_tokens: up to the context"),
        after_tool=(False, "avante.nvim#2562: 400 Unexpected role 'user' after role 'tool'"),
        strict=(True, "docs.mistral.ai, API reference, Function.strict; vercel/ai#10817"),
        call_id=("[a-zA-Z0-9]{9}", "docs.mistral.ai, API reference: nine letters and digits"),
        seed=("random_seed", "docs.mistral.ai, API reference: unknown members are refused (422)"),
        tool_media=(True, "docs.mistral.ai, API reference: a tool message holds any content chunk"),
        usage=(False, "docs.mistral.ai, API reference: stream_options is refused; usage is always sent"),
        note="An empty assistant message is left out: OpenHands#8685.",
    ),
    _row(
        "gemini",
        "Gemini's OpenAI endpoint, also at Vertex AI",
        ("generativelanguage.googleapis.com", "aiplatform.googleapis.com", "*-aiplatform.googleapis.com"),
        default_output=("unlimited", "ai.google.dev, OpenAI compatibility: the model's maximum"),
        call_signature=(
            '{"google":{"thought_signature":"skip_thought_signature_validator"}}',
            "ai.google.dev, Thought signatures: Gemini 3 refuses calls without one; this value is for"
            " calls of other models",
        ),
        stops=(5, "ai.google.dev, GenerationConfig.stopSequences: up to 5"),
    ),
    _row(
        "perplexity",
        "Perplexity",
        ("api.perplexity.ai",),
        alternate=(True, "docs.perplexity.ai: after the system message, user and assistant must alternate"),
        think=(("think",), "docs.perplexity.ai, Sonar reasoning: <think> is in the content"),
    ),
    _row(
        "dashscope",
        "DashScope (Alibaba Model Studio)",
        (
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "dashscope-us.aliyuncs.com",
        ),
        reasoning=(("reasoning_content",), "help.aliyun.com, Deep thinking: reasoning_content"),
        tool_choice=("auto_while_thinking", "eino#994: forced tools are refused while the model thinks"),
        effort=("enable_thinking", "help.aliyun.com, Deep thinking: enable_thinking"),
    ),
    _row(
        "meta",
        "Meta Llama API",
        ("api.llama.com",),
        max_tokens=("max_completion_tokens", "llama.developer.meta.com/docs, Chat completion"),
        tool_choice=("auto", "oh-my-pi#11635: none and required are refused"),
    ),
    _row(
        "nvidia",
        "NVIDIA NIM",
        ("integrate.api.nvidia.com",),
        string_content=(True, "marimo#7036, qwen-code#2320: some models refuse a list as content"),
        note="strict is left out: gajae-code#2760. The rules of Mistral's models apply: hermes-agent#20154.",
    ),
    _row(
        "copilot",
        "GitHub Copilot",
        ("githubcopilot.com",),
    ),
    _row(
        "github-models",
        "GitHub Models",
        ("models.github.ai", "models.inference.ai.azure.com"),
    ),
    _row(
        "together",
        "Together AI",
        ("api.together.xyz", "api.together.ai"),
        note="The model's chat template decides which system messages are accepted.",
    ),
    _row(
        "fireworks",
        "Fireworks AI",
        ("api.fireworks.ai",),
        strict=(True, "inspect_ai#3043: required there"),
        stops=(4, "docs.fireworks.ai, Chat completions, stop: up to 4 sequences"),
        affinity=("header:x-session-affinity", "reference.langchain.com, langchain-fireworks, Middleware"),
    ),
    _row(
        "huggingface",
        "Hugging Face router",
        ("router.huggingface.co",),
        strict=(True, "inspect_ai#3043: required there"),
        stops=(4, "huggingface.co/docs/inference-providers, Chat completion, stop: up to 4 sequences"),
    ),
    _row(
        "cloudflare",
        "Cloudflare Workers AI",
        ("api.cloudflare.com",),
        string_content=(True, "TencentDB-Agent-Memory#1313: 400 Bad input for content that is a list"),
        null_content=(False, "TencentDB-Agent-Memory#1313: the same for content: null"),
    ),
    _row(
        "cloudflare-gateway",
        "Cloudflare AI Gateway",
        ("gateway.ai.cloudflare.com",),
        note="Parameters are passed on; GPT-5 and o-models get max_completion_tokens (vercel/ai#11828).",
    ),
    _row(
        "bedrock",
        "Amazon Bedrock's OpenAI endpoints",
        ("bedrock-runtime.*.amazonaws.com", "bedrock-mantle.*.api.aws"),
        think=(("reasoning",), "recorded exchanges: gpt-oss has <reasoning> in its text"),
    ),
    _row(
        "databricks",
        "Databricks",
        ("azuredatabricks.net", "cloud.databricks.com", "gcp.databricks.com"),
        note="strict is left out: databricks-ai-bridge#269, ellmer#1108.",
    ),
    _row(
        "vllm",
        "vLLM",
        ports=(8000,),
        like=_SELF_HOSTED,
        default_output=("unlimited", "docs.vllm.ai, OpenAI-compatible server: the rest of the context"),
        note="For its production stack, start the router with --session-key x-session-id and use affinity=.",
    ),
    _row(
        "sglang",
        "SGLang",
        ports=(30000,),
        like=_SELF_HOSTED,
        default_output=("unlimited", "docs.sglang.ai, OpenAI APIs: the rest of the context"),
        affinity=("header:x-smg-routing-key", "smg-docs, Sticky sessions: the default header of its router"),
    ),
    _row(
        "tgi",
        "Text Generation Inference",
        ports=(3000,),
        like=_SELF_HOSTED,
        stops=(4, "huggingface.co/docs/text-generation-inference, --max-stop-sequences: 4 by default"),
    ),
    _row(
        "llama.cpp",
        "llama.cpp",
        ports=(8080,),
        like=_SELF_HOSTED,
        default_output=("unlimited", "llama.cpp, tools/server/README.md, n_predict: -1 by default"),
    ),
    _row(
        "ollama",
        "Ollama",
        ("ollama.com",),
        ports=(11434,),
        like=_SELF_HOSTED,
        default_output=("unlimited", "docs.ollama.com, Modelfile, num_predict: -1 by default"),
    ),
    _row(
        "lmstudio",
        "LM Studio",
        ports=(1234,),
        like=_SELF_HOSTED,
        default_output=("unlimited", "lmstudio.ai/docs, OpenAI endpoints: max_tokens is optional"),
    ),
    _row(
        "litellm",
        "LiteLLM proxy",
        ports=(4000,),
        strict=(True, "docs.litellm.ai: passed on to the upstream"),
    ),
)
"""The table. A test checks that each value that is not the default has a source."""

PROFILES: dict[str, Profile] = {row.name: row.profile for row in HOSTS} | {
    host: row.profile for row in HOSTS for host in row.hosts if "*" not in host
}
"""Profiles by the name of their row and by host name."""

_PORTS = {port: row for row in HOSTS for port in row.ports}
_PATTERNS = tuple((host, row) for row in HOSTS for host in row.hosts if "*" in host)
_NAMES = {host: row for row in HOSTS for host in row.hosts if "*" not in host}

# Models whose chat template has its own rules. The rules hold at every server that applies the template.
_ALTERNATING = re.compile(
    r"gemma-?[123]\b|mistral|mixtral|ministral|magistral|devstral|codestral|pixtral", re.I
)
_MISTRALS = re.compile(r"mistral|mixtral|ministral|magistral|devstral|codestral|pixtral", re.I)

_OLDER_GEMINI = re.compile(r"gemini-[12](?!\d)", re.I)  # these models do not check signatures

# OpenAI's models that accept only `max_completion_tokens`, also behind a gateway that passes parameters on.
_COMPLETION_TOKENS = re.compile(r"(^|/|\.)(o[1-9]|gpt-[5-9])", re.I)


def host_row(host: str) -> HostRow | None:
    """Return the row of a host, which may have a port; None if the host is unknown."""
    name, _, port = host.lower().partition(":") if not host.startswith("[") else host.lower().rpartition("]:")
    rest = name
    while rest:
        if (found := _NAMES.get(rest)) is not None:
            return found
        rest = rest.partition(".")[2]
    for pattern, row in _PATTERNS:
        if fnmatchcase(name, pattern):
            return row
    if is_local(name):
        return (_PORTS.get(int(port)) if port.isdecimal() else None) or _SELF_HOSTED
    return None


def profile_of(host: str) -> Profile:
    """Return the profile of a host, which may have a port."""
    row = host_row(host)
    return UNKNOWN if row is None else row.profile


def named_profile(profile: Profile | str) -> Profile:
    """Return `profile`, or the profile of the row with that name.

    Raises:
      BadValue: `profile` is neither a `Profile` nor a known name.
    """
    if isinstance(profile, Profile):
        return profile
    if not isinstance(profile, str) or profile not in PROFILES:
        names = ", ".join(row.name for row in HOSTS)
        raise BadValue("profile", f"{profile!r} is not a Profile; the known names are {names}")
    return PROFILES[profile]


def for_model(profile: Profile, host: str, model: str) -> Profile:
    """Return the profile with the rules of the model, which hold at every server of open models."""
    row = host_row(host)
    if row is not None and row.name in _OWN_MODELS:
        return profile
    if row is not None and row.name == "gemini" and _OLDER_GEMINI.search(model):
        return msgspec.structs.replace(profile, call_signature=None)
    if profile.max_tokens == "max_tokens" and _COMPLETION_TOKENS.search(model):
        profile = profile.with_max_tokens("max_completion_tokens")
    if _ALTERNATING.search(model):
        profile = msgspec.structs.replace(profile, system="one", alternate=True)
    if _MISTRALS.search(model):
        profile = msgspec.structs.replace(profile, after_tool=False)
    return profile


_OWN_MODELS = frozenset({"openai", "azure", "openrouter", "mistral", "vercel"})
"""Hosts that adapt messages to each model themselves, or whose row contains the models' rules already."""


def is_local(name: str) -> bool:
    """Return whether a host name is an address of this machine or of a private network."""
    name = name.strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith((".local", ".localhost", ".internal", ".lan"))
    return address.is_loopback or address.is_private or address.is_link_local or address.is_unspecified
