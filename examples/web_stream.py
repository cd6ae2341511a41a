"""A web server that streams: a turn runs in the application's task group and fills a log of frames.
Copy it for a chat in a browser: a page that is loaded again continues to read, and the turn is not lost."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from _provider import run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import lutum
from lutum.testing.wire import NeverEnding, Reply

# It needs `pip install starlette uvicorn`. Look at it with: curl -Nd 'A story.' localhost:8000/chat/1
# and again, from where you left: curl -N localhost:8000/chat/1 -H 'Last-Event-ID: 7'
REPLIES = [Reply(NeverEnding("and the river runs on ", delay=0.2))]


class Chat:
    """A session, and in memory the frames of its last turn, as `RecordingAdapter` records them."""

    def __init__(self, llm: lutum.Lutum) -> None:
        self.session = lutum.Session(llm)
        self.frames = list[bytes]()
        self.running: anyio.CancelScope | None = None
        self._more = anyio.Event()

    def ask(self, words: str) -> lutum.Stream[lutum.TextResult]:
        """Return the turn that answers, and empty the log. `answer` runs this turn."""
        self.session.push_user(words)
        turn = self.session.text_turn().max_output_tokens(1_000).stream()
        self.frames, self.running = [], turn.cancel_scope
        return turn

    async def answer(self, turn: lutum.Stream[lutum.TextResult]) -> None:
        """Run a turn to its end, with or without readers. The text of a stopped turn is kept."""
        try:
            async with turn:
                async for event in turn:
                    self._put(lutum.encode_frame([event]))
            self.session.commit_text(turn.result)
        except (lutum.TurnError, lutum.TurnNotFinished):  # the turn failed or was stopped
            self.session.push_assistant(turn.partial.text or "(nothing)")
        finally:
            self.running = None
            self._wake()

    async def read(self, start: int) -> AsyncGenerator[str]:
        """Yield the text from frame `start` on, as server-sent events. Their id is the next frame's index."""
        while True:
            more = self._more
            for index, frame in enumerate(self.frames[start:], start + 1):
                for event in lutum.decode_frame(frame):
                    if isinstance(event, lutum.TextDelta):
                        lines = event.text.replace("\n", "\ndata: ")
                        yield f"id: {index}\ndata: {lines}\n\n"
                start = index
            if self.running is None and start >= len(self.frames):
                return
            await more.wait()

    def _put(self, frame: bytes) -> None:
        self.frames.append(frame)
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = anyio.Event()


def application(llm: lutum.Lutum, chats: dict[str, Chat]) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as turns:
            app.state.turns = turns
            yield
            turns.cancel_scope.cancel()

    async def ask(request: Request) -> Response:
        chat = chats.setdefault(request.path_params["name"], Chat(llm))
        if chat.running is not None:
            return PlainTextResponse("The last question is still being answered.", 409)
        turn = chat.ask((await request.body()).decode())
        request.app.state.turns.start_soon(chat.answer, turn)
        return await read(request)

    async def read(request: Request) -> Response:
        chat = chats.get(request.path_params["name"])
        start = request.headers.get("last-event-id", "0")  # a browser's EventSource sends this header
        if chat is None or not start.isdecimal():
            return PlainTextResponse("There is no such answer.", 404)
        return StreamingResponse(chat.read(int(start)), media_type="text/event-stream")

    async def stop(request: Request) -> Response:
        chat = chats.get(request.path_params["name"])
        if chat is not None and chat.running is not None:
            chat.running.cancel()
        return Response(status_code=204)

    paths = {"POST": ask, "GET": read, "DELETE": stop}
    routes = [Route("/chat/{name}", endpoint, methods=[method]) for method, endpoint in paths.items()]
    return Starlette(routes=routes, lifespan=lifespan)


async def main(llm: lutum.Lutum) -> None:
    await uvicorn.Server(uvicorn.Config(application(llm, {}), port=8000)).serve()


if __name__ == "__main__":
    run(main, REPLIES, backend="asyncio")  # uvicorn supports only asyncio
