"""A web server whose answer stops when the client leaves: the turn is cancelled, and the spending ends.
Copy it if you do not want to pay for an answer that nobody reads."""

import anyio
import uvicorn
from _provider import run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import lutum
from lutum.testing.wire import NeverEnding, Reply

# It needs `pip install starlette uvicorn`. Look at it with: curl -Nd 'A story.' localhost:8000/ask
# and press Ctrl-C: the server prints the cost of the partial answer.
REPLIES = [Reply(NeverEnding("and the river runs on ", delay=0.2))]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


class Ask:
    """An ASGI endpoint: one task sends the answer, another waits until the client disconnects."""

    def __init__(self, llm: lutum.Lutum) -> None:
        self.llm = llm

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        words = (await Request(scope, receive).body()).decode()
        turn = self.llm.text_turn(words).max_output_tokens(1_000).stream()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.answer, turn, send, tasks.cancel_scope)
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()  # ends the turn's block, which closes the connection and settles
        print(f"{turn.usage.output_tokens} tokens of output were charged ({turn.usage.known})")

    async def answer(
        self, turn: lutum.Stream[lutum.TextResult], send: Send, request: anyio.CancelScope
    ) -> None:
        async with turn:  # a refused request raises here, before the status is sent
            await send(START)
            async for text in turn.text():
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body"})
        request.cancel()  # the answer is complete: end the wait for a disconnect


def application(llm: lutum.Lutum) -> Starlette:
    return Starlette(routes=[Route("/ask", Ask(llm), methods=["POST"])])


async def main(llm: lutum.Lutum) -> None:
    await uvicorn.Server(uvicorn.Config(application(llm), port=8000)).serve()


if __name__ == "__main__":
    run(main, REPLIES, backend="asyncio")  # uvicorn supports only asyncio
