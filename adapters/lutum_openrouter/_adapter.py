"""`OpenRouterAdapter`: one of OpenAI's dialects at OpenRouter. The only room with I/O."""

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
"""How long a generation's record is waited for: it appears about a second after the answer's end."""

FIRST_PAUSE: Final = 0.1  # seconds, doubled after each 404: five requests in two seconds


_EFFORTS = frozenset({"effort", "max_tokens", "enabled"})


@final
class OpenRouterAdapter(HttpAdapter):
    """Models of many providers through OpenRouter.

    It has the name of the dialect it speaks, `openai-chat` or `openai-responses`: turns made here go back
    exactly from any adapter of that dialect at the same scope.

    Args:
      model: used where a turn names none, such as `anthropic/claude-sonnet-4.5`.
      api_key: or `OPENROUTER_API_KEY`. A function is asked for each request. Only openrouter.ai demands one.
      base_url: `https://openrouter.ai/api/v1` unless said.
      api: the dialect: `chat`, which carries every model's reasoning, or `responses`.
      http_client: an `httpx.AsyncClient` of yours.
      replay_scope: endpoint and account family whose turns are replayed exactly; the URL's host unless said.
      default_max_output_tokens: sent where a turn says nothing; 4,096, or 16,384 for a model that reasons.
      cache_control: lifetime of cache breakpoints, for Claude; unsaid, none. Only with `chat`.
      options: under those of each turn.
      hooks: settle the model and the options of a turn when it starts.

    It opens nothing before its first request and works without `async with`; `aclose` closes its idle
    connections. The environment is read here and never again.

    Raises:
      BadValue: a blank model, a URL that is none, a client that is none, `cache_control` with `responses`.
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
        options: OpenRouterOptions = OpenRouterOptions(),
        hooks: OpenRouterHooks = OpenRouterHooks(),
    ) -> None:
        base = check_base_url(base_url or BASE_URL)
        secret = Credential.find(api_key, "OPENROUTER_API_KEY")
        # Never OPENAI_API_KEY, which the inner adapter would take where it is given nothing.
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
            )
        else:
            if cache_control is not None:
                raise BadValue("cache_control", 'is only written with api="chat"')
            self._inner = OpenAIAdapter(
                model,
                api_key=key,
                base_url=base,
                http_client=http_client,
                replay_scope=replay_scope,
                default_max_output_tokens=default_max_output_tokens,
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
        """OpenRouter's options, and OpenAI's beside them."""
        return OpenRouterOptions, OpenAIOptions

    def _prepare(self, request: TurnRequest) -> Prepared:
        """`Prepared.request` carries the options in OpenAI's terms."""
        return self._inner.prepare(self._translated(request))

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """The decoder of a successful answer to a request. Pure."""
        return self._inner.decoder(prepared, response)

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """The events of an answer that came whole. Pure.

        Raises:
          ProviderError: the body is an error, or no answer of this dialect.
        """
        return self._inner.read_body(prepared, body)

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """The provider's calls in the last turn that no raw item behind it answers. Pure."""
        return self._inner.open_items(transcript)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Whether `turn` goes back exactly to that scope and model. Pure."""
        return self._inner.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it. Pure."""
        return self._inner.first_difference(earlier, later)

    async def recover_usage(self, response: Response, *, within: float = RECOVERY_SECONDS) -> Usage | None:
        """What a generation used, also one that was cut, from OpenRouter's record of it.

        For `Lutum(recovery=)`.

        The record comes a moment after the answer: until then it is asked for again, with growing pauses,
        for `within` seconds in all. None where it did not come. Cancelled, it leaves nothing open.

        A checkpoint only if it has to wait.

        Raises:
          ProviderError: refused for another reason than that it is not there, or no record.
          NetworkError: no connection, or it failed before the answer was whole.
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
        """The request with OpenRouter's options in the extra members of OpenAI's; doing it twice changes
        nothing."""
        settings = request.settings
        given = settings.option(OpenRouterOptions)
        options = self._options if given is None else given.over(self._options)
        openai = settings.option(OpenAIOptions) or OpenAIOptions()
        if settings.effort is not msgspec.UNSET:
            said = {} if given is None else given.reasoning or {}
            if _EFFORTS & said.keys():  # the turn's own options go before its builder
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
