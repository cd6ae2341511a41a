"""Fan-in: three models answer at once into one channel, which is read as one stream; each model can be
cancelled alone. Copy it to show several answers side by side, or to race them."""

import anyio
from _provider import run
from anyio.streams.memory import MemoryObjectSendStream

import lutum
from lutum.testing.wire import NeverEnding, Reply, WireRequest

MODELS = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")


def answer(request: WireRequest) -> Reply:
    match request.json["model"]:
        case "claude-opus-4-5":
            return Reply(NeverEnding("and on "))
        case model:
            return Reply(f"The Nile, says {model}.")


REPLIES = answer
Piece = tuple[str, str]


async def feed(
    stream: lutum.Stream[lutum.TextResult], name: str, send: MemoryObjectSendStream[Piece]
) -> None:
    async with send, stream:
        async for text in stream.text():
            await send.send((name, text))


async def main(llm: lutum.Lutum) -> None:
    asked = llm.text_turn("Which river is the longest?").max_output_tokens(300)
    streams = {model: asked.model(model).stream() for model in MODELS}
    send, receive = anyio.create_memory_object_stream[Piece](16)
    async with anyio.create_task_group() as group, receive:
        with send:
            for model, stream in streams.items():
                group.start_soon(feed, stream, model, send.clone())
        async for model, _ in receive:  # ends when the last model has ended
            if len(streams[model].partial.text) > 50:
                streams[model].cancel_scope.cancel()  # its block ends quietly, and the others continue
    for model, stream in streams.items():
        stopped = "stopped" if stream.cancel_scope.cancel_called else "whole"
        print(f"{model}: {stopped}, {stream.partial.text[:40].strip()!r}, {stream.usage.known}")


if __name__ == "__main__":
    run(main, REPLIES)
