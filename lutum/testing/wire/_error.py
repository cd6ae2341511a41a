"""A provider's error as an HTTP response."""

from typing import final

import msgspec

__all__ = ["WireError"]


@final
class WireError(msgspec.Struct, frozen=True):
    """A refusal: the status of the response, and the type and message in its body."""

    message: str
    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None
    """`error.details.error_code`, if the provider documents one."""
    param: str | None = None
    """The invalid place in the request, if the provider's errors contain it."""
