"""A chat: Ctrl-C stops the answer and keeps the received text, and `/undo` removes the last exchange.
Copy it when a person talks to a model."""

import signal

import anyio
from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [Reply("Nile."), Reply("Amazon."), Reply("The Danube.")]


async def stop_key(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)
    scope.cancel()


async def main(llm: lutum.Lutum) -> None:
    session, marks = lutum.Session(llm), list[lutum.Transcript]()
    while (line := await anyio.to_thread.run_sync(input, "> ")) != "/quit":
        if line == "/undo":
            session.transcript = marks.pop() if marks else session.transcript
            continue
        marks.append(session.transcript)
        session.push_user(line)
        async with anyio.create_task_group() as group, session.text_turn().stream() as turn:
            group.start_soon(stop_key, turn.cancel_scope)
            async for text in turn.text():
                print(text, end="", flush=True)
            session.commit_text(turn.result)
            group.cancel_scope.cancel()
        if turn.cancel_scope.cancel_called:
            session.push_assistant(turn.partial.text or "(stopped)")
        print(f" [{turn.usage.total_tokens} tokens]")


if __name__ == "__main__":
    run(main, REPLIES)
