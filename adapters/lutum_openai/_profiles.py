"""`Profile`: the requirements and limits of one server of the OpenAI dialects. No I/O.

The table of known hosts is in `_hosts`; `docs/hosts.md` is generated from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec
from msgspec import Struct, StructMeta

from lutum import BadValue

Structured = Literal["json_schema", "json_object", "tool"]
Effort = Literal["reasoning_effort", "openrouter", "thinking", "enable_thinking", "none"]
Bound = Literal["max_tokens", "max_completion_tokens"]


_AFFINITY = re.compile(r"[a-z][a-z0-9_]*|header:[a-z][a-z0-9-]*")


class ProfileMeta(StructMeta):
    """Raises BadValue for an unknown field, because msgspec's TypeError does not list the known fields."""

    if not TYPE_CHECKING:  # a typed __call__ would hide the fields from type checkers

        def __call__(cls, *args: Any, **values: Any) -> Any:
            for name in values:
                if name not in cls.__struct_fields__:
                    known = ", ".join(sorted(cls.__struct_fields__))
                    raise BadValue(f"profile.{name}", f"is not a field of Profile; the fields are {known}")
            return super().__call__(*args, **values)


class Profile(Struct, metaclass=ProfileMeta, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The requirements and limits of one host. `profile=` of an adapter overrides the table of known hosts.

    The defaults are for an unknown host: each value is the one that most servers accept.

    Attributes:
      reasoning: the members of an assistant message in which its reasoning is sent back. The first member
        that the turn has is sent, and the others are left out. None: all of the turn's reasoning members are
        sent. Empty: reasoning is left out.
      required: the reasoning member without which the host refuses an assistant message with tool calls.
      filler: the value of `required` if the turn has no reasoning of this host.
      max_tokens: the member that bounds the output.
      default_output: the host's own bound if the request sets none: a number of tokens, or `unlimited` if
        the model's maximum applies. None means unknown; lutum then always sends a bound.
      system: `any`: any number of system messages at any place. `one`: one system message at the start. With
        `one`, the system items of the head become one message, and later system items become user text
        between <system> tags.
      alternate: user and assistant messages must alternate; lutum joins neighbours of one role.
      after_tool: accepts a user message directly after a tool message. If False, lutum puts a short assistant
        message between them.
      string_content: accepts content as one string only, not a list of parts.
      empty_assistant: accepts an assistant message without text and calls. If False, lutum leaves it out.
      null_content: accepts `content: null` beside calls. If False, lutum leaves the member out.
      developer: accepts the role `developer`. If False, such items are sent as `system`.
      think: names of tags that enclose reasoning in the text of an answer, such as `think`.
      tool_choice: the accepted values. `any`: all values. `auto`: only `auto`. `auto_while_thinking`: only
        `auto` while the model thinks.
      allowed_tools: accepts a `tool_choice` that lists the tools on offer.
      strict: accepts `strict` in a tool.
      schema: the JSON Schema keywords that the host enforces. `openai`: those of OpenAI's strict mode.
        `full`: also `minLength`, `maxLength`, `uniqueItems` and `format`.
      call_signature: the JSON of `extra_content` for calls that other providers' models made. Set it if the
        host requires a signature in each call.
      call_id: the pattern that the whole id of a call must match. Other ids are replaced by a digest.
      tool_name: the longest name of a tool, in characters.
      stops: the largest number of stop sequences; None for any number.
      seed: the member for the seed.
      file_urls: accepts a document by URL.
      tool_media: accepts images and files in tool messages. If False, lutum sends them in a user message
        after the results of the round.
      usage: accepts `stream_options.include_usage`. `increments`: accepts it too, but each usage report
        counts only the tokens since the previous report.
      effort: how the portable `.effort()` is sent. `reasoning_effort`: in this member. `openrouter`: in
        OpenRouter's object `reasoning`. `thinking`, `enable_thinking`: in this member, which is on or off.
        `none`: the host has no setting, and `.effort()` is refused.
      cache_tokens: the tokens of the shortest prefix that the host caches automatically; None if unknown.
      affinity: where a request contains the key of `affinity=`: the name of a member of the body, or
        `header:` and the name of a header. The default is a header, because a host ignores unknown headers.
      structured: how structured values are requested unless `OpenAIOptions.structured` is set.

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
    affinity: str = "header:x-session-id"
    structured: Structured = "json_schema"

    def __post_init__(self) -> None:
        for name, type in _types().items():
            value = getattr(self, name)
            try:
                read = msgspec.convert(value, type, strict=True)
            except msgspec.ValidationError as exc:
                raise BadValue(f"profile.{name}", f"{value!r} is not allowed: {exc}") from None
            if read.__class__ is not value.__class__:  # a list instead of a tuple
                raise BadValue(f"profile.{name}", f"{value!r} is a {value.__class__.__name__}; give a tuple")
        if not _AFFINITY.fullmatch(self.affinity):
            raise BadValue(
                "profile.affinity",
                f"{self.affinity!r} is neither the name of a member nor `header:` and the name of a header",
            )

    def affine(self, key: str | None) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
        """Return the members of the body and the headers that contain an affinity key."""
        if key is None:
            return {}, ()
        name = self.affinity.removeprefix("header:")
        return ({}, ((name, key),)) if name != self.affinity else ({name: key}, ())

    def with_max_tokens(self, field: Bound) -> Profile:
        """Return a copy of this profile in which the member `field` bounds the output."""
        return msgspec.structs.replace(self, max_tokens=field)


_read_types: dict[str, Any] = {}


def _types() -> dict[str, Any]:
    if not _read_types:
        _read_types.update(get_type_hints(Profile))
    return _read_types


UNKNOWN = Profile()
"""The profile of an unknown host."""
