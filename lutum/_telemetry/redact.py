"""Redact secrets in logs, previews and records. No I/O.

A value is a secret if its name in a header, a URL or a JSON body marks it as one. If the value of a secret is
known, `masked` masks it everywhere. Sent requests are never changed.
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
"""A secret with fewer characters is masked only where its name marks it. A search for such a short text would
also find other text."""

_SECRET: Final = re.compile(
    r"key|token|secret|passw|auth|credential|cookie|signature|^sig$|session|^code$", re.IGNORECASE
)

# Matches a member of a JSON object whose value is a string, up to the closing quote or the end of the data.
# JSON that a user quotes inside a string has escaped quotes, so it does not match and stays unchanged.
_NAMES: Final = (
    rb"[\w.-]*(?:api[_-]?key|apikey|authorization|authorization_token|auth_token|access_token|access_key"
    rb"|refresh_token|bearer|client_secret|secret|secret_key|password|passwd|credential|credentials"
    rb"|private_key|x-goog-api-key|cookie)"
)
_MEMBER: Final = re.compile(
    rb'(?<!\\)("' + _NAMES + rb'"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\Z)', re.IGNORECASE | re.DOTALL
)


_NOT_SECRET: Final = frozenset({"prompt_cache_key"})  # at OpenAI, requests with the same value share a cache


def is_secret(name: str) -> bool:
    """Return whether the name of a header, a parameter or a member marks its value as secret."""
    return _SECRET.search(name) is not None and name not in _NOT_SECRET


def masked_headers(headers: Iterable[tuple[str, str]], secret_headers: Iterable[str] = ()) -> dict[str, str]:
    """Return headers with `***` as the value of each secret name. The result has all names of
    `secret_headers`."""
    shown = {name: MASK if is_secret(name) else value for name, value in headers}
    return {**shown, **dict.fromkeys(secret_headers, MASK)}


def masked_url(url: str) -> str:
    """Return a URL with `***` in place of user and password, and of secrets in the query."""
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
    """Return a JSON body with `***` in place of each value that has a secret name. All other bytes stay."""
    return _MEMBER.sub(rb'\1"***"', body)


def secrets_in(value: Any) -> list[str]:
    """Return the strings in decoded JSON whose member name marks them as secret, at any depth."""
    if isinstance(value, list | tuple):
        return [secret for item in _items(value) for secret in secrets_in(item)]
    found = list[str]()
    if isinstance(value, Mapping):
        for name, item in _members(value):
            found += [item] if isinstance(item, str) and is_secret(str(name)) else secrets_in(item)
    return found


def secrets_sent(options: Iterable[object], body: bytes) -> list[str]:
    """Return the values of a request that have secret names.

    They are searched in `extra_body` and `extra_headers` of its options, and at the top level of its JSON
    body. Deeper in the body, a secret name belongs to the user's data, for example to the arguments of a
    call.
    """
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
    """Return a text with `***` in place of these secrets, also in their escaped forms in a URL or JSON.

    Secrets with fewer than `SHORTEST` characters stay.
    """
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
    """Return a function that masks the values of secret headers in a body, with and without their scheme.

    The values are kept in a function because its repr does not show them in a traceback with local variables.
    """
    kept = tuple(values)
    return lambda body: masked(body, [part for one in kept for part in {one, one.rpartition(" ")[2]}])


def masked_value(value: Any, secrets: Iterable[str]) -> Any:
    """Return a plain value with `***` in place of these secrets, at any depth."""
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
