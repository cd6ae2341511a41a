"""The provider that the pages talk to: a wire server that answers by the words of the last message.

`tests/test_docs.py` runs the pages against it, and `scripts/pictures.py` makes their pictures with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lutum.testing.wire import Call, Pause, Reply, Say, Step, WireRequest

RIVERS = ["The Nile, ", "the Danube ", "and the Mekong."]
ANSWERS: dict[str, Sequence[str]] = {
    "Name three rivers.": RIVERS,
    "Which one is the longest?": ["The Nile: ", "6,650 km."],
    "Name a river in Europe.": ["The Danube."],
    "Invite Ann to dinner.": ["Would you like ", "to have dinner with us, Ann?"],
    "Make it formal.": ["Dear Ann, ", "it would be our pleasure ", "to have you for dinner."],
    "Make it short.": ["Ann, ", "dinner on Friday?"],
    "Write a poem about the sea.": ["The sea ", "has no end, ", "and neither has this poem."],
}
VALUES: dict[str, Sequence[str]] = {
    "Which river is the longest?": [
        '{"name": "Ni',
        'le", "km": 66',
        '50, "countries"',
        ': ["Egypt", "Su',
        'dan"]}',
    ],
}


def answer(request: WireRequest, pace: float = 0.0) -> Reply:
    """Answer a request of Claude's Messages API; with `pace`, that many seconds before each piece."""
    asked: Any = request.json
    blocks = [block for message in asked["messages"] for block in _blocks(message)]
    if asked.get("tools") and blocks[-1]["type"] != "tool_result":
        return Reply(Call(asked["tools"][0]["name"], {"city": "Oslo"}))
    if blocks[-1]["type"] == "tool_result":
        return Reply(Say(*_paced(["Yes: it is ", f"{_text(blocks[-1])}."], pace)))
    said = str(blocks[-1]["text"])
    if (value := VALUES.get(said)) is not None and asked.get("output_config"):
        return Reply(Say(*_paced(value, pace)))
    return Reply(Say(*_paced(ANSWERS.get(said, RIVERS), pace)))


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(block: dict[str, Any]) -> str:
    content = block["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _paced(pieces: Sequence[str], pace: float) -> list[str | Step]:
    steps = list[str | Step]()
    for piece in pieces:
        steps += [Pause(pace), piece] if pace and steps else [piece]
    return steps
