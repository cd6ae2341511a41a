"""Thought signatures of the Gemini dialect, and the check of signatures that come back. No I/O.

A signature covers the model and the content so far: the earlier parts and the signed part. Neighbouring texts
are joined. Summaries of thoughts are not covered, because a request may leave them out. A signature therefore
detects a part that was changed, dropped, moved or split. The signatures of the real API are opaque. The API
refuses signatures of another model.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

from lutum.testing.wire._json import Object, is_object

__all__ = ["BYPASS", "is_signed_by", "sign", "signature_of", "signed_parts"]

_KEY: Final = b"lutum.testing.wire.gemini"
_MAC: Final = 24
BYPASS: Final = frozenset(
    {"skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}
)
"""The documented value that a request may send instead of a signature, as a word and in base64."""


def sign(model: str, parts: Sequence[bytes | str]) -> str:
    """Return a signature for the last of `parts`. `parts` are the content so far."""
    return base64.b64encode(_mac(model, [_value(part) for part in parts])).decode()


def is_signed_by(model: str, parts: Sequence[Object], signature: str) -> bool:
    """Return whether `signature` is valid for the model and for the last of `parts`, the content so far."""
    try:
        given = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, _mac(model, list(parts)))


def signed_parts(body: bytes) -> list[tuple[str, list[Object]]]:
    """Return the role and the parts of each content of a request. Numbers keep their digits."""
    request = json.loads(body, parse_float=_lexeme, parse_int=_lexeme)
    return [(content.get("role", "user"), content.get("parts", [])) for content in request["contents"]]


def signature_of(part: Object) -> str | None:
    """Return the signature of a part."""
    found = part.get("thoughtSignature", part.get("thought_signature"))
    return found if isinstance(found, str) else None


def _mac(model: str, parts: list[Object]) -> bytes:
    joined: list[Any] = []
    closed = True
    for part in parts:
        if part.get("thought"):
            continue
        bare = {name: value for name, value in part.items() if not name.startswith("thought")}
        is_text = bare.keys() == {"text"}
        if is_text and joined and not closed:
            joined[-1] = {"text": joined[-1]["text"] + bare["text"]}
        else:
            joined.append(bare)
        closed = not is_text or signature_of(part) is not None
    text = json.dumps([model, joined], sort_keys=True, separators=(",", ":"))
    return hmac.digest(_KEY, text.encode(), "sha256")[:_MAC]


def _value(part: bytes | str) -> Object:
    value = json.loads(part, parse_float=_lexeme, parse_int=_lexeme)
    return value if is_object(value) else {}


def _lexeme(number: str) -> dict[str, str]:
    return {"\0": number}
