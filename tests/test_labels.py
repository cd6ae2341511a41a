"""Labels of turns: where they show, what is refused, and that nothing on the wire depends on them."""

import pytest

import lutum
from lutum import trace
from lutum.testing import ScriptedAdapter


async def test_a_label_is_in_the_request_and_in_the_trace() -> None:
    adapter = ScriptedAdapter([["a"], ["b"], ["c"]])
    llm = lutum.Lutum(adapter).labelled("search", 7)
    async with trace.capture() as t:
        await llm.text_turn("x").label("node", 3).collect()
        await llm.text_turn("x").collect()
        await lutum.Lutum(adapter).text_turn("x").label("alone").collect()
    labels = ["search/7/node/3", "search/7", "alone"]
    assert [request.label for request in adapter.requests] == labels
    assert [span.fields.get("label") for span in t.find("turn")] == labels


async def test_a_session_of_a_labelled_lutum() -> None:
    adapter = ScriptedAdapter([["a"]])
    session = lutum.Session(lutum.Lutum(adapter).labelled("branch"))
    session.push_user("x")
    await session.text_turn().label("first").collect()
    assert adapter.requests[0].label == "branch/first"


def test_the_request_does_not_depend_on_it() -> None:
    llm = lutum.Lutum(ScriptedAdapter())
    assert llm.text_turn("x").preview() == llm.labelled("a").text_turn("x").label("b").preview()


def test_a_later_label_replaces_an_earlier_one() -> None:
    builder = lutum.Lutum(ScriptedAdapter()).text_turn("x").label("a").label("b")
    assert builder._spec.label == "b"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((), "empty part"),
        (("",), "empty part"),
        (("a", "  "), "empty part"),
        (("a\nb",), "control characters"),
        (("\x1b[31m",), "control characters"),
        (("x" * 201,), "201 bytes"),
        (("\u00e5" * 101,), "202 bytes"),
    ],
)
def test_bad_labels(parts: tuple[str, ...], why: str) -> None:
    llm = lutum.Lutum(ScriptedAdapter())
    for bad in (lambda: llm.labelled(*parts), lambda: llm.text_turn("x").label(*parts)):
        with pytest.raises(lutum.BadValue, match=why) as caught:
            bad()
        assert caught.value.field == "label"


async def test_the_whole_label_is_bounded() -> None:
    llm = lutum.Lutum(ScriptedAdapter([["a"]])).labelled("x" * 150)
    with pytest.raises(lutum.BadValue, match="at most 200"):
        await llm.text_turn("x").label("y" * 60).collect()
    assert llm.budget.statistics().open_leases == 0
