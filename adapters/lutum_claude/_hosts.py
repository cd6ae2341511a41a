"""The table of hosts that implement the Messages API: one row for each host, each value with its source.

The clouds' doors are in `lutum_clouds`. For a cloud, the row here and the row of its door both apply. A
request to a host without a row has only members that every endpoint of the dialect accepts. No I/O.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct


class ClaudeHost(Struct, frozen=True, kw_only=True):
    """The known properties of one host.

    Attributes:
      name: the row's name.
      title: the usual name.
      hosts: host names; `*` matches any characters.
      strict: accepts `strict` in a tool, if the model accepts it too.
      thinking_block: requires a thinking block in each assistant message while thinking is on. An empty block
        is added to a message that has none.
      sources: the source of each value that is not the default, by field.
      note: more information for users.
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
    "Its models think by default, so 16,384 output tokens are reserved unless `.max_output_tokens()` is set."
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
        note="`strict` is left out, because only the Claude API and Amazon Bedrock document it.",
    ),
    ClaudeHost(
        name="foundry",
        title="Claude in Microsoft Foundry",
        hosts=("*.services.ai.azure.com",),
        note="`strict` is left out, because it is a beta in Foundry and some deployments refuse it.",
    ),
    ClaudeHost(
        name="deepseek",
        title="DeepSeek",
        hosts=("api.deepseek.com",),
        thinking_block=True,
        sources={"thinking_block": "cursor-byok#276: a message without a thinking block is refused"},
        note=_UNASKED,
    ),
    ClaudeHost(name="zai", title="Z.ai and Zhipu", hosts=("api.z.ai", "open.bigmodel.cn"), note=_UNASKED),
    ClaudeHost(name="minimax", title="MiniMax", hosts=("api.minimax.io", "api.minimaxi.com"), note=_UNASKED),
    ClaudeHost(
        name="moonshot",
        title="Moonshot (Kimi)",
        hosts=("api.moonshot.ai", "api.moonshot.cn", "api.kimi.com"),
        note="It repeats `message_start` (Kimi-K2.5#33) and call ids (nanobot#4473); lutum corrects both.",
    ),
)

UNKNOWN = ClaudeHost(name="", title="", hosts=())


def host_of(host: str) -> ClaudeHost:
    """Return the row of a host name."""
    return next((row for row in HOSTS if any(fnmatchcase(host, name) for name in row.hosts)), UNKNOWN)
