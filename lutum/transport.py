"""HTTP for adapters: the base class `HttpAdapter`, and `HttpTransport`, which sends its requests.

The adapter encodes, decodes and maps errors, without I/O.
"""

from __future__ import annotations

from lutum._http.adapter import HttpAdapter
from lutum._http.credential import (
    Credential,
    KeyOrSigner,
    OutgoingRequest,
    RequestSigner,
    Secret,
    checked_key,
    credential_of,
    no_key,
)
from lutum._http.exchange import HttpExchange, HttpTransport, check_base_url, httpx_transport
from lutum._http.http_client import Connector, HttpClient

__all__ = [
    "Connector",
    "Credential",
    "HttpAdapter",
    "HttpClient",
    "HttpExchange",
    "HttpTransport",
    "KeyOrSigner",
    "OutgoingRequest",
    "RequestSigner",
    "Secret",
    "check_base_url",
    "checked_key",
    "credential_of",
    "httpx_transport",
    "no_key",
]
