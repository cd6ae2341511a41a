"""The signer: AWS's published vectors, and botocore on random requests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from lutum.transport import OutgoingRequest
from lutum_clouds import AwsCredentials
from lutum_clouds._sigv4 import sign

# From the AWS Signature Version 4 test suite: its credentials, its time, and expected signatures.
EXAMPLE = AwsCredentials(access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
THEN = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC).timestamp()
HOST = "https://example.amazonaws.com"
FORM = "application/x-www-form-urlencoded"

VECTORS: dict[str, tuple[str, str, list[tuple[str, str]], bytes, str]] = {
    "get-vanilla": (
        "GET",
        "/",
        [],
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        "GET",
        "/?Param2=value2&Param1=value1",
        [],
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-unreserved": (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        [],
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-utf8": (
        "GET",
        "/\u1234",
        [],
        b"",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-relative": (
        "GET",
        "/example/..",
        [],
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-slashes": (
        "GET",
        "//example//",
        [],
        b"",
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    "get-slash-dot-slash": (
        "GET",
        "/./",
        [],
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-header-key-duplicate": (
        "GET",
        "/",
        [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        b"",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-trim": (
        "GET",
        "/",
        [("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')],
        b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (
        "POST",
        "/",
        [],
        b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded": (
        "POST",
        "/",
        [("Content-Type", FORM)],
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}


def signature(headers: Mapping[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name: str) -> None:
    method, path, headers, body, expected = VECTORS[name]
    request = OutgoingRequest(method, HOST + path, tuple(headers), body)
    signed = sign(request, EXAMPLE, region="us-east-1", service="service", now=THEN)
    assert signature(signed) == expected
    assert signed["x-amz-date"] == "20150830T123600Z"


def test_the_example_of_the_documentation() -> None:
    """IAM's ListUsers, from "Create a signed AWS API request"."""
    url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08"
    headers = (("Content-Type", f"{FORM}; charset=utf-8"),)
    request = OutgoingRequest("GET", url, headers, b"")
    signed = sign(request, EXAMPLE, region="us-east-1", service="iam", now=THEN)
    assert signature(signed) == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    assert "SignedHeaders=content-type;host;x-amz-date," in signed["authorization"]


def test_an_escaped_colon_is_escaped_again() -> None:
    """`%3A` on the wire is `%253A` in what is signed, so it signs differently from a bare colon."""
    bare, escaped = (
        signature(
            sign(
                OutgoingRequest("POST", f"https://h.test/model/a-v1{colon}0/invoke", (), b"{}"),
                EXAMPLE,
                region="us-east-1",
                service="bedrock",
                now=THEN,
            )
        )
        for colon in (":", "%3A")
    )
    assert bare != escaped


def test_the_token_is_signed() -> None:
    """A session token goes out in a header of its own, and is part of the signature."""
    known = AwsCredentials(access_key="AKIDEXAMPLE", secret_key=EXAMPLE.secret_key, token="T/+==")
    request = OutgoingRequest("POST", f"{HOST}/", (), b"")
    signed = sign(request, known, region="us-east-1", service="bedrock", now=THEN)
    assert signed["x-amz-security-token"] == "T/+=="
    assert "x-amz-security-token" in signed["authorization"]


@pytest.fixture(scope="module")
def botocore() -> Iterator[Any]:
    """botocore's signer, at our time."""
    auth = pytest.importorskip("botocore.auth")
    frozen = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(auth, "get_current_datetime"):
            patch.setattr(
                auth, "get_current_datetime", lambda remove_tzinfo=True: frozen.replace(tzinfo=None)
            )
        else:

            class Clock(dt.datetime):
                @classmethod
                def utcnow(cls) -> dt.datetime:
                    return frozen.replace(tzinfo=None)

            patch.setattr(auth.datetime, "datetime", Clock)
        yield auth


NOW = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC).timestamp()

SEGMENTS = st.sampled_from(
    [
        "model",
        "a-v1%3A0",
        "a-v1:0",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx",
        "v1",
        "~.-_",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "accept", "anthropic-version", "X-Note", "User-Agent"]),
    st.from_regex(r"[!-~]([!-~ ]{0,10}[!-~])?", fullmatch=True),
    max_size=4,
)
QUERIES = st.lists(
    st.tuples(
        st.from_regex(r"[a-zA-Z0-9]{1,4}", fullmatch=True), st.sampled_from(["", "20", "a%2Fb", "a b"])
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
)


@settings(max_examples=60)
@given(
    path=st.lists(SEGMENTS, min_size=1, max_size=4),
    headers=HEADERS,
    query=QUERIES,
    body=st.binary(max_size=40),
    token=st.sampled_from([None, "T", "FwoG/+=="]),
    service=st.sampled_from(["bedrock", "bedrock-mantle"]),
)
def test_botocore_signs_alike(
    botocore: Any,
    path: list[str],
    headers: dict[str, str],
    query: list[tuple[str, str]],
    body: bytes,
    token: str | None,
    service: str,
) -> None:
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = "https://bedrock-runtime.us-east-1.amazonaws.com/" + "/".join(path)
    if query:
        url += "?" + "&".join(f"{name}={value}" for name, value in query)
    url = url.replace(" ", "%20")
    known = AwsCredentials(access_key="AKIDEXAMPLE", secret_key=EXAMPLE.secret_key, token=token)
    request = OutgoingRequest("POST", url, tuple(headers.items()), body)
    ours = sign(request, known, region="us-east-1", service=service, now=NOW)
    theirs = AWSRequest(method="POST", url=url, headers=dict(headers), data=body)
    found = Credentials(known.access_key, known.secret_key, token)
    botocore.SigV4Auth(found, service, "us-east-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]
