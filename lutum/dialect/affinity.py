"""Affinity: a key that routes requests with the same prefix to the server that has cached it. No I/O.

The key is a digest, so it reveals nothing about the conversation. The host decides in which member or header
it is sent.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from lutum._values.check import describe
from lutum._values.errors import BadValue
from lutum.abc import TurnRequest

__all__ = ["LONGEST", "affinity_key", "check_affinity"]

LONGEST: Final = 64
"""The largest number of characters of a key. It is the smallest limit of a host (OpenAI's
`prompt_cache_key`)."""


def check_affinity(affinity: object) -> None:
    """Check the argument `affinity=` of an adapter.

    Raises:
      BadValue: it is neither None nor a text of 1 to 64 printable ASCII characters without spaces.
    """
    if affinity is None:
        return
    if not isinstance(affinity, str):
        raise BadValue(
            "affinity", f"takes 'conversation', 'head' or your own key as a str, not {describe(affinity)}"
        )
    if not 1 <= len(affinity) <= LONGEST or not all("!" <= char <= "~" for char in affinity):
        raise BadValue(
            "affinity",
            f"a key has 1 to {LONGEST} printable ASCII characters without spaces, not {affinity!r}",
        )


def affinity_key(affinity: str | None, request: TurnRequest) -> str | None:
    """Return the key of a request; None without affinity.

    Args:
      affinity: `conversation` returns a digest of the head and the first item after it. All turns and forks
        of one conversation then have the same key. `head` returns a digest of the system items and the tools.
        All conversations of one program then have the same key. Any other text is the key itself.
    """
    if affinity not in ("conversation", "head"):
        return affinity
    transcript = request.transcript
    length = len(transcript.head.system) + (affinity == "conversation")
    digest = blake2b(transcript.prefix(min(length, len(transcript))).digest.encode(), digest_size=16)
    digest.update(msgspec.msgpack.encode(request.tools.head))
    return digest.hexdigest()
