"""Sealed reasoning, as `encrypted_content` and in `reasoning_details`. No I/O, no clock, no tasks.

The content is not encrypted. Sealed reasoning contains the model, the text, and a MAC over both. The server
therefore recognizes sealed reasoning when it comes back, and refuses it if a byte was changed.
"""

import base64
import binascii
import hmac
from typing import Final, final

import msgspec

__all__ = ["Sealed", "seal", "unseal"]

_KEY: Final = b"lutum.testing.wire.openai"
_MAC: Final = 16
_HEAD: Final = b"\x80\0\0\0\0"  # in base64 `gAAAA`, with which the API's own values begin


@final
class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """The sealed content: the model, and the text of its reasoning."""

    model: str
    text: str


def seal(model: str, text: str) -> str:
    """Seal the text of a model's reasoning."""
    content = msgspec.msgpack.encode(Sealed(model, text))
    return base64.urlsafe_b64encode(_HEAD + _mac(content) + content).decode()


def unseal(sealed: str) -> Sealed | None:
    """Return the sealed content. Return None if it was not sealed here, or was changed."""
    try:
        raw = base64.b64decode(sealed, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    content = raw[len(_HEAD) + _MAC :]
    if not hmac.compare_digest(raw[: len(_HEAD) + _MAC], _HEAD + _mac(content)):
        return None
    if base64.urlsafe_b64encode(raw).decode() != sealed:
        return None  # the last character has unused bits that are not zero
    return msgspec.msgpack.decode(content, type=Sealed)


def _mac(content: bytes) -> bytes:
    return hmac.digest(_KEY, content, "sha256")[:_MAC]
