"""`GeminiAdapter`: the endpoint, key and transport of requests. The only module here with I/O."""

from __future__ import annotations

import os
from typing import ClassVar, Final, Self, final
from urllib.parse import quote, urlsplit

import msgspec

from lutum import CommittedTurn, Event, ProviderError, Response
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.dialect.errors import ErrorTable
from lutum.dialect.json import FAULTS, decode_object, encode
from lutum.dialect.options import options_of
from lutum.transport import (
    Connector,
    Credential,
    HttpClient,
    KeyOrSigner,
    check_base_url,
    credential_of,
)
from lutum_clouds import CloudAdapter, door_of, named_door, vertex_host, vertex_place, vertex_signer
from lutum_gemini._options import GeminiHooks, GeminiOptions
from lutum_gemini.generate import _decode, _encode, _errors, _tools, _turn, _wire

API_HOST: Final = "generativelanguage.googleapis.com"

# Members of a request that countTokens accepts.
_COUNTED: Final = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
    }
)


class _GeminiCount(msgspec.Struct):
    totalTokens: int


_decode_counted = msgspec.json.Decoder(_GeminiCount).decode


@final
class GeminiAdapter(CloudAdapter):
    """Gemini, over `generateContent` of the Gemini API. For Vertex AI use `GeminiAdapter.vertex`.

    The name of the adapter, for example in `Raw`, is `gemini`.

    Args:
      model: the default for turns without a model.
      api_key: sent as `x-goog-api-key`, never in the URL. Default: `GOOGLE_API_KEY`, else `GEMINI_API_KEY`. A
        function is called for each request.
      token: an OAuth access token, sent as `authorization: Bearer` instead of a key.
      base_url: the host, without a version. Default: `GOOGLE_GEMINI_BASE_URL`, else Google's. Only Google's
        host requires a key.
      api_version: the version in the URL.
      http_client: your `httpx.AsyncClient`.
      replay_scope: the endpoint and account family whose turns are replayed exactly. Default: the URL's host.
        Signatures of one account can be refused with the key of another.
      default_max_output_tokens: the output limit of turns that set none. Default: 4,096, or 16,384 for a
        model that thinks.
      options: defaults for the options of each turn.
      hooks: choose the model and the options of a turn when it starts.

    The adapter opens no connection before its first request and works without `async with`. `aclose` closes
    its idle connections. Environment variables are read by the constructor only.

    Raises:
      BadValue: the model or the key is blank, `base_url` is not a URL, or `http_client` is not a client.
    """

    errors: ClassVar[ErrorTable] = _errors.ERRORS

    def __init__(
        self,
        model: str,
        *,
        api_key: KeyOrSigner | None = None,
        token: KeyOrSigner | None = None,
        base_url: str | None = None,
        api_version: str = _wire.API_VERSION,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: GeminiOptions = GeminiOptions(),
        hooks: GeminiHooks = GeminiHooks(),
    ) -> None:
        credential = credential_of(token, field="token")
        if credential is None:
            key = Credential.find(api_key, "GOOGLE_API_KEY", "GEMINI_API_KEY")
            credential = credential_of(key, header="x-goog-api-key", scheme="")
        base = check_base_url(base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or f"https://{API_HOST}")
        super().__init__(
            model,
            base,
            scope=replay_scope,
            credential=credential,
            own_host=API_HOST,
            variable="GOOGLE_API_KEY or GEMINI_API_KEY",
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            hooks=hooks,
            options=options,
        )
        self._stand_at(door_of(urlsplit(base).hostname or "", "gemini"))
        self._config = _encode.GeminiConfig(
            scope=self.scope,
            models=f"{base}/{quote(api_version, safe='/')}/models/",
            model=model,
            options=options,
            default_max_output_tokens=default_max_output_tokens,
            secret_headers=self._secret_headers,
        )

    @classmethod
    def vertex(
        cls,
        model: str,
        *,
        project: str,
        region: str = "global",
        token: KeyOrSigner,
        base_url: str | None = None,
        http_client: HttpClient | Connector | None = None,
        replay_scope: str | None = None,
        default_max_output_tokens: int | None = None,
        options: GeminiOptions = GeminiOptions(),
        hooks: GeminiHooks = GeminiHooks(),
    ) -> Self:
        """Gemini on Google Cloud's Vertex AI.

        Args:
          project: the id of the project. It is part of the scope, because signatures belong to a project.
          region: `global`, a multi-region (`us`, `eu`) or a region.
          token: an access token, or a function that is called for each request.
          base_url: the host, if it is not Google's.

        Raises:
          BadValue: `project` or `region` cannot be part of a URL; or as in the constructor.
        """
        place = vertex_place(project, region)
        base = check_base_url(base_url or f"https://{vertex_host(region)}")
        adapter = cls(
            model,
            token=vertex_signer(token),
            base_url=base,
            http_client=http_client,
            replay_scope=replay_scope or f"{urlsplit(base).hostname}/{project}",
            default_max_output_tokens=default_max_output_tokens,
            options=options,
            hooks=hooks,
        )
        adapter._config = msgspec.structs.replace(
            adapter._config,
            models=f"{base}/{_wire.VERTEX_VERSION}/{place}/publishers/google/models/",
            location=region,
        )
        adapter._stand_at(named_door("gemini-vertex"))
        return adapter

    @property
    def name(self) -> str:
        """`gemini`."""
        return _wire.NAME

    def _prepare(self, request: TurnRequest) -> Prepared:
        return _encode.prepare(request, self._config)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` can be replayed exactly to `scope` and `model`."""
        return _turn.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first entry that differs from `earlier`."""
        return _encode.first_difference(earlier, later, self._config)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        """Return the decoder of a successful answer to a request."""
        return self._decoder(prepared, response)

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """Return the events of an answer that was received in one piece, such as one of a batch.

        Raises:
          ProviderError: the body is an error, or not an answer.
        """
        out = list[Event]()
        try:
            decode_object(body) if body.strip().startswith(b"{") else msgspec.json.decode(body)
        except FAULTS:
            return out
        self._decoder(prepared, Response()).take_body(body, out)
        return out

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Get the exact number of input tokens with one small request, `countTokens`, which is not billed.

        Cancellation leaves nothing open.

        This is a checkpoint only if it has to wait.

        Raises:
          ProviderError: the API refused, or the answer is malformed.
          NetworkError: no connection was made, or it failed before the whole answer was received.
          BadValue: the function that was given as the key raised, or returned no key.
        """
        members = decode_object(prepared.body)
        counted = {name: value for name, value in members.items() if name in _COUNTED}
        body = encode(counted)
        if not self._config.vertex:
            # The API counts the system instruction and the tools only if the request has this form.
            model = prepared.model if "/" in prepared.model else f"models/{prepared.model}"
            body = encode({"generateContentRequest": {"model": model, **counted}})
        url = self._config.url(prepared.model, "countTokens")
        headers = [("content-type", "application/json"), ("accept", "application/json")]
        return (await self._ask("POST", url, _decode_counted, headers=headers, body=body)).totalTokens

    def _decoder(self, prepared: Prepared, response: Response) -> _decode.GeminiDecoder:
        options = options_of(prepared.request, self._config.options)
        return _decode.GeminiDecoder(
            response,
            prepared,
            scope=self._config.scope,
            value_tool=_tools.value_tool_of(prepared.request.output, options),
        )

    def _fault(self, response: Response, body: bytes) -> ProviderError:
        return _errors.refined(super()._fault(response, body))
