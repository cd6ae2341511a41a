"""`OpenRouterAdapter`: one of OpenAI's dialects at OpenRouter. The only module here with I/O."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, final
from urllib.parse import quote

import anyio
import msgspec

from lutum import BadValue, CommittedTurn, Event, ProviderError, Response, Transcript, Usage
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.dialect.errors import ErrorTable
from lutum.dialect.options import merged
from lutum.transport import Connector, Credential, HttpAdapter, HttpClient, Secret, check_base_url, no_key
from lutum_openai import ERRORS, OpenAIAdapter, OpenAIChatAdapter, OpenAIOptions
from lutum_openrouter import _generation
from lutum_openrouter._options import OpenRouterHooks, OpenRouterOptions

HOST: Final = "openrouter.ai"
BASE_URL: Final = f"https://{HOST}/api/v1"

RECOVERY_SECONDS: Final = 2.0
"""How long to wait for a generation's record, which appears about a second after the end of the answer."""

FIRST_PAUSE: Final = 0.1  # seconds, doubled after each 404: five requests in two seconds


_EFFORTS = frozenset({"effort", "max_tokens", "enabled"})


@final
class OpenRouterAdapter(HttpAdapter):
    """Models of many providers through OpenRouter.

    The adapter has the name of its dialect, `openai-chat` or `openai-responses`. So any adapter of the same
    dialect and scope replays its turns exactly.

    Args:
      model: the default for turns without a model, such as `anthropic/claude-sonnet-4.5`.
      api_key: the key; default: `OPENROUTER_API_KEY`. A function is called for each request. Only
        openrouter.ai requires a key.
      base_url: default: `https://openrouter.ai/api/v1`.
      api: the dialect: `chat`, which transfers the reasoning of all models, or `responses`.
      http_client: your `httpx.AsyncClient`.
      replay_scope: the endpoint and account family whose turns are replayed exactly. Default: the URL's host.
      default_max_output_tokens: the output bound of turns that set none. Default: 4,096, or 16,384 for a
        model that reasons.
      cache_control: lifetime of cache breakpoints, for Claude. Default: no breakpoints. Only with `chat`.
      affinity: see `OpenAIChatAdapter`. The key is sent as `session_id`, which keeps requests at one provider
        (openrouter.ai/docs, "Prompt caching", Provider sticky routing). None: no key is sent.
      options: defaults for the options of each turn.
      hooks: choose the model and the options of a turn when it starts.

    The adapter opens no connection before its first request and works without `async with`; `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: `model` is blank, `base_url` is not a URL, `http_client` is not a client, or `cache_control`
        is combined with `responses`.
    """

    errors: ClassVar[ErrorTable] = ERRORS
    endpoints: ClassVar[tuple[str, ...]] = ("/chat/completions", "/responses", "/completions", "/generation")
    options_class: ClassVar[type[Any] | None] = OpenRouterOptions
    hooks_class: ClassVar[type[Any] | None] = OpenRouterHooks

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        base_url: str | None = None,
        api: Literal["chat", "responses"] = "chat",
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        cache_control: Literal["5m", "1h"] | None = None,
        affinity: Literal["conversation", "head"] | str | None = None,
        options: OpenRouterOptions = OpenRouterOptions(),
        hooks: OpenRouterHooks = OpenRouterHooks(),
    ) -> None:
        base = check_base_url(base_url or BASE_URL)
        secret = Credential.find(api_key, "OPENROUTER_API_KEY")
        # Without a key, pass `no_key`: the inner adapter would use OPENAI_API_KEY otherwise.
        key = no_key if secret is None else secret
        if api == "chat":
            self._inner: OpenAIChatAdapter | OpenAIAdapter = OpenAIChatAdapter(
                model,
                api_key=key,
                base_url=base,
                profile="openrouter",
                http_client=http_client,
                replay_scope=replay_scope,
                default_max_output_tokens=default_max_output_tokens,
                cache_control=cache_control,
                affinity=affinity,
            )
        else:
            if cache_control is not None:
                raise BadValue("cache_control", 'is only sent with api="chat"')
            self._inner = OpenAIAdapter(
                model,
                api_key=key,
                base_url=base,
                http_client=http_client,
                replay_scope=replay_scope,
                default_max_output_tokens=default_max_output_tokens,
                affinity=affinity,
            )
        super().__init__(
            model,
            base,
            scope=self._inner.scope,
            credential=None if secret is None else Credential(secret),
            own_host=HOST,
            variable="OPENROUTER_API_KEY",
            http_client=http_client,
            hooks=hooks,
            options=options,
        )
        self._usage_member = api == "chat"

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def option_types(self) -> tuple[type, ...]:
        """The options classes of a turn: OpenRouter's and OpenAI's."""
        return OpenRouterOptions, OpenAIOptions

    def _prepare(self, request: TurnRequest) -> Prepared:
        """Prepare a request. `Prepared.request` contains the options translated to OpenAI's."""
        return self._inner.prepare(self._translated(request))

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request. Pure."""
        return self._inner.decoder(prepared, response)

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """Return the events of an answer that was received in one piece. Pure.

        Raises:
          ProviderError: the body is an error, or not an answer of this dialect.
        """
        return self._inner.read_body(prepared, body)

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """Return the provider's calls in the last turn that have no answer in a later raw item. Pure."""
        return self._inner.open_items(transcript)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope` and `model`. Pure."""
        return self._inner.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`. Pure."""
        return self._inner.first_difference(earlier, later)

    async def recover_usage(self, response: Response, *, within: float = RECOVERY_SECONDS) -> Usage | None:
        """Get the usage of a generation from OpenRouter's record. The generation may have been interrupted.

        For `Lutum(recovery=)`.

        The record appears a moment after the answer. Until then the request is repeated with growing pauses,
        for `within` seconds in total. The result is None if the record does not appear. Cancellation leaves
        nothing open.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: OpenRouter refused with a status other than 404, or the answer is not a record.
          NetworkError: no connection was made, or it failed before the whole answer was received.
        """
        if response.id is None:
            return None
        pause = FIRST_PAUSE
        with anyio.move_on_after(within):
            while True:
                usage = await self._record(response.id)
                if usage is not None:
                    return usage
                await anyio.sleep(pause)
                pause *= 2
        return None

    def __repr__(self) -> str:
        return f"<OpenRouterAdapter over {self._inner!r}>"

    def _translated(self, request: TurnRequest) -> TurnRequest:
        """Return the request with OpenRouter's options moved to the `extra_body` of OpenAI's. Idempotent."""
        settings = request.settings
        given = settings.option(OpenRouterOptions)
        options = self._options if given is None else given.over(self._options)
        openai = settings.option(OpenAIOptions) or OpenAIOptions()
        if settings.effort is not msgspec.UNSET:
            said = {} if given is None else given.reasoning or {}
            if _EFFORTS & said.keys():  # the turn's own options take precedence over its builder
                settings = msgspec.structs.replace(settings, effort=msgspec.UNSET)
            elif options.reasoning is not None:
                kept = {name: value for name, value in options.reasoning.items() if name not in _EFFORTS}
                options = msgspec.structs.replace(options, reasoning=kept or None)
        body = merged("extra_body", openai.extra_body or {}, options.body(usage=self._usage_member))
        headers = (openai.extra_headers or {}) | (options.extra_headers or {})
        openai = msgspec.structs.replace(openai, extra_body=body, extra_headers=headers or None)
        others = tuple(option for option in settings.ext if not isinstance(option, OpenAIOptions))
        return msgspec.structs.replace(
            request, settings=msgspec.structs.replace(settings, ext=(*others, openai))
        )

    async def _record(self, generation_id: str) -> Usage | None:
        url = f"{self._base_url}/generation?id={quote(generation_id, safe='')}"
        try:
            return await self._ask("GET", url, _generation.usage_of)
        except ProviderError as error:
            if error.status == 404:
                return None
            raise
