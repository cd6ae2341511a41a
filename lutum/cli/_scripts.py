"""The questions of the demo, and the answers of its wire server. The last user message selects the answer,
because the requests of branches arrive in any order."""

from __future__ import annotations

from typing import Any

from lutum.testing.wire import Answer, Cut, Pause, Reply, Say, Step, Think, WireRequest, WireServer

RIVERS = "Name three rivers."
ENDLESS = "Count up, and do not stop."
CUT = "Tell me where the Danube begins."
POEM = "Write a very long poem."
LONGEST = "Which of them is the longest?"

# Seconds between two words: a little faster than a model writes, slow enough to be seen.
PACE = 0.04

# Far more words than can arrive before the timeout.
_NUMBERS = 500


def describe_as(voice: str) -> str:
    """Return the question of a branch."""
    return f"Describe them as a {voice} would, in two sentences."


VOICES = {
    "pirate": "Arr, three fine waters they be, and I have sailed no one of them sober. The Danube's blue in"
    " the songs only, the Nile runs the wrong way, and the Mekong has more mouths than my crew.",
    "poet": "Three silver threads are sewn across the sleeping lands, and each one hums a different century."
    " Danube, Nile, Mekong: say them slowly, and you have already travelled.",
    "lawyer": "The parties of the first part (hereinafter 'the Rivers') flow without prejudice to any bank."
    " Nothing herein shall be construed as a warranty that either source or delta is fit for purpose.",
}


def server() -> WireServer:
    """The provider of the demo."""
    return WireServer(_answer)


def _answer(request: WireRequest) -> Answer:
    asked = _last_words(request.json)
    for voice, text in VOICES.items():
        if asked == describe_as(voice):
            return Reply(Say(*_paced(text)))
    if asked == RIVERS:
        thought = Think(*_paced("Three well known ones, on different continents, so that they differ."))
        return Reply(thought, Say(*_paced("The Danube, the Nile and the Mekong.")))
    if asked == ENDLESS:
        return Reply(Say(*_paced(", ".join(map(str, range(1, _NUMBERS))))))
    if asked == CUT:
        return Reply(Say(*_paced("It begins in the Black Forest, where two small streams meet near ")), Cut())
    return Reply(Think(*_paced("Nile: 6,650 km.")), Say(*_paced("The Nile, by some way.")))


def _paced(text: str) -> list[str | Step]:
    first, *rest = text.split(" ")
    steps: list[str | Step] = [first]
    for word in rest:
        steps += [Pause(PACE), " " + word]
    return steps


def _last_words(body: Any) -> str:
    said = body.get("messages") or body.get("input") or body["contents"]
    message = [message for message in said if message.get("role") == "user"][-1]
    content = message["parts"] if "contents" in body else message["content"]
    return content if isinstance(content, str) else content[-1].get("text", "")
