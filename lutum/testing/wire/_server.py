"""`WireServer`: the scripts, the log of requests, and the loopback socket that it listens on.

`WireServer` decides the answer to each request. `_socket`, `_stream` and `_memory` send the answer over a
socket, a byte stream in memory or an httpx transport. All three call `receive` and `plan`, so they share the
scripts and the log.
"""

import errno
import math
import socket
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, final

import anyio
import anyio.lowlevel
import httpx

from lutum.testing.wire._background import Background
from lutum.testing.wire._claude import ClaudeDialect
from lutum.testing.wire._claude_batches import ClaudeBatchesDialect
from lutum.testing.wire._claude_vertex import ClaudeVertexDialect
from lutum.testing.wire._dialect import Dialect
from lutum.testing.wire._error import WireError
from lutum.testing.wire._gemini import GeminiDialect
from lutum.testing.wire._gemini_batches import GeminiBatchesDialect
from lutum.testing.wire._memory import WireTransport
from lutum.testing.wire._openai import Bills
from lutum.testing.wire._openai_batches import OpenAIBatchesDialect
from lutum.testing.wire._openai_chat import OpenAIChatDialect
from lutum.testing.wire._openai_chat_render import Reasoning
from lutum.testing.wire._openai_completions import OpenAICompletionsDialect
from lutum.testing.wire._openai_generation import OpenRouterGenerationDialect
from lutum.testing.wire._openai_responses import OpenAIResponsesDialect
from lutum.testing.wire._plan import AnswerHead, Burst, Wait, WirePlan, build
from lutum.testing.wire._prompt_cache import PromptCache
from lutum.testing.wire._request import Outcome, WireRequest
from lutum.testing.wire._script import (
    Answer,
    At,
    BeforeHead,
    Chunking,
    Cut,
    CutAt,
    ErrorEvent,
    Garbage,
    NeverEnding,
    Pause,
    Refuse,
    Reply,
    Reset,
    Script,
    SlowClose,
    Stall,
    Status,
)
from lutum.testing.wire._socket import listen, serve
from lutum.testing.wire._stream import WireStream

__all__ = ["WireServer"]


@final
class WireServer:
    """A model provider in the test process: it implements the protocols, follows scripts, and logs requests.

    `scripts` are answers, or functions that take the request and return an answer. Each request uses the
    next script. When no script is left, `default` answers. Without `default`, the answer is an error 500 that
    says so. If `scripts` is a single function, it answers every request. If the provider would refuse a
    request, the server sends the provider's error and uses no script. Counting tokens and reading stored
    objects use no script either.

    To use the server over a socket, write `async with WireServer([...]) as server`, and give `server.url` to
    the adapter. In memory it needs no block and runs under virtual time: `http_client=server.connect` uses
    lutum's own HTTP engine, and `server.transport()` is for an httpx client.

    - `chunking` is for replies that have no `chunking` of their own.
    - With `signing`, thinking blocks are signed, and refused if they come back edited.
    - With `bind_prefix`, thinking blocks are also refused if the content before them is not the original
      content. This holds for every model.
    - With `api_key`, requests must have the key.
    - With `prompt_cache`, Claude's and OpenAI's answers bill cache reads and writes as the providers document
      it. `WireRequest.cache` has the figures.
    - `chat_reasoning` is the member in which Chat Completions shows reasoning. The default is OpenRouter's
      `reasoning_details` below `/api/v1/`, else `reasoning_content`.

    The server implements these protocols, each on its paths: Claude's Messages, also in the form of Vertex
    AI; OpenAI's Responses, Chat Completions and Completions; Gemini's `generateContent`; and OpenRouter's
    record of a generation, which is missing for the first `generation_misses` requests.

    The server accepts batches of Claude, OpenAI and Gemini. Each entry of a batch is a separate request in
    the log, and is answered when the batch is created. The first `batch_polls` status requests of a batch
    report that it is in progress.
    """

    def __init__(
        self,
        scripts: Iterable[Script] | Callable[[WireRequest], Answer] = (),
        *,
        default: Script | None = None,
        chunking: Chunking = "event",
        signing: bool = True,
        bind_prefix: bool = True,
        api_key: str | None = None,
        chat_reasoning: Reasoning | None = None,
        generation_misses: int = 2,
        batch_polls: int = 1,
        prompt_cache: bool = False,
    ) -> None:
        bills = Bills()
        claude = ClaudeDialect(signing=signing, bind_prefix=bind_prefix, api_key=api_key)
        gemini = GeminiDialect(signing=signing, api_key=api_key)
        self._scripts: deque[Script] = deque(() if callable(scripts) else scripts)
        self._default = scripts if callable(scripts) else default
        self._chunking: Chunking = chunking
        self._dialects: tuple[Dialect, ...] = (
            claude,
            ClaudeVertexDialect(claude),
            OpenAIResponsesDialect(signing=signing, api_key=api_key, bills=bills),
            OpenAIChatDialect(signing=signing, api_key=api_key, reasoning=chat_reasoning, bills=bills),
            OpenAICompletionsDialect(api_key=api_key),
            gemini,
            GeminiBatchesDialect(gemini, self._inner, polls=batch_polls),
            OpenRouterGenerationDialect(api_key=api_key, misses=generation_misses, bills=bills),
            ClaudeBatchesDialect(self._inner, polls=batch_polls, api_key=api_key),
            OpenAIBatchesDialect(self._inner, polls=batch_polls, api_key=api_key),
        )
        self._cache = PromptCache() if prompt_cache else None
        self._listener: socket.socket | None = None
        self._task: Background | None = None
        self._requests: list[WireRequest] = []

    @property
    def requests(self) -> list[WireRequest]:
        """Every request so far, over sockets and in memory, in the order in which they arrived completely."""
        return self._requests

    def outcomes(self) -> list[Outcome]:
        """The outcome of each request's answer. It is "open" while the answer is in progress."""
        return [request.outcome for request in self._requests]

    def add(self, *scripts: Script) -> None:
        """Append to the scripts."""
        self._scripts.extend(scripts)

    @property
    def url(self) -> str:
        """The base URL. If the server does not listen on a socket, the URL works only in memory."""
        if self._listener is None:
            return "http://wire.test"
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def transport(self) -> WireTransport:
        """Return a transport in memory, for `httpx.AsyncClient(transport=...)`: no socket and no thread."""
        return WireTransport(self.receive, self.plan)

    async def connect(self, host: str = "wire.test", port: int = 80) -> WireStream:
        """Open a connection in memory for lutum's HTTP engine: a byte stream with no socket, thread or task.

        Give the function itself to an adapter, as `http_client=server.connect`. If the next script is a
        `Refuse`, it takes effect here, because it needs no request.

        This is a checkpoint only if it has to wait.

        Raises:
          OSError: the script refuses the connection.
        """
        del host, port  # every name leads to this server
        await anyio.lowlevel.checkpoint()
        following = self._following
        if isinstance(following, Refuse):
            if self._scripts:
                self._scripts.popleft()
            await anyio.sleep(math.inf if following.after is None else following.after)
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return WireStream(self.receive, self.plan, lambda: isinstance(self._following, Refuse))

    @property
    def _following(self) -> Script | None:
        return self._scripts[0] if self._scripts else self._default

    async def __aenter__(self) -> Self:
        """Listen on a free loopback port; a checkpoint.

        The block may be left in another task, as fixtures of pytest-asyncio are.
        """
        if self._listener is not None:
            raise RuntimeError("this server is listening already")
        await anyio.lowlevel.checkpoint()
        self._listener = listener = listen()
        self._task = Background(lambda: serve(listener, self.receive, self.plan))
        self._task.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection; unfinished answers end as "stopped". Cancellation does not interrupt it.

        This is a checkpoint only if it has to wait.
        """
        assert self._task is not None
        assert self._listener is not None
        try:
            await self._task.stop()
        finally:
            self._listener.close()
            self._listener = self._task = None

    def receive(self, method: str, target: str, headers: httpx.Headers, body: bytes) -> WireRequest:
        """Log a request that arrived completely."""
        request = WireRequest(len(self._requests), method, target, headers, body)
        self._requests.append(request)
        return request

    def plan(self, request: WireRequest) -> WirePlan:
        """Decide the answer to a request."""
        dialect = next((one for one in self._dialects if one.matches(request)), None)
        if dialect is None:
            request.error = WireError(
                f"the wire server does not serve {request.path}", status=404, type="not_found_error"
            )
            return _failure(self._dialects[0], request, request.error)
        try:
            request.error = dialect.check(request)
            if request.error is not None:
                return _failure(dialect, request, request.error)
            if self._cache is not None and request.method == "POST":
                request.cache = self._cache.look_up(request)
            if (body := dialect.answer(request)) is not None:
                return _whole(200, dialect.headers(request), body)
            return self._scripted(dialect, request)
        except Exception as error:
            # The test has a mistake. It is sent as an answer, because raising it here would end the server.
            text = f"the script of request {request.number} failed: {type(error).__name__}: {error}"
            return _failure(dialect, request, WireError(text, status=500, type="api_error"))

    def _inner(self, outer: WireRequest, path: str, body: bytes) -> tuple[int | None, bytes]:
        """Answer a request inside another request. If the answer is incomplete, return None and b""."""
        request = self.receive("POST", path, outer.headers, body)
        plan = self.plan(request)
        request.end("completed" if plan.ending == "end" else "cut")
        if not isinstance(plan.head, AnswerHead) or plan.ending != "end":
            return None, b""
        bursts = [part for part in plan.body if isinstance(part, Burst)]
        return plan.head.status, b"".join(chunk for burst in bursts for chunk in burst.chunks)

    def _scripted(self, dialect: Dialect, request: WireRequest) -> WirePlan:
        script = self._scripts.popleft() if self._scripts else self._default
        if script is None:
            raise LookupError("no script is left, and the server has no default")
        answer = script if isinstance(script, Reply | Status | Refuse) else script(request)
        match answer:
            case Refuse(after):
                return WirePlan(connect=Wait(after))
            case Status(status, error_type, message, headers, body):
                kind = error_type or dialect.error_type(status)
                if body is None:
                    body = dialect.error(request, WireError(message, status=status, type=kind))
                return _whole(status, dialect.headers(request) | dict(headers), body)
            case Reply():
                return self._reply(dialect, request, answer)

    def _reply(self, dialect: Dialect, request: WireRequest, reply: Reply) -> WirePlan:
        rendered = dialect.render(request, reply)
        headers = dialect.headers(request) | dict(reply.headers)

        def error_event(event: ErrorEvent) -> bytes:
            return dialect.error_event(request, event)

        if rendered.stream:
            head = AnswerHead(200, _stream_headers(headers), chunked=True)
            chunking = self._chunking if reply.chunking is None else reply.chunking
            return build(head, rendered.items, reply.parts, chunking, error_event)
        # Without streaming, steps among the parts happen before the head, while the provider still works.
        busy: list[BeforeHead] = []
        for item in (*rendered.items, *(part.step for part in reply.parts if isinstance(part, At))):
            if isinstance(item, ErrorEvent):
                error = WireError(
                    item.message, status=dialect.status_of(item.error_type), type=item.error_type
                )
                return _failure(dialect, request, error)
            if isinstance(item, Pause | Stall | Garbage | Cut | Reset):
                busy.append(BeforeHead(item))
        if any(isinstance(part, NeverEnding) for part in reply.parts):
            busy.append(BeforeHead(Stall()))
        body = rendered.items[-1]
        assert isinstance(body, bytes)
        faults = [part for part in reply.parts if isinstance(part, BeforeHead | CutAt | SlowClose)]
        chunking = reply.chunking if isinstance(reply.chunking, tuple) else "burst"
        return build(_json_head(200, headers, body), [body], [*busy, *faults], chunking, error_event)


def _failure(dialect: Dialect, request: WireRequest, error: WireError) -> WirePlan:
    return _whole(error.status, dialect.headers(request), dialect.error(request, error))


def _whole(status: int, headers: dict[str, str], body: bytes) -> WirePlan:
    return WirePlan(head=_json_head(status, headers, body), body=(Burst((body,)),))


def _json_head(status: int, headers: dict[str, str], body: bytes) -> AnswerHead:
    given = {"content-type": "application/json", **headers, "content-length": str(len(body))}
    return AnswerHead(status, tuple(given.items()), chunked=False)


def _stream_headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    given = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        **headers,
        "transfer-encoding": "chunked",
    }
    return tuple(given.items())
