"""Ids on both sides of a pair, and what JSON mode wants said: what a request may not break."""

import httpx
import msgspec
import pytest
from openai_responses.responses_wire import SCOPE, adapter, body, call, message, prepare, turn

import lutum
from lutum import ModelInput, Text, ToolResult
from lutum.abc import OutputFormat, Prepared
from lutum.testing.wire import Reply, WireServer, check_openai_responses_request
from lutum_openai import OpenAIOptions

LONG = "call_" + "x" * 90
VALUE = OutputFormat("Value", '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}')
JSON_MODE = OpenAIOptions(structured="json_object")


class Value(msgspec.Struct):
    a: int


def round_of(made: lutum.CommittedTurn) -> lutum.Transcript:
    return ModelInput().user("x").turn(made).transcript.append(ToolResult(LONG, (Text("seen"),)))


def ids(prepared: Prepared) -> list[str]:
    return [item["call_id"] for item in body(prepared)["input"] if "call_id" in item]


def test_a_long_id_of_its_own() -> None:
    """A call that goes back as it came is answered by the id that came, however long."""
    made = turn(call(call_id=LONG))
    assert ids(prepare(round_of(made))) == [LONG, LONG]


def test_a_long_id_of_a_turn_that_is_inexact() -> None:
    """The same where the turn is inexact, but its items still go back."""
    made = turn(call(call_id=LONG, arguments="nonsense"))
    assert not made.exact
    assert ids(prepare(round_of(made))) == [LONG, LONG]


@pytest.mark.parametrize("changed", [{"scope": "elsewhere"}, {"adapter": "claude"}])
def test_a_long_id_of_another(changed: dict[str, str]) -> None:
    """Elsewhere the view goes out, and both sides have the digest."""
    asked, answered = ids(prepare(round_of(msgspec.structs.replace(turn(call(call_id=LONG)), **changed))))
    assert asked == answered != LONG
    assert len(asked) == 64


def test_json_mode_says_so() -> None:
    """JSON mode knows no schema and wants the word JSON: both are said last, for this request alone."""
    prepared = prepare(ModelInput().system("Be brief.").user("x"), output=VALUE, options=JSON_MODE)
    assert check_openai_responses_request(prepared.body) is None
    *before, said = body(prepared)["input"]
    assert [item["role"] for item in before] == ["system", "user"]
    assert said["role"] == "system"
    assert "JSON" in said["content"]
    assert VALUE.schema in said["content"]
    plain = prepare(ModelInput().system("Be brief.").user("x"))
    assert prepared.estimate.input_tokens > plain.estimate.input_tokens


def test_json_mode_is_append_only() -> None:
    """Nothing that was committed is edited: the next request begins with the same input."""
    asked = ModelInput().user("x")
    first = prepare(asked, output=VALUE, options=JSON_MODE)
    second = prepare(asked.turn(turn(message('{"a":1}'))).user("y"))
    assert adapter().first_difference(first, second) is None
    assert body(second)["input"][:1] == body(first)["input"][:1]
    third = prepare(asked.turn(turn(message('{"a":1}'))).user("y"), output=VALUE, options=JSON_MODE)
    assert adapter().first_difference(second, third) is None


async def test_json_mode_is_taken() -> None:
    """The API, which refuses JSON mode where nobody says JSON, takes it; the value is decoded."""
    server = WireServer([Reply('{"a":1}')])
    async with httpx.AsyncClient(transport=server.transport()) as client:
        via = adapter(base_url=f"http://{SCOPE}/v1", http_client=client)
        turn_ = lutum.Lutum(via).structured_turn(Value, "x").ext(JSON_MODE)
        assert (await turn_.collect()).value == Value(1)
