"""The usual AWS credential chain, from botocore. It runs in a thread, because it blocks.

This is the only module of the package with I/O.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from typing import Any, Final, final

import anyio
import anyio.to_thread

from lutum import BadValue
from lutum_clouds._credentials import AwsCredentials

_INSTALL: Final = "pip install 'lutum[bedrock]' (in a clone: '.[bedrock]')"


@final
class AwsChain:
    """A credential function over botocore's chain: environment, profiles, SSO, containers, instance metadata.

    botocore is loaded with the first request. The credentials are kept, and renewed before they expire.

    Args:
      profile: a profile of the AWS configuration. Default: `AWS_PROFILE`, else the default profile.

    Raises:
      BadValue: botocore is not installed.
    """

    def __init__(self, profile: str | None = None) -> None:
        if importlib.util.find_spec("botocore") is None:
            raise BadValue(
                "credentials",
                "are missing: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                f" give api_key= or credentials=, or install botocore for the AWS chain: {_INSTALL}",
            )
        self._profile = profile
        self._found: Any = None
        self._lock = threading.Lock()

    async def __call__(self) -> AwsCredentials:
        """Return credentials that are valid now.

        On cancellation, the thread continues and keeps the credentials for the next call.

        Raises:
          BadValue: the chain has no credentials, or could not renew them. The message contains botocore's.
        """
        # A separate limiter, because a chain that hangs must not use up the threads of other code.
        limiter = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(self._frozen, abandon_on_cancel=True, limiter=limiter)

    def _frozen(self) -> AwsCredentials:
        exceptions: Any = importlib.import_module("botocore.exceptions")
        try:
            with self._lock:
                if self._found is None:
                    session: Any = importlib.import_module("botocore.session")
                    self._found = session.Session(profile=self._profile).get_credentials()
                if self._found is None:
                    raise BadValue(
                        "credentials",
                        "the AWS chain found no credentials: it searched the environment, profiles, SSO, the"
                        " container and the instance role",
                    )
                found = self._found.get_frozen_credentials()
                expires = getattr(self._found, "_expiry_time", None)
        except (exceptions.BotoCoreError, exceptions.ClientError) as exc:
            raise BadValue("credentials", f"the AWS chain failed with {type(exc).__name__}: {exc}") from None
        return AwsCredentials(
            access_key=found.access_key, secret_key=found.secret_key, token=found.token, expires=expires
        )


def environment_credentials() -> AwsCredentials | None:
    """Return the credentials in the environment; None if unset. They precede the rest of the chain.

    Raises:
      BadValue: one of the two keys is missing, or cannot be sent.
    """
    access_key, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key and not secret_key:
        return None
    if not access_key or not secret_key:
        given, missing = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        if not access_key:
            given, missing = missing, given
        raise BadValue("credentials", f"{missing} is not set, but {given} is: set both")
    return AwsCredentials(
        access_key=access_key, secret_key=secret_key, token=os.environ.get("AWS_SESSION_TOKEN") or None
    )
