"""Encode a request to bytes. `Prepared` is a function of `TurnRequest` and `GeminiConfig`.

Body = system instruction and tools + contents joined from cached pieces + everything else. So request 1,001
of a conversation encodes only one new item, and its contents are those of request 1,000 with more at the end.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct

from lutum import BadValue, Estimate, Transcript
from lutum.abc import Prepared, TurnRequest
from lutum.dialect.headers import request_headers
from lutum.dialect.json import encode
from lutum.dialect.options import options_of
from lutum.dialect.prefix import changed_path, differs_at
from lutum_gemini._options import GeminiOptions
from lutum_gemini.generate import _config, _estimate, _models, _tools, _wire
from lutum_gemini.generate._config import Generation
from lutum_gemini.generate._contents import Contents
from lutum_gemini.generate._items import GeminiItemEncoder

_NOTHING = Transcript()


class GeminiConfig(Struct, frozen=True):
    """The adapter's part of each request: the endpoint, and defaults for settings that the turn leaves out.

    Attributes:
      models: the URL of the models' folder, with a slash at its end.
      location: the region at Vertex AI; empty on the Gemini API.
      secret_headers: names of the headers that are added when a request is sent.
    """

    scope: str
    models: str
    model: str
    location: str = ""
    options: GeminiOptions = GeminiOptions()
    default_max_output_tokens: int | None = None
    secret_headers: tuple[str, ...] = ()

    @property
    def vertex(self) -> bool:
        """True if requests are sent to Vertex AI."""
        return bool(self.location)

    def url(self, model: str, method: str) -> str:
        """Return the URL of a method of a model. `model` may begin with a folder, such as `tunedModels/`."""
        name = quote(model, safe="/:@") if "/" in model else quote(model, safe=":@")
        if "/" in name:
            return f"{self.models.removesuffix('models/')}{name}:{method}"
        return f"{self.models}{name}:{method}"


def prepare(request: TurnRequest, config: GeminiConfig) -> Prepared:
    """Encode a request.

    Raises:
      BadValue: the API or a known model does not accept a setting or an item. The error names the field.
    """
    settings, options = request.settings, options_of(request, config.options)
    model = config.model if settings.model is UNSET else settings.model
    capable = _models.capabilities(model)
    if config.vertex and capable.locations and config.location not in capable.locations:
        served = ", ".join(sorted(capable.locations))
        raise BadValue("model", f"{model} is not served in {config.location}: use one of {served}")
    value_tool = _tools.value_tool_of(request.output, options)
    tools = _tools.plan(request, options, model, vertex=config.vertex, value_tool=value_tool)
    joined = _contents(request, config, options, model)
    if not joined.contents:
        raise BadValue("input", "has nothing to send: Gemini needs at least one user message")
    if joined.ends_with_model and not capable.prefill:
        raise BadValue("input", f"ends with a model turn, which {model} does not continue")
    if options.cached_content is not None and (joined.system or tools.tools):
        what = "system items" if joined.system else "tools"
        raise BadValue("cached_content", f"already contains the {what}, so the request cannot have any")
    spec = Generation(request, model, options, tools, config.default_max_output_tokens, config.vertex)
    generation, dropped = _config.generation_config(spec)
    body = _body(joined, tools, generation, _config.others(spec))
    if len(body) > _wire.REQUEST_BYTES:
        raise BadValue(
            "input",
            f"makes a request of {len(body)} bytes; the limit is {_wire.REQUEST_BYTES} bytes."
            " Send fewer or smaller items",
        )
    tokens = joined.tokens + tools.tokens + _estimate.REQUEST_TOKENS
    if request.output is not None and value_tool is None:
        tokens += _estimate.text_tokens(request.output.schema) + _estimate.FORMAT_TOKENS
    unbounded = [*joined.unbounded, *(f"server tool {name}" for name in tools.server)]
    if options.cached_content is not None:
        unbounded.append("cached_content")
    return Prepared(
        request=request,
        url=config.url(model, "streamGenerateContent") + "?alt=sse",
        body=body,
        model=model,
        headers=request_headers(options.extra_headers),
        secret_headers=config.secret_headers,
        forms=tuple(joined.forms),
        inexact_reason=tools.inexact_reason,
        estimate=Estimate(tokens, _config.max_output_tokens(spec)),
        unbounded=tuple(unbounded),
        hidden_reasoning=spec.thinks,
        structured=_config.structured_by(request, options),
        dropped_constraints=dropped,
        dropped_options=tuple(joined.dropped),
        implicit_bound=_config.implicit_bound(spec) if request.limited else None,
        cacheable=capable.cache_tokens is not None and tokens >= capable.cache_tokens,
    )


def first_difference(earlier: Prepared, later: Prepared, config: GeminiConfig) -> str | None:
    """Return the JSON path in `later` of the first part or tool that differs from `earlier`.

    None if `later` only adds entries. System parts, tools and content parts are compared. Ephemerals and
    everything after the contents are not compared.
    """
    before, now = _compared(earlier, config), _compared(later, config)
    for name in ("tools", "systemInstruction"):
        old, new = before[name], now[name]
        if (at := differs_at(old, new)) is not None:
            return f"$.{name}[{at}]" if name == "tools" else f"$.{name}.parts[{at}]"
    flat, later_flat = _flat(before["contents"]), _flat(now["contents"])
    return changed_path(flat, later_flat, "$.contents")


def _contents(request: TurnRequest, config: GeminiConfig, options: GeminiOptions, model: str) -> Contents:
    thoughts = options.replay_thoughts is not False
    encoder = GeminiItemEncoder(config.scope, model, thoughts=thoughts)
    pieces = request.transcript.memo(encoder.key, encoder)
    ephemerals = [
        (at, encoder.piece(item, f"ephemerals[{i}]", _NOTHING))
        for i, (at, item) in enumerate(request.ephemerals)
    ]
    joined = Contents(len(request.transcript.head.system))
    joined.run(pieces, sorted(ephemerals, key=lambda entry: entry[0]))
    return joined


def _body(
    joined: Contents, tools: _tools.GeminiTools, generation: dict[str, bytes], others: dict[str, bytes]
) -> bytes:
    out = list[bytes]()
    if joined.system:
        out.append(b'"systemInstruction":{"parts":[%b]}' % b",".join(joined.system))
    if tools.tools:
        out.append(b'"tools":[%b]' % b",".join(tools.tools))
    out.append(b'"contents":[%b]' % b",".join(joined.contents))
    if joined.continuation is not None:
        out.append(b'"continuationToken":' + encode(joined.continuation))
    if tools.config:
        out.append(b'"toolConfig":' + tools.config)
    members = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in generation.items())
    out.append(b'"generationConfig":{%b}' % members)
    out += [b"%b:%b" % (encode(name), value) for name, value in others.items()]
    return b"{" + b",".join(out) + b"}"


def _compared(prepared: Prepared, config: GeminiConfig) -> dict[str, list[Any]]:
    """Return the compared members of a body, without ephemerals and without a continuation."""
    if prepared.request.ephemerals:
        prepared = prepare(msgspec.structs.replace(prepared.request, ephemerals=()), config)
    body: dict[str, Any] = json.loads(prepared.body, parse_float=str, parse_int=str)
    system: dict[str, Any] = body.get("systemInstruction", {})
    return {
        "tools": body.get("tools", []),
        "systemInstruction": system.get("parts", []),
        "contents": body["contents"],
    }


def _flat(contents: list[Any]) -> list[tuple[object, object, str]]:
    """Return contents as a flat list of role, part and path."""
    return [
        (content.get("role"), part, f"$.contents[{c}].parts[{p}]")
        for c, content in enumerate(contents)
        for p, part in enumerate(content.get("parts", []))
    ]
