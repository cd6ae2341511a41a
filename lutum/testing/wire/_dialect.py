"""The interface between a `WireServer` and its protocols."""

from collections.abc import Sequence
from typing import Protocol, final

import msgspec

from lutum.testing.wire._error import WireError
from lutum.testing.wire._plan import Item
from lutum.testing.wire._request import WireRequest
from lutum.testing.wire._script import ErrorEvent, Reply

__all__ = ["Dialect", "Rendered"]


@final
class Rendered(msgspec.Struct, frozen=True):
    """A reply in the provider's protocol: the events of a stream, or steps and then one JSON body."""

    items: Sequence[Item]
    stream: bool


class Dialect(Protocol):
    """One provider's protocol. It checks requests and renders replies. It never waits."""

    def matches(self, request: WireRequest) -> bool:
        """Return whether this request is for a path of the protocol."""
        ...

    def check(self, request: WireRequest) -> WireError | None:
        """Return the provider's refusal of the request; None if the request is valid."""
        ...

    def answer(self, request: WireRequest) -> bytes | None:
        """Return the JSON body of the answer if the request needs no script, else None."""
        ...

    def render(self, request: WireRequest, reply: Reply) -> Rendered:
        """Write a scripted reply for a request that passed `check`."""
        ...

    def error(self, request: WireRequest, error: WireError) -> bytes:
        """Write the JSON body of an error."""
        ...

    def error_type(self, status: int) -> str:
        """Return the type that the provider's errors with this status have."""
        ...

    def status_of(self, error_type: str) -> int:
        """Return the status that the provider's errors of this type have."""
        ...

    def error_event(self, request: WireRequest, event: ErrorEvent) -> bytes:
        """Write the event of an error inside a stream."""
        ...

    def headers(self, request: WireRequest) -> dict[str, str]:
        """Return the headers of every answer."""
        ...
