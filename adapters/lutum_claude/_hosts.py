"""The hosts that are known to speak the Messages API: one row each, every value with its source. No I/O.

The clouds' own doors are in `lutum_clouds`; what both say is added up. A host without a row is sent what
every endpoint of the dialect takes.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct


class ClaudeHost(Struct, frozen=True, kw_only=True):
    """The known properties of one host.

    Attributes:
      name: the row's name.
      title: what people call it.
      hosts: host names; `*` matches any characters.
      strict: takes `strict` in a tool, from models that take it.
      thinking_block: wants a thinking block in each assistant message while the model thinks. A message
        without one gets an empty one.
      sources: where each value that is not the default comes from, by field.
      note: what else a user of the host should know.
    """

    name: str
    title: str
    hosts: tuple[str, ...]
    strict: bool = False
    thinking_block: bool = False
    sources: dict[str, str] = {}
    note: str = ""


_STRICT = 'platform.claude.com, Structured outputs, "Strict tool use"'
_UNASKED = (
    "Its models think unasked, so 16,384 output tokens are reserved unless `.max_output_tokens()` is set."
)

HOSTS: tuple[ClaudeHost, ...] = (
    ClaudeHost(
        name="anthropic",
        title="Anthropic",
        hosts=("api.anthropic.com",),
        strict=True,
        sources={"strict": _STRICT},
    ),
    ClaudeHost(
        name="bedrock",
        title="Claude on Amazon Bedrock",
        hosts=("bedrock-runtime.*.amazonaws.com", "bedrock-mantle.*.api.aws"),
        strict=True,
        sources={"strict": f"{_STRICT}: the Claude API and Amazon Bedrock"},
    ),
    ClaudeHost(
        name="vertex",
        title="Claude on Vertex AI",
        hosts=("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
        note="`strict` is left out: it is documented for the Claude API and Amazon Bedrock.",
    ),
    ClaudeHost(
        name="foundry",
        title="Claude in Microsoft Foundry",
        hosts=("*.services.ai.azure.com",),
        note="`strict` is left out: there it is a beta, and which deployment takes it does not show.",
    ),
    ClaudeHost(
        name="deepseek",
        title="DeepSeek",
        hosts=("api.deepseek.com",),
        thinking_block=True,
        sources={"thinking_block": "cursor-byok#276: a message without one is refused"},
        note=_UNASKED,
    ),
    ClaudeHost(name="zai", title="Z.ai and Zhipu", hosts=("api.z.ai", "open.bigmodel.cn"), note=_UNASKED),
    ClaudeHost(name="minimax", title="MiniMax", hosts=("api.minimax.io", "api.minimaxi.com"), note=_UNASKED),
    ClaudeHost(
        name="moonshot",
        title="Moonshot (Kimi)",
        hosts=("api.moonshot.ai", "api.moonshot.cn", "api.kimi.com"),
        note="It repeats `message_start` (Kimi-K2.5#33) and ids of calls (nanobot#4473); both are put right.",
    ),
)

UNKNOWN = ClaudeHost(name="", title="", hosts=())


def host_of(host: str) -> ClaudeHost:
    """Return the row of a host name."""
    return next((row for row in HOSTS if any(fnmatchcase(host, name) for name in row.hosts)), UNKNOWN)
