"""Credentials authenticate requests. A `Credential` sends a key in a header. A `RequestSigner` computes
headers from the whole request.
"""

from __future__ import annotations

import inspect
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final, NamedTuple, final, overload

import anyio

from lutum._values.errors import BadValue, LutumError, ProviderError, UsageError
from lutum._values.results import Response

CREDENTIAL_SECONDS: Final = 60.0
"""The longest time in seconds to get a credential for one request. Without this limit, a token service that
does not answer would block a turn."""

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that returns a key for each request. The function may be a coroutine function."""


# RFC 9110, 5.5: a field value has visible characters. Spaces and tabs may only be between them.
_HEADER_VALUE: Final = re.compile(r"[!-~]([\t -~]*[!-~])?")


def no_key() -> str:
    """Pass this function as a key to send no key, even if an environment variable contains one."""
    return ""


class OutgoingRequest(NamedTuple):
    """A request as it is sent, without the headers that authenticate it.

    Attributes:
      url: the escaped URL, exactly as sent.
      headers: the headers with their names as sent. The connection adds `host`.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<OutgoingRequest {self.method} {self.url} {len(self.body)} bytes>"


class RequestSigner(ABC):
    """Authenticates requests. An adapter calls `sign` once for each attempt, when the request is complete.

    `sign` may wait, for example for a token service, but at most 60 seconds for each request. If the turn is
    cancelled during this wait, nothing was sent and nothing is charged.
    """

    signs: ClassVar[bool] = True
    """True if the headers depend on the request. Previews then show `signed at send time`."""

    field: str = "credentials"
    """The name of the parameter with the credential. Error messages show it."""

    instant: bool = False
    """True if `sign` never waits. `sign` is then called without a timeout."""

    @property
    @abstractmethod
    def secret_headers(self) -> tuple[str, ...]:
        """The names of the headers that `sign` returns, in lower case."""

    @abstractmethod
    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the headers that authenticate a request. If this call is cancelled, the request is not sent.

        This is a checkpoint only if it has to wait.
        """

    def refused(self, error: ProviderError, response: Response) -> ProviderError:
        """Return the error of a response with an error status. A signer may add its own explanation."""
        return error


@final
class Credential(RequestSigner):
    """A key and its header.

    Args:
      secret: the key, or a function that returns a key for each request.
      field: the name of the parameter with the key. Error messages show it.
      header: the name of the header, in lower case.
      scheme: the word before the key, separated by a space.

    Raises:
      BadValue: the key cannot be sent in a header. The message does not contain the key.
    """

    signs: ClassVar[bool] = False

    def __init__(
        self,
        secret: Secret,
        *,
        field: str = "api_key",
        header: str = "authorization",
        scheme: str = "Bearer",
    ) -> None:
        self._secret = secret if callable(secret) else checked_key(field, secret)
        self.field = field
        self.instant: bool = not callable(secret)
        self.header: Final = header
        self._scheme = scheme

    @overload
    @staticmethod
    def find(secret: Secret | None, *variables: str) -> Secret | None: ...

    @overload
    @staticmethod
    def find(secret: KeyOrSigner | None, *variables: str) -> KeyOrSigner | None: ...

    @staticmethod
    def find(secret: KeyOrSigner | None, *variables: str) -> KeyOrSigner | None:
        """Return `secret` if it is given. Otherwise return the value of the first environment variable that
        is set; None if none is set or `secret` is `no_key`."""
        if secret is not None:
            return None if secret is no_key else secret
        return next((value for name in variables if (value := os.environ.get(name))), None)

    @property
    def secret_headers(self) -> tuple[str, ...]:
        """The name of the header with the key."""
        return (self.header,)

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the header with the key. It is the same as `headers`, because a key does not depend on the
        request.

        This is a checkpoint only if the key's function is a checkpoint.
        """
        return await self.headers()

    async def headers(self) -> Mapping[str, str]:
        """Return the header with the key. Cancellation propagates into your function.

        This is a checkpoint only if the key's function is a checkpoint.

        Raises:
          BadValue: the function raised, or returned no key.
        """
        value: object = self._secret
        if callable(value):
            try:
                value = value()
                if inspect.isawaitable(value):
                    value = await value
            except UsageError:
                raise
            except Exception as exc:
                raise BadValue(self.field, f"the function raised {type(exc).__name__}") from exc
        key = checked_key(self.field, value)
        return {self.header: f"{self._scheme} {key}" if self._scheme else key}


KeyOrSigner = Secret | RequestSigner
"""A key, a function that returns a key, or a signer."""


def credential_of(
    secret: KeyOrSigner | None,
    *,
    field: str = "api_key",
    header: str = "authorization",
    scheme: str = "Bearer",
) -> RequestSigner | None:
    """Return the signer, or a `Credential` with the key; None if `secret` is missing.

    Raises:
      BadValue: the key cannot be sent in a header. The message does not contain the key.
    """
    if secret is None or isinstance(secret, RequestSigner):
        return secret
    return Credential(secret, field=field, header=header, scheme=scheme)


async def signed(signer: RequestSigner, request: OutgoingRequest) -> Mapping[str, str]:
    """Return the headers that authenticate a request. Cancellation propagates into the signer.

    This is a checkpoint only if the signer is a checkpoint.

    Raises:
      BadValue: the signer took longer than 60 seconds, raised an exception, returned no headers, or has no
        credentials.
    """
    if signer.instant:
        return await _headers(signer, request)
    with anyio.move_on_after(CREDENTIAL_SECONDS):
        return await _headers(signer, request)
    raise BadValue(
        signer.field,
        f"returned nothing within {CREDENTIAL_SECONDS:.0f} seconds, so nothing was sent; check its"
        " function, or the service that it calls",
    )


async def _headers(signer: RequestSigner, request: OutgoingRequest) -> Mapping[str, str]:
    try:
        found = await signer.sign(request)
    except LutumError:
        raise
    except Exception as exc:
        raise BadValue(signer.field, f"{type(signer).__name__} raised {type(exc).__name__}") from exc
    if not isinstance(found, Mapping):
        raise BadValue(
            signer.field,
            f"{type(signer).__name__} returned {type(found).__name__}, not a mapping of headers",
        )
    return found


def checked_key(field: str, value: object) -> str:
    """Return `value` if it is a key that can be sent in a header.

    Raises:
      BadValue: it cannot be sent. The message does not contain the key.
    """
    if not isinstance(value, str):
        raise BadValue(field, f"must be a str, not {type(value).__name__}")
    if not value.strip():
        raise BadValue(field, "is blank")
    if not _HEADER_VALUE.fullmatch(value):
        raise BadValue(field, "may hold printable ASCII only, with no space or line end around it")
    return value
