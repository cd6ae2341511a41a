"""What the demo asks, and what its wire server answers: by the words of the last user message, since
branches arrive in any order."""

from __future__ import annotations

from typing import Any

from lutum.testing.wire import Answer, Cut, NeverEnding, Pause, Reply, Say, Step, Think, WireRequest, WireServer

__all__ = ["CUT", "ENDLESS", "LONGEST", "RIVERS", "WireServer", "describe_as", "server"]

RIVERS = "Name three rivers."
ENDLESS = "Count up, and do not stop."
CUT = "Tell me where the Danube begins."
LONGEST = "Which of them is the longest?"

# Seconds between two pieces: about as fast as a model writes, so that streaming can be seen.
PACE = 0.02


def describe_as(voice: str) -> str:
    return f"Describe them as a {voice} would, in two sentences."


_VOICES = {
    "pirate": "Arr, three fine waters they be, and I have sailed no one of them sober. The Danube's blue in the"
    " songs only, the Nile runs the wrong way, and the Mekong has more mouths than my crew.",
    "poet": "Three silver threads are sewn across the sleeping lands, and each one hums a different century."
    " Danube, Nile, Mekong: say them slowly, and you have already travelled.",
    "lawyer": "The parties of the first part (hereinafter 'the Rivers') flow without prejudice to any bank."
    " Nothing herein shall be construed as a warranty that either source or delta is fit for purpose.",
}


def server() -> WireServer:
    return WireServer(_answer)


def _answer(request: WireRequest) -> Answer:
    asked = _last_words(request.json)
    for voice, text in _VOICES.items():
        if voice in asked:
            return Reply(_paced(text))
    if asked == RIVERS:
        thought = Think(*_steps("Three well known ones, on different continents, so that they differ."))
        return Reply(thought, _paced("The Danube, the Nile and the Mekong."))
    if asked == ENDLESS:
        return Reply(NeverEnding("and one more, ", delay=PACE))
    if asked == CUT:
        return Reply(_paced("It begins in the Black Forest, where two small streams meet near"), Cut())
    return Reply(Think(*_steps("Nile: 6,650 km.")), _paced("The Nile, by some way."))


def _paced(text: str) -> Say:
    return Say(*_steps(text))


def _steps(text: str) -> list[str | Step]:
    steps = list[str | Step]()
    for word in text.split(" "):
        steps += [word + " ", Pause(PACE)]
    return [*steps[:-2], text.split(" ")[-1]]


def _last_words(body: Any) -> str:
    content = [message for message in body["messages"] if message["role"] == "user"][-1]["content"]
    return content if isinstance(content, str) else content[-1].get("text", "")
