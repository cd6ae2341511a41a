"""`lutum.dialect.headers`: headers that a user adds."""

from typing import Any

import pytest

import lutum
from lutum.dialect.headers import check_extra_headers


@pytest.mark.parametrize("good", [None, {}, {"X-Title": "a b"}, {"x-empty": ""}])
def test_good_headers(good: Any) -> None:
    check_extra_headers(good, secret={"api-key"})


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([("a", "b")], "extra_headers"),
        ({"a b": "c"}, "extra_headers['a b']"),
        ({"": "c"}, "extra_headers['']"),
        ({1: "c"}, "extra_headers[1]"),
        ({"API-Key": "c"}, "extra_headers['API-Key']"),
        ({"Host": "c"}, "extra_headers['Host']"),
        ({"a": 1}, "extra_headers['a']"),
        ({"a": "b\r\nc: d"}, "extra_headers['a']"),
        ({"a": " b"}, "extra_headers['a']"),
        ({"a": "ü"}, "extra_headers['a']"),
    ],
)
def test_bad_headers_are_named(headers: Any, field: str) -> None:
    with pytest.raises(lutum.BadValue) as caught:
        check_extra_headers(headers, secret={"api-key"})
    assert caught.value.field == field
