"""The types of clients that `http_client=` accepts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from anyio.abc import ByteStream

Connector = Callable[[str, int], Awaitable[ByteStream]]
"""A function that opens a byte stream to a host and port for the engine, such as `WireServer.connect()`."""


class HttpClient(Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`. Its requests and responses belong to that library."""

    @property
    def is_closed(self) -> bool:
        """True if the client was closed."""
        ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: Any = None,
        headers: Any = None,
        timeout: Any = None,
        extensions: Any = None,
    ) -> Any:
        """Build a request of the client's library."""
        ...

    async def send(self, request: Any, *, stream: bool = False, follow_redirects: Any = False) -> Any:
        """Send a request and return the response. With `stream`, the body is read later."""
        ...

    async def aclose(self) -> None:
        """Close the client."""
        ...
