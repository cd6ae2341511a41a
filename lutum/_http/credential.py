"""Credentials: what authenticates a request. `Credential` is a key in a header; a `RequestSigner` sees the
whole request and computes its headers from it.
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
"""How long a credential may take for one request: a token service that hangs must not hold a turn."""

Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""


# RFC 9110, 5.5: a field value is visible characters, with spaces and tabs only between them.
_HEADER_VALUE: Final = re.compile(r"[!-~]([\t -~]*[!-~])?")


def no_key() -> str:
    """Given as a key: none is sent, and none is looked for in the environment."""
    return ""


class OutgoingRequest(NamedTuple):
    """A request as it goes over the wire, without the headers that authenticate it.

    Attributes:
      url: escaped as it is sent; nothing changes it afterwards.
      headers: their names as they are sent; `host` is added by the connection.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"<OutgoingRequest {self.method} {self.url} {len(self.body)} bytes>"


class RequestSigner(ABC):
    """Authenticates requests: an adapter asks it last, once for each attempt.

    It may wait, for a token service for instance, but at most 60 seconds a request. Cancelled while it waits,
    the turn has sent nothing and costs nothing.
    """

    signs: ClassVar[bool] = True
    """Whether the headers depend on the request. Previews then say `signed at send time`."""

    field: str = "credentials"
    """The parameter it came from, for errors."""

    instant: bool = False
    """Whether `sign` never waits: it then needs no bound."""

    @property
    @abstractmethod
    def secret_headers(self) -> tuple[str, ...]:
        """The names of the headers that `sign` returns, in small letters."""

    @abstractmethod
    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the headers that authenticate a request. Cancelled, it has sent nothing.

        A checkpoint only if it has to wait.
        """

    def refused(self, error: ProviderError, response: Response) -> ProviderError:
        """Return the error of a response with an error status, with what the signer knows about it."""
        return error


@final
class Credential(RequestSigner):
    """A key and the header that carries it.

    Args:
      secret: the key, or a function that gives one for each request.
      field: the parameter it came from, for errors.
      header: in small letters.
      scheme: stands before the key, with a space between.

    Raises:
      BadValue: a key that no header can hold; it is not quoted.
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
        """The key given, else the first of these environment variables that holds one; None without."""
        if secret is not None:
            return None if secret is no_key else secret
        return next((value for name in variables if (value := os.environ.get(name))), None)

    @property
    def secret_headers(self) -> tuple[str, ...]:
        """The header with the key."""
        return (self.header,)

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the header with the key, whatever the request is; as `headers`.

        A checkpoint only if the key's function is.
        """
        return await self.headers()

    async def headers(self) -> Mapping[str, str]:
        """The header with the key. Cancelled, it leaves what the function of yours leaves.

        A checkpoint only if the key's function is.

        Raises:
          BadValue: the function raised, or gave no key.
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
"""A key, a function that gives one, or a signer of the caller."""


def credential_of(
    secret: KeyOrSigner | None,
    *,
    field: str = "api_key",
    header: str = "authorization",
    scheme: str = "Bearer",
) -> RequestSigner | None:
    """Return the signer, or a `Credential` with the key; None without either.

    Raises:
      BadValue: a key that no header can hold; it is not quoted.
    """
    if secret is None or isinstance(secret, RequestSigner):
        return secret
    return Credential(secret, field=field, header=header, scheme=scheme)


async def signed(signer: RequestSigner, request: OutgoingRequest) -> Mapping[str, str]:
    """Return the headers that authenticate a request. Cancelled, it leaves what the signer leaves.

    A checkpoint only if the signer is.

    Raises:
      BadValue: the signer took longer than 60 seconds, raised, gave no headers, or has nothing to sign with.
    """
    if signer.instant:
        return await _headers(signer, request)
    with anyio.move_on_after(CREDENTIAL_SECONDS):
        return await _headers(signer, request)
    raise BadValue(
        signer.field,
        f"gave nothing within {CREDENTIAL_SECONDS:.0f} seconds, so nothing was sent; look at its"
        " function, or at the service that it asks",
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
            signer.field, f"{type(signer).__name__} gave {type(found).__name__}, not a mapping of headers"
        )
    return found


def checked_key(field: str, value: object) -> str:
    """A key that a header can hold; what is wrong with another is said without quoting it."""
    if not isinstance(value, str):
        raise BadValue(field, f"is a str, not {type(value).__name__}")
    if not value.strip():
        raise BadValue(field, "is blank")
    if not _HEADER_VALUE.fullmatch(value):
        raise BadValue(field, "may hold printable ASCII only, with no space or line end around it")
    return value
