"""The base class of the package's adapters: the HTTP settings that OpenAI's APIs share."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from lutum.dialect.errors import ErrorTable
from lutum.transport import Connector, HttpClient, KeyOrSigner, check_base_url
from lutum_clouds import CloudAdapter
from lutum_openai import _endpoint
from lutum_openai._errors import ERRORS
from lutum_openai._options import OpenAIHooks, OpenAIOptions


class OpenAIHttpAdapter(CloudAdapter):
    """An adapter of one of OpenAI's APIs. It sends its requests to `_endpoint`."""

    errors: ClassVar[ErrorTable] = ERRORS
    options_class: ClassVar[type[Any] | None] = OpenAIOptions
    hooks_class: ClassVar[type[Any] | None] = OpenAIHooks
    request_ids: ClassVar[tuple[str, ...]] = _endpoint.REQUEST_IDS

    def __init__(
        self,
        model: str,
        *,
        api_key: KeyOrSigner | None,
        base_url: str | None,
        api_version: str | None,
        scope: str | None,
        http_client: HttpClient | Connector | None,
        default_max_output_tokens: int | None,
        options: OpenAIOptions,
        hooks: OpenAIHooks,
    ) -> None:
        base = check_base_url(base_url or os.environ.get("OPENAI_BASE_URL") or _endpoint.OWN_BASE_URL)
        self._endpoint = _endpoint.endpoint(base, api_version)
        super().__init__(
            model,
            base,
            scope=scope or self._endpoint.host,
            credential=self._endpoint.credential(api_key),
            own_host=_endpoint.OWN_HOST,
            variable="OPENAI_API_KEY",
            http_client=http_client,
            default_max_output_tokens=default_max_output_tokens,
            hooks=hooks,
            options=options,
        )

    def _account(self, organization: str | None, project: str | None) -> tuple[tuple[str, str], ...]:
        """Return the headers of an account. For OpenAI's own host, environment variables are the defaults."""
        if self._endpoint.own:
            organization = organization or os.environ.get("OPENAI_ORG_ID")
            project = project or os.environ.get("OPENAI_PROJECT_ID")
        given = (("openai-organization", organization), ("openai-project", project))
        return tuple((name, value) for name, value in given if value)
