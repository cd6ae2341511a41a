"""Reasoning between tags in the text of an answer."""

import itertools
import json

import pytest
from hypothesis import given, strategies as st
from openai_chat.chat_wire import chunk, completed, decode, of, stream

import lutum
from lutum_openai.chat._think import TagSplitter, split

THINK = ("think", "reasoning")


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("<think>\nhm\n</think>\n\nHi", "hm", "Hi"),
        ("\n <think>hm</think>Hi", "hm", "Hi"),
        ("<reasoning>hm</reasoning>Hi", "hm", "Hi"),
        ("<think></think>\nHi", "", "Hi"),
        ("<think>cut", "cut", ""),
        ("<think>a < b </thin </think>Hi", "a < b </thin", "Hi"),
        ("Hi <think>no</think>", "", "Hi <think>no</think>"),
        ("<thinking>Hi", "", "<thinking>Hi"),
        ("<th", "", "<th"),
        ("", "", ""),
    ],
)
def test_split(text: str, thought: str, said: str) -> None:
    """Only tags at the very start count, and what has no end tag is reasoning."""
    assert split(text, THINK) == (thought, said)


@given(st.text(alphabet="<>/think reasoning\nab", max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_any_pieces(text: str, cuts: list[int]) -> None:
    """However the text is cut, the same comes out, and nothing but white space around the tags is lost."""
    text = "<think>" + text if len(cuts) % 2 else text
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    splitter, found = TagSplitter(THINK), list[tuple[str, str]]()
    for a, b in itertools.pairwise(places):
        found += splitter.feed(text[a:b])
    found += splitter.end()
    thought = "".join(piece for kind, piece in found if kind == "reasoning")
    said = "".join(piece for kind, piece in found if kind == "text")
    assert (thought.strip(), said) == (split(text, THINK)[0].strip(), split(text, THINK)[1])
    if not text.lstrip().startswith(("<think>", "<reasoning>")):
        assert said == text


def test_events_and_turn() -> None:
    """Reasoning is streamed as such, the turn's view tells them apart, and its wire is as it came."""
    pieces = ["<thi", "nk>\nh", "m\n</thi", "nk>\n\n", "Hi", " there"]
    data = stream(*({"content": piece} for piece in pieces))
    for chunks in (None, [bytes([byte]) for byte in data]):
        events = decode(data, chunks, think=THINK)
        assert "".join(e.text for e in of(events, lutum.ReasoningDelta)).strip() == "hm"
        assert "".join(e.text for e in of(events, lutum.TextDelta)) == "Hi there"
        turn = completed(events).turn
        assert (turn.text, turn.reasoning, turn.exact) == ("Hi there", "hm", True)
        assert json.loads(turn.wire)["content"] == "".join(pieces)


def test_a_value_behind_tags() -> None:
    """A structured value is what stands behind the reasoning."""
    data = stream({"content": '<think>{"a":0}</think>{"a":'}, {"content": "1}"})
    events = decode(data, structured=True, think=THINK)
    assert "".join(e.json for e in of(events, lutum.StructuredDelta)) == '{"a":1}'


def test_a_turn_that_was_cut_while_thinking() -> None:
    """It has no text, and what was held back is not lost."""
    data = stream({"content": "<think>so"}, {"content": " far</"}, finish="length")
    turn = completed(decode(data, think=THINK)).turn
    assert (turn.text, turn.reasoning) == ("", "so far</")
    assert chunk({})
