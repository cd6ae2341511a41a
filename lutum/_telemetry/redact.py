"""Redact secrets in logs, previews and records, by their names in headers, URLs and JSON bodies. No I/O.

Sent requests are never changed. If the value of a secret is known, `masked` masks it everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

import msgspec

S = TypeVar("S", str, bytes)

MASK: Final = "***"

SHORTEST: Final = 8
"""A secret shorter than this is masked by its name only: as a text it would be found everywhere."""

_SECRET: Final = re.compile(
    r"key|token|secret|passw|auth|credential|cookie|signature|^sig$|session|^code$", re.IGNORECASE
)

# Members of a JSON object whose value is a string, up to a closing quote or the end of what there is. Names
# in a string are written with escaped quotes, so what a user wrote about JSON is left as it is.
_NAMES: Final = (
    rb"[\w.-]*(?:api[_-]?key|apikey|authorization|authorization_token|auth_token|access_token|access_key"
    rb"|refresh_token|bearer|client_secret|secret|secret_key|password|passwd|credential|credentials"
    rb"|private_key|x-goog-api-key|cookie)"
)
_MEMBER: Final = re.compile(
    rb'(?<!\\)("' + _NAMES + rb'"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\Z)', re.IGNORECASE | re.DOTALL
)


_NOT_SECRET: Final = frozenset({"prompt_cache_key"})  # OpenAI's name for what shares a cache


def is_secret(name: str) -> bool:
    """Return whether the name of a header, a parameter or a member marks its value as secret."""
    return _SECRET.search(name) is not None and name not in _NOT_SECRET


def masked_headers(headers: Iterable[tuple[str, str]], secret_headers: Iterable[str] = ()) -> dict[str, str]:
    """Return headers with `***` as the value of each secret name; secret headers are listed too."""
    shown = {name: MASK if is_secret(name) else value for name, value in headers}
    return {**shown, **dict.fromkeys(secret_headers, MASK)}


def masked_url(url: str) -> str:
    """A URL without user and password, and with `***` for the query's secrets."""
    head, mark, query = url.partition("?")
    scheme, sep, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    if sep and "@" in host:
        head = f"{scheme}://{MASK}@{host.rpartition('@')[2]}{slash}{path}"
    if not mark:
        return head
    query, hash_, fragment = query.partition("#")
    pairs = [_masked_pair(pair) for pair in query.split("&")]
    return head + mark + "&".join(pairs) + hash_ + fragment


def _masked_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and is_secret(unquote(name)) else pair


def masked_body(body: bytes) -> bytes:
    """A JSON body whose secrets, by their names, are `***`; otherwise the very bytes."""
    return _MEMBER.sub(rb'\1"***"', body)


def secrets_in(value: Any) -> list[str]:
    """The texts in decoded JSON that a member's name calls secret, in whatever depth."""
    if isinstance(value, list | tuple):
        return [secret for item in _items(value) for secret in secrets_in(item)]
    found = list[str]()
    if isinstance(value, Mapping):
        for name, item in _members(value):
            found += [item] if isinstance(item, str) and is_secret(str(name)) else secrets_in(item)
    return found


def secrets_sent(options: Iterable[object], body: bytes) -> list[str]:
    """Return the values of a request under secret names: in the extras of its options, and at the top level
    of its JSON body. Deeper in a body such names belong to the user, as in the arguments of a call."""
    found = list[str]()
    for option in options:
        for extra in ("extra_body", "extra_headers"):
            found += secrets_in(getattr(option, extra, None))
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        for name, raw in members.items():
            if is_secret(name):
                found += secrets_in({name: msgspec.json.decode(raw)})
    except (msgspec.DecodeError, UnicodeError):
        pass
    return found


def masked(text: S, secrets: Iterable[str]) -> S:
    """A text without these values, as they are and as a URL or JSON writes them; short ones stay."""
    for secret in secrets:
        if len(secret) < SHORTEST:
            continue
        for form in dict.fromkeys((secret, quote(secret, safe=""), _in_json(secret))):
            if isinstance(text, str):
                text = text.replace(form, MASK)
            else:
                text = text.replace(form.encode(errors="replace"), MASK.encode())
    return text


def hiding(values: Iterable[str]) -> Callable[[bytes], bytes]:
    """Return a function that masks the values of secret headers in a body: whole, and without their scheme.

    A function, because its repr shows nothing of them in a traceback with local variables.
    """
    kept = tuple(values)
    return lambda body: masked(body, [part for one in kept for part in {one, one.rpartition(" ")[2]}])


def masked_value(value: Any, secrets: Iterable[str]) -> Any:
    """A plain value without these texts, in whatever depth."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, bytes):
        return masked(value, secrets)
    if isinstance(value, Mapping):
        return {masked_value(name, secrets): masked_value(item, secrets) for name, item in _members(value)}
    if isinstance(value, list | tuple):
        return [masked_value(item, secrets) for item in _items(value)]
    return value


def _members(value: Any) -> Iterable[tuple[Any, Any]]:
    members: Iterable[tuple[Any, Any]] = value.items()
    return members


def _items(value: Any) -> Iterable[Any]:
    items: Iterable[Any] = value
    return items


def _in_json(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
