"""Signers of requests: SigV4 with AWS credentials, and bearer tokens that contain their expiry time."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from lutum import BadValue, ProviderError, Response, UsageError
from lutum.dialect.headers import http_date
from lutum.transport import Credential, OutgoingRequest, RequestSigner, Secret
from lutum_clouds._credentials import AwsCredentials, AwsSource, check_not_expired, expiry_of
from lutum_clouds._sigv4 import sign

_SKEW: Final = 240.0
"""A larger difference between the clocks, in seconds, explains a refused signature. AWS allows 300 s."""

# "Signature expired: 20261129T120000Z is now earlier than 20261129T125500Z (... - 5 min.)" (recorded)
_SKEWED: Final = ("signature expired", "signature not yet current", "is now earlier than", "too skewed")
_SKEW_TYPES: Final = frozenset({"requesttimetooskewed", "requestexpired"})


@final
class SigV4Signer(RequestSigner):
    """Signs requests with AWS credentials. Each attempt gets a new signature.

    If AWS refuses a signature because the clocks differ, later requests are signed with the server's time.

    Args:
      source: the credentials, or a function that returns them for each request.
      region, service: the AWS region and service of the requests.
      clock: returns the seconds since the epoch.

    Raises:
      BadValue: `source` is neither credentials nor a function.
    """

    def __init__(
        self, source: AwsSource, *, region: str, service: str, clock: Callable[[], float] = time.time
    ) -> None:
        if not callable(source) and not isinstance(source, AwsCredentials):
            raise BadValue(
                "credentials",
                f"must be AwsCredentials(...), or a function that returns them, not {type(source).__name__}",
            )
        self._source = source
        self._region = region
        self._service = service
        self._clock = clock
        self._ahead = 0.0

    @property
    def secret_headers(self) -> tuple[str, ...]:
        """The names of the headers that a signature may add."""
        return ("authorization", "x-amz-date", "x-amz-security-token")

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the headers of the signature. Cancellation propagates into your function.

        This is a checkpoint only if your function is one.

        Raises:
          BadValue: your function raised or did not return credentials, or the credentials have expired.
        """
        credentials = await self._credentials()
        now = self._clock() + self._ahead
        expires = None if credentials.expires is None else credentials.expires.timestamp()
        advice = "give a function that returns new ones, or sign in again (`aws sso login`)"
        check_not_expired("credentials", expires, now, advice)
        return sign(request, credentials, region=self._region, service=self._service, now=now)

    def refused(self, error: ProviderError, response: Response) -> ProviderError:
        """Return the error. If the clocks differ too much, add a note and use AWS's time from now on."""
        server = http_date(response.headers.get("date", ""))
        if server is None or not _is_skew(error):
            return error
        ahead = server - self._clock()
        if abs(ahead - self._ahead) < _SKEW:
            return error
        self._ahead = ahead
        behind = f"{abs(ahead):.0f} seconds {'behind' if ahead > 0 else 'ahead of'}"
        error.should_retry = True
        error.add_note(
            f"The clock of this machine is {behind} AWS's. The next request is signed with AWS's time. Set"
            " the clock of this machine."
        )
        return error

    async def _credentials(self) -> AwsCredentials:
        source = self._source
        if isinstance(source, AwsCredentials):
            return source
        try:
            found: Any = source()
            if inspect.isawaitable(found):
                found = await found
        except UsageError:
            raise
        except Exception as exc:
            raise BadValue("credentials", f"the function raised {type(exc).__name__}") from exc
        if not isinstance(found, AwsCredentials):
            raise BadValue("credentials", f"the function returned {type(found).__name__}, not AwsCredentials")
        return found


def _is_skew(error: ProviderError) -> bool:
    words = error.message.lower()
    return (error.type or "").lower() in _SKEW_TYPES or any(word in words for word in _SKEWED)


@final
class BearerToken(RequestSigner):
    """Authenticates requests with a bearer token. An expired token is not sent.

    Args:
      secret: the token, or a function that returns one for each request.
      field: the parameter that the token came from, for errors.
      advice: what to do about an expired token.
    """

    signs = False

    def __init__(
        self, secret: Secret, *, field: str, advice: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.field = field
        self._key = Credential(secret, field=field)
        self._advice = advice
        self._clock = clock

    @property
    def secret_headers(self) -> tuple[str, ...]:
        """`authorization`."""
        return self._key.secret_headers

    async def sign(self, request: OutgoingRequest) -> Mapping[str, str]:
        """Return the header with the token. Cancellation propagates into your function.

        This is a checkpoint only if your function is one.

        Raises:
          BadValue: your function raised or did not return a token, or the token has expired.
        """
        headers = await self._key.headers()
        token = headers["authorization"].removeprefix("Bearer ")
        check_not_expired(self.field, expiry_of(token), self._clock(), self._advice)
        return headers
