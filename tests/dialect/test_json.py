"""`lutum.dialect.json`: JSON that keeps its bytes and digits."""

import pytest
from hypothesis import given, strategies as st
from msgspec import Raw

import lutum
from lutum.dialect import json


def test_members_stay_raw() -> None:
    members = json.decode_object(b'{"a": 1e2, "b": [1, {"c": null}], "s": "x"}')
    assert bytes(members["a"]) == b"1e2"
    assert json.string(members["s"]) == "x"
    assert json.string(members["a"]) is None
    assert json.string(None) is None
    assert json.is_null(None)
    assert json.is_null(Raw(b"null"))
    assert not json.is_null(members["a"])
    assert json.starts_with(members["b"], b"[")
    assert not json.starts_with(None, b"[")


def test_objects_of_an_array() -> None:
    assert json.objects(b'[{"a":1}, {}]') == [b'{"a":1}', b"{}"]
    assert json.objects(b"[]") == []
    for other in (b"null", b'{"a":1}', b"[1]", b'[{}, "x"]', b""):
        assert json.objects(other) is None


def test_a_copy_is_utf_8() -> None:
    [raw] = json.decode_array(b'["\xff"]')
    with pytest.raises(UnicodeDecodeError):
        json.copied(raw)


def test_values_and_text_become_bytes() -> None:
    assert json.to_bytes("f", ' {"a": 1.0} ') == b'{"a": 1.0}'
    assert json.to_bytes("f", b" [1] ") == b"[1]"
    assert json.to_bytes("f", {"a": [1, None]}) == b'{"a":[1,null]}'
    for odd in ("{", object(), "\ud800", "[" * 100_000):
        with pytest.raises(lutum.BadValue, match="f: is not JSON"):
            json.to_bytes("f", odd)


def test_members_of_an_object_or_of_a_value_with_a_name() -> None:
    assert set(json.members_of("f", b'{"a": 1, "b": 2}', "messages")) == {"a", "b"}
    assert bytes(json.members_of("f", [1], "messages")["messages"]) == b"[1]"
    assert bytes(json.members_of("f", '"x"', "input")["input"]) == b'"x"'


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}', True),
        (b"1e2", b"1e2", True),
        (b"1e2", b"100", False),
        (b"[1, [1]]", b"[1,[1]]", True),
        (b'["1"]', b"[1]", False),
        (b'"\\u0061"', b'"a"', True),
    ],
)
def test_the_same_value(a: bytes, b: bytes, same: bool) -> None:
    assert json.same_value(a, b) is same


@given(st.binary(max_size=40))
def test_no_text_raises_where_it_is_asked_about(text: bytes) -> None:
    assert json.is_object(text) in (True, False)
