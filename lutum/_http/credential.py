"""Credentials: a key, or a function that returns one, and the header that carries it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, final

from lutum._values.errors import BadValue

if TYPE_CHECKING:
    pass


Secret = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that gives one for each request; it may be a coroutine function."""


# RFC 9110, 5.5: a field value is visible characters, with spaces and tabs only between them.
_HEADER_VALUE: Final = re.compile(r"[!-~]([\t -~]*[!-~])?")


def no_key() -> str:
    """Given as a key: none is sent, and none is looked for in the environment."""
    return ""


@final
class Credential:
    """A key and the header that carries it.

    Args:
      secret: the key, or a function that gives one for each request.
      field: the parameter it came from, for errors.
      header: in small letters.
      scheme: stands before the key, with a space between.

    Raises:
      BadValue: a key that no header can hold; it is not quoted.
    """

    def __init__(
        self,
        secret: Secret,
        *,
        field: str = "api_key",
        header: str = "authorization",
        scheme: str = "Bearer",
    ) -> None:
        self._secret = secret if callable(secret) else checked_key(field, secret)
        self._field = field
        self.header: Final = header
        self._scheme = scheme

    @staticmethod
    def find(secret: Secret | None, *variables: str) -> Secret | None:
        """The key given, else the first of these environment variables that holds one; None without."""
        if secret is not None:
            return None if secret is no_key else secret
        return next((value for name in variables if (value := os.environ.get(name))), None)

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
            except Exception as exc:
                raise BadValue(self._field, f"the function raised {type(exc).__name__}") from exc
        key = checked_key(self._field, value)
        return {self.header: f"{self._scheme} {key}" if self._scheme else key}


def checked_key(field: str, value: object) -> str:
    """A key that a header can hold; what is wrong with another is said without quoting it."""
    if not isinstance(value, str):
        raise BadValue(field, f"is a str, not {type(value).__name__}")
    if not value.strip():
        raise BadValue(field, "is blank")
    if not _HEADER_VALUE.fullmatch(value):
        raise BadValue(field, "may hold printable ASCII only, with no space or line end around it")
    return value
