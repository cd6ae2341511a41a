"""`Profile`: what one server of the OpenAI dialects requires, accepts and refuses. No I/O.

The table of known hosts is in `_hosts`; `docs/hosts.md` is generated from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec
from msgspec import Struct, StructMeta

from lutum import BadValue

Structured = Literal["json_schema", "json_object", "tool"]
Effort = Literal["reasoning_effort", "openrouter", "thinking", "enable_thinking", "none"]
Bound = Literal["max_tokens", "max_completion_tokens"]


class ProfileMeta(StructMeta):
    """Refuses unknown fields by name; msgspec's own TypeError does not list the known ones."""

    if not TYPE_CHECKING:  # a typed __call__ would hide the fields from type checkers

        def __call__(cls, *args: Any, **values: Any) -> Any:
            for name in values:
                if name not in cls.__struct_fields__:
                    known = ", ".join(sorted(cls.__struct_fields__))
                    raise BadValue(f"profile.{name}", f"is not a field of Profile; the fields are {known}")
            return super().__call__(*args, **values)


class Profile(Struct, metaclass=ProfileMeta, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What one host takes. `profile=` of an adapter overrides the table of known hosts.

    The defaults are for a host that nobody described: each value is the one that most servers accept.

    Attributes:
      reasoning: members of an assistant message that carry its reasoning back. The first one that the turn
        has is sent, the others stay behind. None: all that the turn has. Empty: none.
      required: the reasoning member without which the host refuses an assistant message with tool calls.
      filler: the value of `required` where the turn has no reasoning of this host.
      max_tokens: the member that bounds the output.
      default_output: the host's own bound when the request names none: a number of tokens, or `unlimited`
        when the model's maximum applies. None: unknown, so lutum always sends a bound.
      system: `any` number of system messages at any place, or `one` at the start. With `one`, the system
        items of the head become one message and later ones become user text between <system> tags.
      alternate: user and assistant messages must alternate; neighbours of one role are joined.
      after_tool: takes a user message directly behind a tool message. Elsewhere a short assistant message
        stands between them.
      string_content: takes content as one string only, no list of parts.
      empty_assistant: takes an assistant message without text and calls. Elsewhere it is left out.
      null_content: takes `content: null` beside calls. Elsewhere the member is left out.
      developer: takes the role `developer`. Elsewhere such items are sent as `system`.
      think: names of tags that enclose reasoning in the text of an answer, such as `think`.
      tool_choice: `any` value; only `auto`; or only `auto` while the model thinks.
      allowed_tools: takes a `tool_choice` that names the tools on offer.
      strict: takes `strict` in a tool.
      schema: the JSON Schema keywords it enforces: those of `openai`, or `full` JSON Schema.
      call_signature: JSON of `extra_content` for calls that were made elsewhere, where the host requires one.
      call_id: the pattern that the whole id of a call must match. Other ids are replaced by a digest.
      tool_name: the longest name of a tool.
      stops: the largest number of stop sequences; None where there is no limit.
      seed: the member for the seed.
      file_urls: takes a document by URL.
      tool_media: takes images and files in tool messages. Elsewhere they are sent in a user message behind
        the results of the round.
      usage: takes `stream_options.include_usage`. `increments`: so does this host, but each of its reports
        counts only what is new since the last one.
      effort: how the portable `.effort()` is sent: by the member `reasoning_effort`; by OpenRouter's object
        `reasoning`; by `thinking` or `enable_thinking`, which are on or off; or not at all.
      cache_tokens: tokens of the shortest prefix that the host caches by itself; None where that is unknown.
      structured: how values are asked for unless `OpenAIOptions.structured` is set.

    Raises:
      BadValue: a field is unknown or has a value of another type.
    """

    reasoning: tuple[str, ...] | None = None
    required: str | None = None
    filler: str = ""
    max_tokens: Bound = "max_tokens"
    default_output: int | Literal["unlimited"] | None = None
    system: Literal["any", "one"] = "one"
    alternate: bool = False
    after_tool: bool = True
    string_content: bool = False
    empty_assistant: bool = False
    null_content: bool = True
    developer: bool = False
    think: tuple[str, ...] = ()
    tool_choice: Literal["any", "auto", "auto_while_thinking"] = "any"
    allowed_tools: bool = False
    strict: bool = False
    schema: Literal["openai", "full"] = "openai"
    call_signature: str | None = None
    call_id: str = r".{1,40}"  # "string too long. Expected a string with maximum length 40": api.openai.com
    tool_name: int = 128
    stops: int | None = None
    seed: str = "seed"
    file_urls: bool = False
    tool_media: bool = False
    usage: bool | Literal["increments"] = True
    effort: Effort = "reasoning_effort"
    cache_tokens: int | None = None
    structured: Structured = "json_schema"

    def __post_init__(self) -> None:
        for name, type in _types().items():
            value = getattr(self, name)
            try:
                read = msgspec.convert(value, type, strict=True)
            except msgspec.ValidationError as exc:
                raise BadValue(f"profile.{name}", f"{value!r} is not allowed: {exc}") from None
            if read.__class__ is not value.__class__:  # a list where a tuple belongs
                raise BadValue(f"profile.{name}", f"{value!r} is a {value.__class__.__name__}; give a tuple")

    def with_max_tokens(self, field: Bound) -> Profile:
        """Return this profile with another member that bounds the output."""
        return msgspec.structs.replace(self, max_tokens=field)


_read_types: dict[str, Any] = {}


def _types() -> dict[str, Any]:
    if not _read_types:
        _read_types.update(get_type_hints(Profile))
    return _read_types


UNKNOWN = Profile()
"""A host that nobody described."""
