"""`OpenAIAdapter`: where requests go, with which key, over which transport. The only room with I/O."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, final
from urllib.parse import quote

import msgspec

from lutum import BadValue, CommittedTurn, ProviderError, Response, Usage
from lutum.abc import Decoder, Exchange, Prepared, ReplayForm, TurnRequest
from lutum_openai import _common
from lutum_openai._options import OpenAIOptions
from lutum_openai.responses import _decode, _encode, _turn, _wire

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from lutum.transport import HttpTransport

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""

# What /responses/input_tokens takes of a request (api/reference, "Get input token counts").
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)


class _Counted(msgspec.Struct):
    input_tokens: int


@final
class OpenAIAdapter:
    """OpenAI's Responses API, or whatever speaks it. Its name, as in `Raw`, is `openai-responses`.

    Unless `OpenAIOptions(store=True)` says otherwise, nothing is stored at the provider: requests say
    `store: false` and ask models that reason for `reasoning.encrypted_content`, so that a conversation
    goes on from its transcript alone.

    The API has no stop sequences and no seed: both are refused. Nor has it a flag for a tool result that is
    an error: its output begins with `ERROR: `.

    Args:
      model: used where a turn names none.
      api_key: or `OPENAI_API_KEY`. A function is asked for each request. Only api.openai.com demands one.
      base_url: `https://api.openai.com/v1`, or `OPENAI_BASE_URL`. On Azure `https://NAME.openai.azure.com/
        openai/v1`, or without `/v1` and with `api_version`; the key then goes in an `api-key` header.
      api_version: Azure's `api-version`.
      organization, project: `OpenAI-Organization` and `OpenAI-Project`; for api.openai.com also from
        `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that reasons.
      options: under those of each turn.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, a client that is none.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        http_client: httpx.AsyncClient | Any | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: OpenAIOptions = OpenAIOptions(),  # noqa: B008  # frozen
    ) -> None:
        from lutum.transport import HttpTransport, check_base_url  # loads httpx

        base = check_base_url(base_url or os.environ.get("OPENAI_BASE_URL") or _common.OWN_BASE_URL)
        if not model.strip():
            raise BadValue("model", "is blank")
        if default_max_output_tokens is not None and default_max_output_tokens < 1:
            raise BadValue("default_max_output_tokens", f"{default_max_output_tokens} is below 1")
        endpoint = _common.endpoint(base, api_version)
        if endpoint.own:
            organization = organization or os.environ.get("OPENAI_ORG_ID") or None
            project = project or os.environ.get("OPENAI_PROJECT_ID") or None
        said = (("openai-organization", organization), ("openai-project", project))
        self._secret = api_key or os.environ.get("OPENAI_API_KEY") or None
        self._transport: HttpTransport = HttpTransport(http_client)
        self._config = _encode.Config(
            scope=replay_scope or endpoint.host,
            endpoint=endpoint,
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            headers=tuple((name, value) for name, value in said if value),
            secret_headers=(endpoint.key_header,) if self._secret is not None else (),
        )

    @property
    def name(self) -> str:
        return _wire.NAME

    @property
    def scope(self) -> str:
        return self._config.scope

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          BadValue: there is no key for api.openai.com, or the API does not take the request; the field is
            named.
        """
        if self._secret is None and self._config.endpoint.own:
            raise BadValue("api_key", f"{_common.OWN_HOST} needs one: give api_key=, or set OPENAI_API_KEY")
        return _encode.prepare(request, self._config)

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""
        return self._transport.exchange(
            prepared,
            secrets=self._secrets,
            decoder=lambda response: decoder_for(prepared, response, self._config),
            fault=_fault,
        )

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope and model. Pure."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return _encode.first_difference(earlier, later, self._config)

    async def recover_usage(self, response: Response) -> Usage | None:
        """What a response that was cut used, by `GET /responses/{id}`; one small request.

        Only stored responses can be asked for (`OpenAIOptions(store=True)`). None where the provider does
        not know it, or does not know its usage yet. There is no timeout: give it a scope. Cancelled, it
        leaves nothing open.

        Raises:
          ProviderError: the API refused for another reason, or answered with something else.
          NetworkError: no connection, or it failed before the answer was whole.
        """
        if response.id is None:
            return None
        url = self._config.endpoint.url(f"/responses/{quote(response.id, safe='')}")
        head, body = await self._transport.request("GET", url, await self._headers())
        if head.status == 404:
            return None
        if head.status != 200:
            raise _fault(head, body)
        try:
            usage = _common.usage_of(bytes(_wire.decode_head(body).usage) or b"null")
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise ProviderError(f"the response is malformed: {exc}", kind="malformed", body=body) from None
        return None if usage is None else msgspec.structs.replace(usage, known="recovered")

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Ask the API how many input tokens the request has, by `POST /responses/input_tokens`; not billed.

        There is no timeout: give it a scope. Cancelled, it leaves nothing open.

        Raises:
          ProviderError: the API refused, or answered with something else.
          NetworkError: no connection, or it failed before the answer was whole.
        """
        members = _common.decode_object(prepared.body)
        sent = _common.encode({name: value for name, value in members.items() if name in _COUNTED})
        headers = [("content-type", "application/json"), *(await self._headers())]
        url = self._config.endpoint.url("/responses/input_tokens")
        head, body = await self._transport.request("POST", url, headers, sent)
        if head.status != 200:
            raise _fault(head, body)
        try:
            return msgspec.json.decode(body, type=_Counted).input_tokens
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise ProviderError(f"the token count is malformed: {exc}", kind="malformed", body=body) from None

    async def aclose(self) -> None:
        """Close every idle connection; open turns keep theirs. Cancelled, it has closed them all the same."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<OpenAIAdapter {self._config.model} at {self._config.scope}>"

    async def _headers(self) -> list[tuple[str, str]]:
        return [*self._config.headers, *(await self._secrets()).items()]

    async def _secrets(self) -> Mapping[str, str]:
        secret = self._secret
        if secret is None:
            return {}
        value = secret if isinstance(secret, str) else secret()
        if inspect.isawaitable(value):
            value = await value
        return self._config.endpoint.key_headers(value)


def decoder_for(prepared: Prepared, response: Response, config: _encode.Config) -> Decoder:
    """The decoder of the answer to a request. Pure."""
    request = prepared.request
    value_tool = _encode.value_tool(request, config)
    return _decode.Decoder(
        response,
        model=prepared.model,
        scope=config.scope,
        stored=_encode.stores(_encode.options_of(request, config)),
        inexact_reason=prepared.inexact_reason,
        preface=prepared.preface,
        structured=request.output is not None and value_tool is None,
        value_tool=value_tool,
        input_tokens=prepared.estimate.input_tokens,
        hidden=prepared.hidden_reasoning,
    )


def _fault(response: Response, body: bytes) -> ProviderError:
    return _common.http_error(response, body, time.time())
