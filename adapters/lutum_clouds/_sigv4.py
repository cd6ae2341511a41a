"""AWS Signature Version 4 (docs.aws.amazon.com, "Create a signed AWS API request"). No I/O, no clock."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from lutum.transport import OutgoingRequest
from lutum_clouds._credentials import AwsCredentials

ALGORITHM: Final = "AWS4-HMAC-SHA256"

# Headers that a proxy or a client may change. AWS's own signers leave them out, too.
_UNSIGNED: Final = frozenset(
    {"authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}
)
_UNRESERVED: Final = "-_.~"


def sign(
    request: OutgoingRequest,
    credentials: AwsCredentials,
    *,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """Return the headers of a signature over the whole request: `authorization`, `x-amz-date` and, with a
    session token, `x-amz-security-token`.

    Args:
      request: the request as sent. Its path is escaped already; the signature uses it escaped once more.
      now: seconds since the epoch.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": stamp}
    if credentials.token is not None:
        added["x-amz-security-token"] = credentials.token
    names, canonical = canonical_request(request, added)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = b"AWS4" + credentials.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    added["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names},"
        f" Signature={signature}"
    )
    return added


def canonical_request(request: OutgoingRequest, added: dict[str, str]) -> tuple[str, bytes]:
    """Return the names of the signed headers, and the canonical request."""
    url = urlsplit(request.url)
    values = dict[str, list[str]]()
    for name, value in (*request.headers, ("host", url.netloc), *added.items()):
        lower = name.lower()
        if lower in added or lower == "host":
            values[lower] = [value]
        elif lower not in _UNSIGNED:
            values.setdefault(lower, []).append(value)
    names = ";".join(sorted(values))
    lines = [
        request.method.upper(),
        _canonical_path(url.path),
        _canonical_query(url.query),
        *(f"{name}:{','.join(map(_trimmed, values[name]))}" for name in sorted(values)),
        "",
        names,
        hashlib.sha256(request.body).hexdigest(),
    ]
    return names, "\n".join(lines).encode()


def _canonical_path(path: str) -> str:
    """Return a path without dot segments and empty segments, escaped once more.

    AWS requires this form for all services except S3.
    """
    kept = list[str]()
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    joined = "/" + "/".join(kept)
    if kept and path.endswith("/"):
        joined += "/"
    return quote(joined, safe="/" + _UNRESERVED)


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    return "&".join(f"{name}={value}" for name, value in sorted(_pairs(query.split("&"))))


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for part in parts:
        name, _, value = part.partition("=")
        yield quote(unquote(name), safe=_UNRESERVED), quote(unquote(value), safe=_UNRESERVED)


def _trimmed(value: str) -> str:
    return " ".join(value.split())
