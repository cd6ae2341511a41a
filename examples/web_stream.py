"""A web server that streams: each response runs its turn in a task group of its own and feeds a channel.
Copy it for a chat in a browser: who closes the page stops the provider, and what was said is kept."""

import anyio
import uvicorn
from _provider import run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import lutum
from lutum.testing.wire import NeverEnding, Reply

# Look at it with: curl -Nd 'A story.' localhost:8000/chat/1
REPLIES = [Reply(NeverEnding("and the river runs on ", delay=0.2))]


class Answer(StreamingResponse):
    """The session's next turn as text/plain. What the browser left unfinished is kept as words."""

    def __init__(self, session: lutum.Session) -> None:
        self._session = session
        self._send, self._pieces = anyio.create_memory_object_stream[str](16)
        super().__init__(self._pieces, media_type="text/plain")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group, self._pieces:
            group.start_soon(self._feed)
            group.start_soon(self._watch, receive, group.cancel_scope)
            await self.stream_response(send)
            group.cancel_scope.cancel()

    async def _feed(self) -> None:
        stream = self._session.text_turn().max_output_tokens(1_000).stream()
        try:
            async with self._send, stream:
                async for text in stream.text():
                    await self._send.send(text)
            self._session.commit_text(stream.result)
        except BaseException:  # the browser left, or the turn failed; its socket is closed, its cost settled
            self._session.push_assistant(stream.partial.text or "(nothing)")
            raise

    async def _watch(self, receive: Receive, scope: anyio.CancelScope) -> None:
        await self.listen_for_disconnect(receive)
        scope.cancel()


def application(llm: lutum.Lutum, sessions: dict[str, lutum.Session]) -> Starlette:
    async def chat(request: Request) -> Answer:
        session = sessions.setdefault(request.path_params["name"], lutum.Session(llm))
        session.push_user((await request.body()).decode())
        return Answer(session)

    return Starlette(routes=[Route("/chat/{name}", chat, methods=["POST"])])


async def main(llm: lutum.Lutum) -> None:
    await uvicorn.Server(uvicorn.Config(application(llm, {}), port=8000)).serve()


if __name__ == "__main__":
    run(main, REPLIES, backend="asyncio")  # which is all that uvicorn knows
