"""A completion: one prompt, one answer, no conversation; a handler gets each event when it arrives.
Copy it when a model should continue a text, and nothing has to be remembered."""

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply("the river ", "forgot ", "the way ", "to the sea.")]


async def show(event: lutum.Event, view: lutum.View) -> None:
    match event:
        case lutum.TextDelta(text=text):
            print(text, end="", flush=True)
        case lutum.Completed():
            print(f"\n[{len(view.partial.text.split())} words, {view.usage.total_tokens} tokens]")
        case _:
            pass


async def main(llm: lutum.Lutum) -> None:
    prompt = "Once upon a time, "
    print(prompt, end="")
    result = await llm.completion(prompt).max_output_tokens(60).collect_with(show)
    print("finished:", result.finish_reason)


if __name__ == "__main__":
    run(main, REPLIES)
