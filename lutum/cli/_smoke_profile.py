"""`lutum smoke` at a Chat Completions server: the search for the `Profile` that fits the server.

The search asks questions. A question is one short turn whose request some hosts refuse. The answer is
whether the host refuses it. Any other error ends the search, because it shows nothing about the host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

import lutum
from lutum import ModelInput, Text
from lutum_openai import OpenAIChatAdapter, OpenAIOptions, Profile

BOUND = 64
"""The output limit of a question. The text of the answer does not matter."""

_REFUSED = frozenset({"invalid_request", "not_found", "too_large", "unknown", "server"})

_LOOK = lutum.Toolset(
    lutum.raw_tool(
        "look",
        {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
            "additionalProperties": False,
        },
        "Looks at a place.",
    )
)


class NamedPlace(msgspec.Struct):
    """A place."""

    name: str


@dataclass(slots=True)
class Search:
    """The findings so far: the values of the profile, and whether each question was accepted."""

    adapter: OpenAIChatAdapter
    budget: lutum.Budget
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: int = 0

    async def takes(self, ask: Callable[[lutum.Lutum], Awaitable[object]], **values: Any) -> bool:
        """Send a request with the values found so far and `values`. Return False if the host refuses it.

        Raises:
          TurnError: the host cannot be reached.
        """
        given: dict[str, Any] = {"empty_assistant": True, **self.values, **values}
        profile = Profile(**given)
        llm = lutum.Lutum(self.adapter.with_profile(profile), budget=self.budget)
        self.asked += 1
        try:
            await ask(llm)
        except lutum.ProviderError as error:
            if error.kind not in _REFUSED:
                raise
            return False
        return True

    async def prefer(self, name: str, ask: Callable[[lutum.Lutum], Awaitable[object]], *values: Any) -> None:
        """Keep the first value that the host accepts. The last value is kept without a question if the host
        refuses the others."""
        for value in values[:-1]:
            if await self.takes(ask, **{name: value}):
                self.values[name] = value
                return
        self.values[name] = values[-1]


async def find_profile(adapter: OpenAIChatAdapter, budget: lutum.Budget) -> tuple[Profile, int]:
    """Return the profile that fits the adapter's host, and the number of questions asked.

    Raises:
      TurnError: the host cannot be reached, or refuses the simplest request in every form.
    """
    search = Search(adapter, budget)
    if not await search.takes(_plain):
        await search.prefer("max_tokens", _plain, "max_tokens", "max_completion_tokens")
        if not await search.takes(_plain):
            await search.prefer("usage", _plain, True, False)
    await search.prefer("system", _systems, "any", "one")
    await search.prefer("alternate", _neighbours, False, True)
    await search.prefer("string_content", _parts, False, True)
    await search.prefer("empty_assistant", _silence, True, False)
    await search.prefer("developer", _developer, True, False)
    await search.prefer("null_content", _round, True, False)
    await search.prefer("after_tool", _behind_a_round, True, False)
    await search.prefer("strict", _strict, True, False)
    await search.prefer("tool_choice", _required, "any", "auto")
    await search.prefer("stops", _stops(8), None, 4)
    if search.values["stops"] is not None and not await search.takes(_stops(4)):
        search.values["stops"] = 1
    await search.prefer("structured", _value, "json_schema", "json_object")
    if await _shows_tags(search):
        search.values["think"] = ("think",)
    return Profile(**search.values), search.asked


def as_code(profile: Profile) -> str:
    """Return the profile as a line of Python, with the values that are not the default."""
    default = Profile()
    given = {
        name: value
        for name in Profile.__struct_fields__
        if (value := getattr(profile, name)) != getattr(default, name)
    }
    return f"Profile({', '.join(f'{name}={value!r}' for name, value in given.items())})"


async def _collected(turn: lutum.TextTurn[Any]) -> object:
    return await turn.max_output_tokens(BOUND).collect()


async def _plain(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn("Say OK."))


async def _systems(llm: lutum.Lutum) -> object:
    asked = ModelInput().system("Be brief.").system("Be kind.").user("Hi.").assistant("Hello.")
    return await _collected(llm.text_turn(asked.system("Answer in French.").user("Say OK.")))


async def _neighbours(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(ModelInput().user("Hi.").user("Say OK.")))


async def _parts(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(ModelInput().user([Text("Hi."), Text("Say OK.")])))


async def _silence(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(ModelInput().user("Hi.").assistant("").user("Say OK.")))


async def _developer(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(ModelInput().developer("Be brief.").user("Say OK.")))


def _looked() -> ModelInput:
    asked = ModelInput().user("Look at Oslo.")
    return asked.tool_result("call00001", "snow", name="look", arguments='{"place":"Oslo"}')


async def _round(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(_looked()).tools(_LOOK))


async def _behind_a_round(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn(_looked().user("Say OK.")).tools(_LOOK))


@lutum.tool
async def _look(place: str) -> str:
    """Looks at a place."""
    return place


async def _strict(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn("Look at Oslo.").tools(lutum.Toolset(_look)))


async def _required(llm: lutum.Lutum) -> object:
    return await _collected(llm.text_turn("Look at Oslo.").tools(_LOOK).require())


def _stops(count: int) -> Callable[[lutum.Lutum], Awaitable[object]]:
    async def ask(llm: lutum.Lutum) -> object:
        return await _collected(llm.text_turn("Say OK.").stop(*(f"stop {i}" for i in range(count))))

    return ask


async def _value(llm: lutum.Lutum) -> object:
    turn = llm.structured_turn(NamedPlace, "Name a place. Answer in JSON.").ext(OpenAIOptions())
    try:
        return await turn.max_output_tokens(BOUND * 4).collect()
    except (lutum.OutputInvalid, lutum.OutputLimitExceeded, lutum.Refused):
        return None  # the host accepted the request


async def _shows_tags(search: Search) -> bool:
    texts = list[str]()

    async def ask(llm: lutum.Lutum) -> object:
        result = await llm.text_turn("Is 91 a prime?").max_output_tokens(BOUND).collect()
        texts.append(result.text)
        return result

    await search.takes(ask)
    return any(text.lstrip().startswith("<think>") for text in texts)
