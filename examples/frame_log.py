"""A frame log: the events of a turn are kept as the bytes that you received, and can be played again without
a provider. Copy it to make a test from a real answer, and to inspect a past turn again."""

from _provider import run

import lutum
from lutum.testing import RecordingAdapter, ReplayAdapter, dump_logs, load_logs
from lutum.testing.wire import Reply, Think

REPLIES = [Reply(Think("The longest one."), "The Nile ", "is 6,650 km long.")]


async def ask(llm: lutum.Lutum) -> list[lutum.Event]:
    seen = list[lutum.Event]()
    async with llm.text_turn("How long is the longest river?").max_output_tokens(300).stream() as turn:
        async for event in turn:
            seen.append(event)
    return seen


async def main(llm: lutum.Lutum) -> None:
    recorder = RecordingAdapter(llm.adapter)
    live = await ask(lutum.Lutum(recorder))
    dump_logs(recorder.logs, "river.frames")  # the file contains no key and no header

    [log] = load_logs("river.frames")
    print(f"{len(log.frames)} frames, {len(log.events)} events")
    again = await ask(lutum.Lutum(ReplayAdapter(llm.adapter, [log])))
    for event in again:
        print(" ", type(event).__name__, getattr(event, "text", ""))
    print("the same:", again == live == log.events)


if __name__ == "__main__":
    run(main, REPLIES)
