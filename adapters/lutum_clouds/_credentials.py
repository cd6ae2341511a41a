"""AWS credentials as a value, and the expiry of tokens. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from lutum import BadValue
from lutum.transport import checked_key


class AwsCredentials(Struct, frozen=True, kw_only=True):
    """Credentials that sign requests to AWS. The repr shows only the access key.

    Attributes:
      access_key: `AWS_ACCESS_KEY_ID`.
      secret_key: `AWS_SECRET_ACCESS_KEY`.
      token: `AWS_SESSION_TOKEN`, of temporary credentials.
      expires: the time, with its zone, from which AWS refuses the credentials; None if unknown.

    Raises:
      BadValue: a value is blank or cannot be sent. The message does not contain the value.
    """

    access_key: str
    secret_key: str
    token: str | None = None
    expires: datetime | None = None

    def __post_init__(self) -> None:
        checked_key("credentials.access_key", self.access_key)
        checked_key("credentials.secret_key", self.secret_key)
        if self.token is not None:
            checked_key("credentials.token", self.token)
        if self.expires is not None and (
            not isinstance(self.expires, datetime) or self.expires.tzinfo is None
        ):
            raise BadValue("credentials.expires", "must be a datetime with a time zone, or None")

    def __repr__(self) -> str:
        return f"AwsCredentials(access_key={self.access_key!r}, ...)"


AwsSource = AwsCredentials | Callable[[], AwsCredentials | Awaitable[AwsCredentials]]
"""Credentials, or a function that returns them for each request. It may be a coroutine function."""

LEEWAY: Final = 300.0
"""Seconds by which this machine's clock may be wrong. AWS allows the same difference."""

_KEY_PREFIX: Final = "bedrock-api-key-"
_JWT: Final = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]*", re.ASCII)


class _Claims(Struct):
    exp: float | None = None


def expiry_of(token: str) -> float | None:
    """Return the expiry time of a token in seconds since the epoch; None if the token does not contain it.

    A short-term key of Bedrock is a presigned URL in base64. Microsoft Entra's tokens are JSON Web Tokens.
    """
    try:
        if token.startswith(_KEY_PREFIX):
            url = base64.b64decode(token.removeprefix(_KEY_PREFIX), validate=True).decode()
            query = parse_qs(url.partition("?")[2])
            signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed.timestamp() + int(query["X-Amz-Expires"][0])
        if (found := _JWT.fullmatch(token)) is not None:
            claims = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
            return msgspec.json.decode(claims, type=_Claims).exp
    except (binascii.Error, LookupError, ValueError, msgspec.DecodeError):
        pass  # the server checks the token and reports the error
    return None


def check_not_expired(field: str, expires: float | None, now: float, advice: str) -> None:
    """Refuse an expired credential.

    Raises:
      BadValue: at least `LEEWAY` seconds have passed since `expires`.
    """
    if expires is not None and expires + LEEWAY <= now:
        when = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
        raise BadValue(field, f"expired at {when}; {advice}")
