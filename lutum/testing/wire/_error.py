"""A provider's error as an HTTP response."""

from typing import final

import msgspec

__all__ = ["WireError"]


@final
class WireError(msgspec.Struct, frozen=True):
    """A refusal: the status, and the type and message of its body."""

    message: str
    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None
    """`error.details.error_code`, where the provider documents one."""
    param: str | None = None
    """The place in the request that is wrong, where the provider's errors name it."""
