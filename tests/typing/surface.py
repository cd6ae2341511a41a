"""Names that do not exist are errors, and modules that are loaded late are typed."""

from typing import assert_type

import lutum
from lutum.trace import Subscription


def wrong() -> None:
    print(lutum.Sesion)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def late() -> None:
    assert_type(lutum.trace.capture(), lutum.trace.capture)
    print(Subscription, lutum.testing.WireServer, lutum.dialect.usage.settle)


async def by_name() -> None:
    made = lutum.adapter("claude:claude-sonnet-4-5", options=lutum.ClaudeOptions(effort="low"))
    async with made as claude:
        llm = lutum.Lutum(claude)
        assert_type(await llm.text_turn("x").collect(), lutum.TextResult)
