"""`ReedAdapter`: where requests go, and with which key. `HttpAdapter` does the I/O."""

from __future__ import annotations

from typing import final

from lutum import CommittedTurn, Response
from lutum.abc import Decoder, Prepared, ReplayForm, TurnRequest
from lutum.transport import Connector, Credential, HttpAdapter, HttpClient, Secret
from own_adapter import dialect
from own_adapter.dialect import ReedConfig, ReedDecoder, ReedOptions

HOST = "api.reed.example"


@final
class ReedAdapter(HttpAdapter):
    """Adapter for Reed. The key is `api_key` or in `REED_API_KEY`; only Reed's own host needs a key."""

    errors = dialect.ERRORS
    endpoints = ("/say",)  # a base_url that ends in it is refused, because the adapter adds it
    options_class = ReedOptions

    def __init__(
        self,
        model: str,
        *,
        api_key: Secret | None = None,
        base_url: str = f"https://{HOST}/v1",
        http_client: HttpClient | Connector | None = None,
        default_max_output_tokens: int = 1_024,
        options: ReedOptions | None = None,
    ) -> None:
        key = Credential.find(api_key, "REED_API_KEY")
        options = options or ReedOptions()
        super().__init__(
            model,
            base_url,
            credential=None if key is None else Credential(key, header="x-reed-key", scheme=""),
            own_host=HOST,
            variable="REED_API_KEY",
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            options=options,
        )
        self._config = ReedConfig(
            scope=self.scope,
            url=f"{self._base_url}/say",
            model=model,
            options=options,
            default_limit=default_max_output_tokens,
            secret_headers=self._secret_headers,
        )

    @property
    def name(self) -> str:
        return dialect.NAME

    def _prepare(self, request: TurnRequest) -> Prepared:
        return dialect.prepare(request, self._config)

    def decoder(self, prepared: Prepared, response: Response) -> Decoder:
        return ReedDecoder(response, prepared, self.scope)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return dialect.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return dialect.first_difference(earlier, later, self._config)
