"""What the tests of the HTTP pump are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from http_peer import (
    CERTIFICATE,
)

from lutum._http.tls import tls_context
from lutum.transport import HttpTransport


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies and no certificates but those of the test."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_PROXY".upper(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file with our certificate and key, which `SSL_CERT_FILE` trusts."""
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    tls_context.cache_clear()
    yield path
    tls_context.cache_clear()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    """A transport with a client of its own."""
    transport = HttpTransport()
    yield transport
    await transport.aclose()
