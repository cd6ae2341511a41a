"""A value behind tags, fences and prose: the rule, what was left out, and that the turn stays exact."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

import lutum
from lutum._schema.lenient import find_value
from lutum._schema.shape import shape_of
from lutum.testing import ScriptedAdapter
from lutum.testing.wire import Reply, Say, WireServer
from lutum_openai import OpenAIChatAdapter


class River(msgspec.Struct):
    name: str
    km: int = 0


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    barks: bool


NILE = '{"name": "Nile", "km": 6650}'
WHOLE = River("Nile", 6650)

# A text, and what is left out of it.
FOUND: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "as it should be": (NILE, []),
    "space around": (f"\n\n {NILE}\n", []),
    "think": (f"<think>\nhm {{}}\n</think>\n\n{NILE}", [("tags", "<think>\nhm {}\n</think>")]),
    "two blocks": (
        f"<think>a</think>\n<Reasoning>b</Reasoning>{NILE}",
        [("tags", "<think>a</think>"), ("tags", "\n<Reasoning>b</Reasoning>")],
    ),
    "an empty block": (f"<think></think>{NILE}", [("tags", "<think></think>")]),
    "only the closing tag": (f"hm, or [1]\n</think>\n{NILE}", [("tags", "hm, or [1]\n</think>")]),
    "a fence": (f"```json\n{NILE}\n```", [("fence", "```json"), ("fence", "```")]),
    "a fence without a language": (f"```\n{NILE}\n```\n", [("fence", "```"), ("fence", "```")]),
    "a fence of tildes": (f"~~~ json\n{NILE}\n~~~", [("prose", "~~~ json"), ("fence", "~~~")]),
    "a fence with CRLF": (f"```json\r\n{NILE}\r\n```", [("fence", "```json"), ("fence", "```")]),
    "a fence in prose": (
        f"Here it is:\n\n```json\n{NILE}\n```\nAnything else?",
        [("prose", "Here it is:\n\n```json"), ("prose", "```\nAnything else?")],
    ),
    "a fence of something else first": (
        f"```python\nprint(1)\n```\n```json\n{NILE}\n```",
        [("prose", "```python\nprint(1)\n```\n```json"), ("fence", "```")],
    ),
    "a fence that is open": (f"```json\n{NILE}", [("fence", "```json")]),
    "prose before": (f"The longest is {NILE}", [("prose", "The longest is")]),
    "prose behind": (f"{NILE}\n\nI hope this helps!", [("prose", "I hope this helps!")]),
    "prose with brackets": (
        f"[note] {{see}} below: {NILE} [1]",
        [("prose", "[note] {see} below:"), ("prose", "[1]")],
    ),
    "twice the same": (f'{NILE} or {{"km":6650,"name":"Nile"}}', [("prose", 'or {"km":6650,"name":"Nile"}')]),
    "in answer tags": (f"<answer>{NILE}</answer>", [("prose", "<answer>"), ("prose", "</answer>")]),
    "inline code": (f"It is `{NILE}`.", [("prose", "It is `"), ("prose", "`.")]),
    "everything": (
        f"<think>so</think>Sure!\n```json\n{NILE}\n```\nBye.",
        [("tags", "<think>so</think>"), ("prose", "Sure!\n```json"), ("prose", "```\nBye.")],
    ),
    "another object that does not fit": (f'{{"draft": true}} {NILE}', [("prose", '{"draft": true}')]),
}

REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("I do not know.", "no JSON value in the text"),
    "another type": ('{"name": 5}', "Expected `str`, got `int` - at $.name"),
    "another type in a fence": ('```json\n{"name": 5}\n```', "Expected `str`, got `int` - at $.name"),
    "two that differ": ('{"name": "Nile"} or {"name": "Amazon"}', "2 different values of the type"),
    "reasoning without an end": (f"<think>{NILE}", "the reasoning in the text has no closing tag"),
    "cut": ('```json\n{"name": "Ni', "no JSON value in the text"),
    "not JSON": ("{'name': 'Nile'}", "no JSON value in the text"),
}


@pytest.mark.parametrize("case", FOUND)
async def test_the_value_is_found(case: str) -> None:
    """By `decode`, and by a lenient turn, which is committed exactly and says what it left out."""
    text, left_out = FOUND[case]
    assert lutum.decode(River, text) == WHOLE
    found = find_value(shape_of(River), text)
    assert [(one.kind, one.text) for one in found.stripped] == left_out
    adapter = ScriptedAdapter([[lutum.StructuredDelta(piece) for piece in text]])
    session = lutum.Session(lutum.Lutum(adapter))
    session.push_user("Which?")
    events: list[lutum.Event] = []
    async with session.structured_turn(River, lenient=True).stream() as turn:
        events += [event async for event in turn]
    assert turn.result.value == WHOLE
    told = [json.loads(one.data) for one in events if isinstance(one, lutum.ProviderEvent)]
    assert [(one["kind"], one["text"]) for one in told] == left_out
    ready, completed = events[-2:]
    assert isinstance(ready, lutum.StructuredReady)
    assert json.loads(ready.json) == json.loads(NILE)
    assert isinstance(completed, lutum.Completed)
    session.commit_structured(turn.result)
    assert session.turns()[-1].exact
    assert turn.partial.json == text


@pytest.mark.parametrize("case", REFUSED)
async def test_what_holds_no_value_is_refused_with_the_reason(case: str) -> None:
    """The whole text is in `raw`; it is never guessed."""
    text, reason = REFUSED[case]
    with pytest.raises(lutum.OutputInvalid) as caught:
        lutum.decode(River, text)
    assert reason in str(caught.value)
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta(text)]]))
    with pytest.raises(lutum.OutputInvalid) as caught:
        await llm.structured_turn(River, "?", lenient=True).collect()
    assert reason in str(caught.value)
    assert caught.value.raw == text
    assert caught.value.usage.total_tokens > 0


async def test_without_lenient_nothing_is_looked_for() -> None:
    """Strict is the default, and the error says how to be lenient."""
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta(f"```json\n{NILE}\n```")]]))
    with pytest.raises(lutum.OutputInvalid, match="lenient=True"):
        await llm.structured_turn(River, "?").collect()


WRAPPED: dict[str, tuple[Any, str, Any]] = {
    "a list": (list[int], "Sure: [1, 2]", [1, 2]),
    "a list in its wrapper": (list[int], '```\n{"value": [1, 2]}\n```', [1, 2]),
    "a list of objects": (list[River], f"[{NILE}]", [WHOLE]),
    "a number": (int, "<think>x</think> 7", 7),
    "text": (str, '"a"', "a"),
    "a union": (Cat | Dog, 'It is {"barks": true}.', Dog(barks=True)),
    "a union in its wrapper": (Cat | Dog, '{"value": {"lives": 9}}', Cat(lives=9)),
    "a dict": (dict[str, int], '{"a": 1}', {"a": 1}),
    "a tuple": (tuple[int, str], '[1, "a"]', (1, "a")),
    "a model": (Cat, '```json\n{"lives": 9.0}\n```', Cat(lives=9)),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_what_is_no_object_may_stand_without_its_wrapper(case: str) -> None:
    """A server that does not enforce the schema does not make the model write it."""
    type, text, value = WRAPPED[case]
    assert lutum.decode(type, text) == value


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
prose = st.text(st.characters(exclude_characters="[]{}<>`~", exclude_categories=["Cs"]), max_size=20)


class Box(msgspec.Struct, forbid_unknown_fields=True):
    content: Any


@given(values, prose, prose, st.sampled_from(["", "```json\n%s\n```", "~~~\n%s\n~~~"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_around_a_value(
    value: object, before: str, behind: str, fence: str, thinks: bool
) -> None:
    """The law: whatever stands around it, the value is the same, and all of the text is accounted for."""
    shape = shape_of(Box, strict=False)
    bare = msgspec.json.encode({"content": value}).decode()
    text = f"{before}\n{fence % bare if fence else bare}\n{behind}"
    text = f"<think>{before}</think>{text}" if thinks else text
    found = find_value(shape, text)
    assert found.value == Box(value)
    assert found.json == bare
    pieces = [one.text for one in found.stripped]
    assert sum(len("".join(piece.split())) for piece in [*pieces, bare]) == len("".join(text.split()))


def test_hostile_text_ends_soon() -> None:
    """Brackets without end cost a bounded number of looks."""
    for text in (
        "{" * 50_000,
        "[" * 50_000,
        '{"a":' * 20_000,
        "<think>" * 20_000,
        "</think>" * 20_000,
        "`" * 50_000,
    ):
        with pytest.raises(lutum.OutputInvalid):
            lutum.decode(River, text)


async def test_a_partial_value_begins_where_the_value_does() -> None:
    """Behind tags and prose, piece by piece, as the strict one."""
    pieces = [
        "<thi",
        "nk>{no}</th",
        "ink>\nSure:\n```json\n",
        '{"name": "N',
        'ile", "km": 66',
        "50}",
        "\n```",
    ]
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta(piece) for piece in pieces]]))
    views: list[Any] = []
    async with llm.structured_turn(River, "?", lenient=True).stream() as turn:
        views += [turn.partial_value() async for event in turn if isinstance(event, lutum.StructuredDelta)]
    unset = msgspec.UNSET
    nile = json.loads(NILE)
    assert views == [unset, unset, unset, {"name": "N"}, {"name": "Nile"}, nile, nile]


async def test_over_the_wire_the_turn_goes_back_as_it_came() -> None:
    """A chat server without a reasoning parser: the next request holds the text with tags and fence."""
    said = f"<think>hm</think>\n```json\n{NILE}\n```"
    server = WireServer([Reply(Say(said)), Reply("Bye.")])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        adapter = OpenAIChatAdapter("m", api_key="k", base_url=server.url + "/v1", http_client=client)
        session = lutum.Session(lutum.Lutum(adapter))
        session.push_user("Which?")
        result = await session.structured_turn(River, lenient=True).collect()
        assert result.value == WHOLE
        session.commit_structured(result)
        session.push_user("And now?")
        await session.text_turn().collect()
    assert json.loads(server.requests[-1].body)["messages"][1]["content"] == said
    assert session.turns()[0].exact


async def test_a_lenient_completion() -> None:
    """`structured_completion` takes it, too."""
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta(f"Sure! {NILE}")]]))
    assert (await llm.structured_completion(River, "?", lenient=True).collect()).value == WHOLE


async def test_the_error_of_pydantic_is_the_cause_of_the_turns_error() -> None:
    """With every problem in the message."""
    llm = lutum.Lutum(ScriptedAdapter([[lutum.StructuredDelta('{"lives":"many"}')]] * 2))
    for lenient in (False, True):
        with pytest.raises(lutum.OutputInvalid) as caught:
            await llm.structured_turn(Cat, "?", lenient=lenient).collect()
        assert type(caught.value.__cause__).__name__ == "ValidationError"
        assert caught.value.problems[0][0] == "$.lives"
