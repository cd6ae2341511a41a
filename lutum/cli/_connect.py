"""The endpoint of a running command: a provider, or a wire server in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from lutum import Lutum, Session, Settings
from lutum.abc import Adapter
from lutum.cli import _providers, _stand_in


class Endpoint(NamedTuple):
    """The values of `--provider`, `--model` and `--base-url`. An empty URL means the provider's own URL."""

    provider: str
    model: str
    base_url: str = ""

    @property
    def is_wire(self) -> bool:
        """True for a server in this process."""
        return self.provider in _providers.PROTOCOLS

    def __str__(self) -> str:
        if self.is_wire:
            return f"a wire server in this process, in {_providers.PROTOCOLS[self.provider]}"
        return f"{self.model} at {self.base_url or self.provider}"


def check(endpoint: Endpoint, settings: Callable[[Adapter], Settings] | None = None) -> None:
    """Check everything that can be checked without sending a request.

    Args:
      settings: a function that returns the turns' settings for an adapter.

    Raises:
      BadValue: the key is missing, or the URL is not valid.
    """
    url = "http://127.0.0.1" if endpoint.is_wire else endpoint.base_url
    adapter = _providers.adapter(endpoint.provider, url, endpoint.model)
    session = Session(Lutum(adapter))
    if settings is not None:
        session.defaults = settings(adapter)
    session.push_user("Hello.")
    session.text_turn().preview()


@asynccontextmanager
async def connected(endpoint: Endpoint, pace: float = _stand_in.PACE) -> AsyncGenerator[_providers.Adapter]:
    """Yield the endpoint's adapter, and close it when the block ends. Raises as `check`."""
    if endpoint.is_wire:
        async with (
            _stand_in.provider(pace) as url,
            _providers.adapter(endpoint.provider, url, endpoint.model) as adapter,
        ):
            yield adapter
    else:
        async with _providers.adapter(endpoint.provider, endpoint.base_url, endpoint.model) as adapter:
            yield adapter
