"""Tools and values at servers that nobody here wrote. Random weights call no tool unless made to."""

from typing import Literal

import msgspec
import pytest

import lutum
from lutum_claude import ClaudeOptions
from lutum_openai import OpenAIOptions


class Answer(msgspec.Struct):
    """Short and of no length to choose, so that random words end."""

    sky: Literal["blue", "grey"]
    rain: bool


PLACE = {"type": "object", "properties": {"at": {"enum": ["sea", "hills"]}}, "required": ["at"]}
TOOLS = lutum.Toolset(lutum.raw_tool("weather", PLACE, "The weather at a place."))


async def test_a_tool_round_in_peers(llm: lutum.Lutum) -> None:
    """A call that is asked for is made, run, committed with its result, and goes back in the next request."""
    session = lutum.Session(llm)
    session.push_user("Weather?")
    turn = session.text_turn().tools(TOOLS).require("weather").max_output_tokens(200)
    outcome = await turn.collect()
    if isinstance(outcome, lutum.Finished):
        pytest.skip("lacks it: answers in words though made to call a tool")
    call = outcome.round.expect_one()
    session.commit_round(outcome.round, [call.complete(f"Fine at the {call.input['at']}.")])
    session.push_user("And?")
    after = session.text_turn().max_output_tokens(12)
    assert after.preview().first_difference is None
    assert all(form.exact for form in after.preview().forms)
    session.commit_text(await after.collect())


@pytest.mark.parametrize("way", ["json_schema", "json_object", "tool"])
async def test_a_value_in_peers(llm: lutum.Lutum, way: Literal["json_schema", "json_object", "tool"]) -> None:
    """A value of a type comes out, or an error that says what came instead; never a value that is none."""
    claude: Literal["format", "tool"] = "tool" if way == "tool" else "format"
    turn = (
        llm.structured_turn(Answer, "Weather, in JSON?")
        .max_output_tokens(200)
        .ext(OpenAIOptions(structured=way), ClaudeOptions(structured=claude))
    )
    try:
        result = await turn.collect()
    except (lutum.ProviderError, lutum.OutputInvalid, lutum.OutputLimitExceeded) as error:
        assert llm.budget.reserved.total_tokens == 0
        pytest.skip(f"lacks it: {type(error).__name__}: {error}"[:300])
    assert isinstance(result.value, Answer)
