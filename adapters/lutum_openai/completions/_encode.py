"""Encode a request to bytes. No I/O: `Prepared` is a function of `TurnRequest` and `CompletionsConfig`.

The endpoint accepts only a prompt, without roles, tools or schemas. Therefore a request must consist of one
user message of text. Any other request is refused, and the error names the field.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec import UNSET, Struct

from lutum import BadValue, CommittedTurn, Estimate, Message, Text
from lutum.abc import Prepared, ReplayForm, TurnRequest
from lutum.dialect.headers import request_headers
from lutum.dialect.json import encode
from lutum.dialect.options import merge_extra_body
from lutum_openai import _estimate
from lutum_openai._options import OpenAIOptions

NAME = "openai-completions"

DEFAULT_OUTPUT = 1_024
"""The default output bound in tokens. The API's own default is 16, and the smallest context is 4,096."""

NO_REPLAY = "a completion is not a turn of a conversation"

_OURS = frozenset({"prompt"})
_PASSED = ("frequency_penalty", "presence_penalty", "logit_bias")
_TAKEN = frozenset({"user", "extra_body", "extra_headers", *_PASSED})


class CompletionsConfig(Struct, frozen=True):
    """The adapter's part of each request: the endpoint, and defaults for settings that the turn leaves out.

    `url` may contain `{model}`. `secret_headers`: names of the headers that are added when a request is sent.
    """

    scope: str
    url: str
    model: str
    options: OpenAIOptions = OpenAIOptions()
    default_max_output_tokens: int = DEFAULT_OUTPUT
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[str, ...] = ()


def prepare(request: TurnRequest, config: CompletionsConfig) -> Prepared:
    """Return the bytes of a request, with its estimate.

    Raises:
      BadValue: the endpoint does not accept a setting or an item; the error names the field.
    """
    settings = request.settings
    prompt = prompt_of(request)
    options = _options(request, config)
    model = config.model if settings.model is UNSET else settings.model
    said = settings.max_output_tokens
    bound = config.default_max_output_tokens if said is UNSET else said
    body: dict[str, object] = {
        "model": model,
        "prompt": prompt,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": bound,
        "stop": settings.stop or UNSET,
        "seed": settings.seed,
        "user": options.user or UNSET,
    }
    if settings.effort not in (UNSET, "none"):
        raise BadValue("effort", "Completions do not reason; leave .effort() out")
    body |= {name: value for name in _PASSED if (value := getattr(options, name)) is not None}
    members = {name: encode(value) for name, value in body.items() if value is not UNSET}
    extra = options.extra_body or {}
    merge_extra_body(members, extra)
    members.setdefault("stream_options", b'{"include_usage":true}')
    members["stream"] = b"true"
    answers = max(count for name in ("n", "best_of") if isinstance(count := extra.get(name, 1), int))
    return Prepared(
        request=request,
        url=config.url.replace("{model}", quote(model, safe="")),
        body=b"{" + b",".join(b'"%b":%b' % (name.encode(), json) for name, json in members.items()) + b"}",
        model=model,
        headers=request_headers(options.extra_headers, config.headers),
        secret_headers=config.secret_headers,
        inexact_reason=NO_REPLAY,
        estimate=Estimate(_estimate.text_tokens(prompt), bound * answers),
    )


def prompt_of(request: TurnRequest) -> str:
    """Return the text of the only user message.

    Raises:
      BadValue: the request contains anything else.
    """
    plan = request.tools
    if request.output is not None:
        raise BadValue(
            "output", "Completions do not accept a schema: use another adapter for structured values"
        )
    if plan.head or plan.new:
        raise BadValue("tools", "Completions do not accept tools")
    if request.ephemerals:
        raise BadValue("ephemerals", "Completions accept a prompt only")
    if len(request.transcript) != 1:
        raise BadValue("input", f"Completions accept one user message, not {len(request.transcript)} items")
    item = request.transcript[0]
    if not isinstance(item, Message) or item.role != "user":
        what = item.role if isinstance(item, Message) else type(item).__name__
        raise BadValue("input[0]", f"Completions accept a user message, not {what}")
    for i, part in enumerate(item.content):
        if not isinstance(part, Text):
            raise BadValue(
                f"input[0].content[{i}]", f"Completions accept text only, not {type(part).__name__}"
            )
    return item.text


def replay_form(turn: CommittedTurn) -> ReplayForm:
    """Return a form that is not exact, because a prompt has no place for earlier turns."""
    return ReplayForm(False, turn.inexact_reason or NO_REPLAY)


def first_difference(earlier: Prepared, later: Prepared) -> str | None:
    """Return `$.prompt`; None if the later prompt starts with the earlier prompt."""
    grown = prompt_of(later.request).startswith(prompt_of(earlier.request))
    return None if grown else "$.prompt"


def _options(request: TurnRequest, config: CompletionsConfig) -> OpenAIOptions:
    given = request.settings.option(OpenAIOptions)
    options = config.options if given is None else given.over(config.options)
    for name in options.__struct_fields__:
        if name not in _TAKEN and getattr(options, name) is not None:
            raise BadValue(name, "Completions have no such option")
    for name in options.extra_body or {}:
        if name in _OURS:
            raise BadValue(f"extra_body.{name}", "is written by lutum: use the transcript")
    return options
