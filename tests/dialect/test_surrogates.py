"""`lutum.dialect.surrogates`: halves of pairs are joined across events, and nothing else is touched."""

import json

from hypothesis import given, strategies as st

from lutum.dialect.surrogates import HalfPairs, without_halves

texts = st.text(st.sampled_from('a\\"\n\ud83d\ude00é😀'), max_size=8)


def joined(events: list[bytes]) -> tuple[list[str], bool]:
    halves = HalfPairs()
    out = [found for data in events for found in halves.take(b"", data)] + halves.flush()
    return [json.loads(data)["t"] for _, data in out], halves.replaced


def test_halves_of_one_pair() -> None:
    """The pair goes to the first string; a ping between the two changes nothing."""
    first, ping, second = rb'{"t":"Hi \ud83d"}', b'{"type":"ping"}', rb'{"t":"\uDE00!"}'
    assert joined([first, second]) == (["Hi 😀", "!"], False)
    halves = HalfPairs()
    assert halves.take(b"", first) == []
    assert halves.waiting
    assert halves.take(b"", ping) == [(b"", ping)]
    assert [json.loads(data)["t"] for _, data in halves.take(b"", second)] == ["Hi 😀", "!"]
    assert not halves.replaced


def test_a_half_without_its_other() -> None:
    """It becomes U+FFFD, wherever it stands, and the answer is marked."""
    assert joined([rb'{"t":"Hi \ud83d"}', rb'{"t":"you"}']) == (["Hi �", "you"], True)
    assert joined([rb'{"t":"Hi \ud83d"}']) == (["Hi �"], True)
    assert joined([rb'{"t":"\ude00 \ud83d x"}']) == (["� � x"], True)
    assert joined([rb'{"t":"a\ud83d"}', rb'{"t":"\ude00b\ud83d"}', rb'{"t":"\ude00"}']) == (
        ["a😀", "b😀", ""],
        False,
    )


def test_an_escaped_backslash_is_no_half() -> None:
    data = rb'{"t":"\\ud83d"}'
    assert without_halves(data) is not None
    assert json.loads(without_halves(data)) == json.loads(data)
    assert joined([data]) == (["\\ud83d"], False)


def test_a_half_behind_an_escaped_quote() -> None:
    """It does not begin its string, so it is not the other half of what the last event ended with."""
    assert joined([rb'{"t":"Hi \ud83d"}', rb'{"t":"\"\ude00"}']) == (["Hi �", '"�'], True)


@given(st.lists(texts, max_size=5))
def test_the_joined_text(pieces: list[str]) -> None:
    """Joined, the strings are what JavaScript joins, with U+FFFD for each half that has no other."""
    events = [json.dumps({"t": piece}).encode() for piece in pieces]
    found, replaced = joined(events)
    whole = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not any(len(piece) == 0 for piece in pieces):  # an empty string between two halves parts them
        assert "".join(found) == whole or replaced
        assert ("�" in "".join(found)) == replaced
    for event in events:
        json.loads(without_halves(event)).items()
