"""The example of an adapter: it uses public names only, keeps the promises, and holds conversations."""

from __future__ import annotations

import ast
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

import lutum
from lutum.testing import ScriptedAdapter, check_adapter

FOLDER = Path(__file__).parents[1] / "examples"
sys.path.append(str(FOLDER))
try:
    own, dialect, server, program = (
        import_module(name)
        for name in ("own_adapter", "own_adapter.dialect", "own_adapter.server", "own_adapter.__main__")
    )
finally:
    sys.path.pop()

BODIES = [
    server.body(server.text("The Nile", " is 6,650 km long.")),
    server.body(server.text("ü\u2028→", "🌊", why="full")),
    server.body([("weather", {"of": "no interest"}), *server.text("Yes.")]),
]


def reed(client: httpx.AsyncClient) -> Any:
    return own.ReedAdapter("reed-2", api_key="reed-key", http_client=client)


@lutum.tool
async def depth(river: str) -> str:
    """How deep a river is."""
    return "11 m"


class River(Struct):
    name: str
    km: int


def test_it_uses_public_names_only() -> None:
    """As a third party's adapter has to."""
    found = set[str]()
    for name in ("adapter", "dialect"):
        for node in ast.walk(ast.parse((FOLDER / "own_adapter" / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    ours = {name for name in found if name.split(".")[0] == "lutum"}
    assert not [name for name in ours if any(part.startswith("_") for part in name.split("."))]
    kits = ("lutum.abc.", "lutum.dialect.", "lutum.transport.")
    assert {name for name in ours if not name.startswith(kits)} <= {
        "lutum",
        "lutum.CommittedTurn",
        "lutum.Response",
    }


async def test_it_keeps_the_promises() -> None:
    await check_adapter(reed, BODIES, cuts=60)


async def test_its_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    await program.main()
    assert capsys.readouterr().out == "It is 11 m deep.\n[17 tokens, exact]\n"


async def test_a_tool_round_goes_back_as_it_came() -> None:
    """The server compares the seal; members of a call that the adapter does not know go back too."""
    extra = [("call", {"call": "c1", "name": "depth", "input": {"river": "Nile"}, "mood": 1e2})]
    there = server.ReedServer([*extra, *server.call("depth", {}, "c2")], server.text("11 m."))
    llm = lutum.Lutum(reed(there.client()), budget=lutum.Budget(tokens=20_000))
    session = lutum.Session(llm)
    session.push_system("Be short.")
    session.push_user("How deep?")
    outcome = await session.text_turn().tools(lutum.Toolset(depth)).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    session.commit_round(outcome.round, [call.complete("11 m") for call in outcome.round.calls])
    preview = session.text_turn().preview()
    assert preview.first_difference is None
    assert [form.exact for form in preview.forms] == [True]
    session.commit_text(await session.text_turn().collect())
    first, second = there.requests
    assert second["lines"][: len(first["lines"])] == first["lines"]
    assert second["lines"][1]["parts"][0] == extra[0][1]
    assert (first["use"], second["use"]) == ("free", "never")
    assert first["system"] == [{"by": "system", "text": "Be short."}]
    assert llm.budget.reserved.total_tokens == 0


async def test_a_structured_value_in_own_adapter() -> None:
    there = server.ReedServer(server.text('{"name":"Nile",', '"km":6650}'))
    result = await lutum.Lutum(reed(there.client())).structured_turn(River, "Which?").collect()
    assert result.value == River("Nile", 6650)
    assert there.requests[0]["form"]["additionalProperties"] is False


async def test_turns_of_others_go_out_as_what_they_say() -> None:
    """And a turn whose seal was made for another model."""
    there = server.ReedServer(server.text("Two."), server.text("Three."))
    session = lutum.Session(lutum.Lutum(ScriptedAdapter([["One."]])))
    session.push_user("Count.")
    session.commit_text(await session.text_turn().collect())
    session = session.fork(llm=lutum.Lutum(reed(there.client())))
    session.push_user("On.")
    session.commit_text(await session.text_turn().collect())
    session.push_user("On.")
    forms = session.text_turn().preview().forms
    assert [form.exact for form in forms] == [False, True]
    other = session.text_turn().model("reed-3").preview()
    assert other.forms[1].reason.startswith("its seal belongs to reed-2")
    lines = json.loads(other.body)["lines"]
    assert [line["parts"] for line in lines if line["by"] == "model"] == [
        [{"text": "One."}],
        [{"text": "Two."}],
    ]


async def test_malformed_arguments_are_an_issue() -> None:
    there = server.ReedServer(server.call("depth", ["Nile"]))
    outcome = await lutum.Lutum(reed(there.client())).text_turn("?").tools(lutum.Toolset(depth)).collect()
    assert isinstance(outcome, lutum.NeedsTools)
    assert outcome.round.turn.inexact_reason == "the arguments of call 'c1' are not a JSON object"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda turn: turn.effort("high"), "effort"),
        (lambda turn: turn.ext(own.ReedOptions(extra_body={"system": [1], "tone": "warm"})), "extra_body"),
    ],
)
def test_what_reed_does_not_take_is_refused(change: Any, field: str) -> None:
    turn = lutum.Lutum(reed(server.ReedServer().client())).text_turn("hello")
    if field == "extra_body":
        assert b'"tone":"warm"' in change(turn).preview().body
        with pytest.raises(lutum.BadValue, match=r"extra_body\.lines"):
            own.ReedOptions(extra_body={"lines": []})
    else:
        with pytest.raises(lutum.BadValue, match=field):
            change(turn).preview()


def test_parts_that_reed_does_not_take_are_named() -> None:
    llm = lutum.Lutum(reed(server.ReedServer().client()))
    image = lutum.ModelInput().user([lutum.Text("what?"), lutum.Image.from_url("https://example.com/a.png")])
    with pytest.raises(lutum.BadValue, match=r"input\[0\]\.content\[1\]: .*not Image"):
        llm.text_turn(image).preview()
    with pytest.raises(lutum.BadValue, match=r"input\[0\]: is JSON of claude"):
        llm.text_turn(lutum.ModelInput().raw("claude", "{}")).preview()


async def test_errors_have_their_kind_and_the_rates_are_read() -> None:
    """Words of Reed's own, and pacing from the headers that the base class reads."""
    events = server.body([("error", {"error": {"type": "busy", "message": "later"}})])
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=events)))
    with pytest.raises(lutum.ProviderError, match="later") as found:
        await lutum.Lutum(reed(client)).text_turn("hello").collect()
    assert found.value.kind == "overloaded"
    wrong = own.ReedAdapter("reed-2", api_key="no", http_client=server.ReedServer().client())
    with pytest.raises(lutum.ProviderError, match="the key is wrong"):
        await lutum.Lutum(wrong).text_turn("hello").collect()
    headers = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "9"}
    assert [limit.left for limit in wrong.rate_limits(lutum.Response(headers=headers), 0.0)] == [9]


def test_a_key_is_asked_for_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REED_API_KEY", raising=False)
    turn = lutum.Lutum(own.ReedAdapter("reed-2")).text_turn("hello")
    with pytest.raises(lutum.BadValue, match="REED_API_KEY"):
        turn.preview()
    hidden = own.ReedAdapter("reed-2", api_key="sesame")
    assert "sesame" not in str(lutum.Lutum(hidden).text_turn("hello").preview())
