"""The server of all clients: one process, asyncio protocols, answers that are made in advance.

    python benchmarks/server.py          prints its URL, and serves until its input ends

The base URL of a client selects the answer:

    http://127.0.0.1:PORT/KIND/EVENTS/PER_CHUNK/GAP_MS

KIND is `text`, `tool-SIZE` (arguments of a call) or `json-SIZE` (a structured value), for example
`tool-65536`. SIZE is the number of characters, which are sent in deltas of equal length. The server sends
EVENTS deltas, each HTTP chunk with PER_CHUNK of them, and waits GAP_MS between two chunks; with 0, it
writes everything at once. The end of the path selects the dialect. `/closed/NAME` answers after the client
of `/hang-NAME/...` has closed its connection, with the time at which the server saw the close.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

MODEL = "bench-model"
Encode = Callable[[object], bytes]


class Answer(NamedTuple):
    """The bytes of a response, chunk by chunk; the last chunk ends the response."""

    head: bytes
    chunks: tuple[bytes, ...]
    whole: bytes


def words(events: int) -> list[str]:
    """Return the deltas of a text. All are different, so that a lost delta changes the text."""
    return [f"word{number} " for number in range(events)]


def json_text(size: int) -> str:
    """Return a JSON object of exactly `size` characters: a table of rows with some prose in each."""
    head, tail = '{"rows":[', '],"end":""}'
    row = '{"name":"Ada","age":36,"notes":"%s"}' % ("She wrote the first program. " * 6)
    count = (size - len(head) - len(tail)) // (len(row) + 1)
    text = head + ",".join([row] * count) + tail
    return text[:-2] + "x" * (size - len(text)) + '"}'


def pieces(kind: str, events: int) -> list[str]:
    """Return the content of each delta of an answer."""
    name, _, size = kind.partition("-")
    if name not in ("tool", "json"):
        return words(events)
    text = json_text(int(size))
    assert len(text) % events == 0, "deltas of equal length"
    step = len(text) // events
    return [text[at : at + step] for at in range(0, len(text), step)]


@cache
def answer(dialect: str, kind: str, events: int, per_chunk: int) -> Answer:
    """Return the whole response, which is made once."""
    render = {"messages": claude, "completions": chat, "responses": responses, "gemini": gemini}[dialect]
    sent = list(render(pieces(kind, events), kind.startswith("tool"), per_chunk))
    chunks = (*(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in sent), b"0\r\n\r\n")
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"request-id: req_bench\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return Answer(head, chunks, head + b"".join(chunks))


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def named(value: dict[str, object]) -> bytes:
    """Return an event whose name is its type, as Claude and Responses send them."""
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), compact(value))


def in_chunks(before: bytes, deltas: Iterator[bytes], after: bytes, per_chunk: int) -> Iterator[bytes]:
    """Yield the opening of the answer in one chunk, then the deltas, then the end in another chunk."""
    yield before
    held: list[bytes] = []
    for delta in deltas:
        held.append(delta)
        if len(held) == per_chunk:
            yield b"".join(held)
            held.clear()
    if held:
        yield b"".join(held)
    yield after


def claude(deltas: list[str], tool: bool, per_chunk: int) -> Iterator[bytes]:
    usage: dict[str, object] = {
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }
    message: dict[str, object] = {
        "model": MODEL,
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    block = (
        {"type": "tool_use", "id": "toolu_1", "name": "save", "input": {}}
        if tool
        else {"type": "text", "text": ""}
    )
    kind, member = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
    before = named({"type": "message_start", "message": message})
    before += named({"type": "content_block_start", "index": 0, "content_block": block})
    stop = {"stop_reason": "tool_use" if tool else "end_turn", "stop_sequence": None}
    after = named({"type": "content_block_stop", "index": 0})
    after += named({"type": "message_delta", "delta": stop, "usage": {**usage, "output_tokens": len(deltas)}})
    after += named({"type": "message_stop"})
    each = (
        named({"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: delta}})
        for delta in deltas
    )
    return in_chunks(before, each, after, per_chunk)


def chat(deltas: list[str], tool: bool, per_chunk: int) -> Iterator[bytes]:
    def chunk(delta: dict[str, object] | None, finish: str | None = None, usage: object = None) -> bytes:
        choice: dict[str, object] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        value = {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1786505969,
            "model": MODEL,
            "service_tier": "default",
            "system_fingerprint": "fp_e7eb9f2bc2",
            "choices": [] if delta is None else [choice],
            "usage": usage,
            "obfuscation": "x4QFvGtH",
        }
        return b"data: %b\n\n" % compact(value)

    def piece(delta: str) -> bytes:
        if not tool:
            return chunk({"content": delta})
        return chunk({"tool_calls": [{"index": 0, "function": {"arguments": delta}}]})

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "save", "arguments": ""}}
    before = chunk({"role": "assistant", "content": None if tool else "", "refusal": None})
    before += chunk({"tool_calls": [call]}) if tool else b""
    usage = {"prompt_tokens": 9, "completion_tokens": len(deltas), "total_tokens": 9 + len(deltas)}
    after = chunk({}, "tool_calls" if tool else "stop") + chunk(None, usage=usage) + b"data: [DONE]\n\n"
    return in_chunks(before, map(piece, deltas), after, per_chunk)


def responses(deltas: list[str], tool: bool, per_chunk: int) -> Iterator[bytes]:
    number = 0

    def event(kind: str, **members: object) -> bytes:
        nonlocal number
        number += 1
        return named({"type": f"response.{kind}", "sequence_number": number - 1, **members})

    def response(status: str, output: list[object], usage: object) -> dict[str, object]:
        return {
            "id": "resp_bench",
            "object": "response",
            "created_at": 1786505969,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "model": MODEL,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "metadata": {},
        }

    text = "".join(deltas)

    def item(said: str, status: str) -> dict[str, object]:
        if tool:
            call = {"type": "function_call", "call_id": "call_1", "name": "save", "arguments": said}
            return {"id": "fc_1", "status": status, **call}
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said}
        content = [part] if said else []
        return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content}

    def piece(delta: str) -> bytes:
        if tool:
            kind, more = "function_call_arguments.delta", {"item_id": "fc_1", "output_index": 0}
        else:
            kind, more = (
                "output_text.delta",
                {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []},
            )
        return event(kind, **more, delta=delta, obfuscation="x4QFvGtH")

    started = response("in_progress", [], None)
    before = event("created", response=started) + event("in_progress", response=started)
    before += event("output_item.added", output_index=0, item=item("", "in_progress"))
    if not tool:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        before += event("content_part.added", item_id="msg_1", output_index=0, content_index=0, part=part)
    rendered = [piece(delta) for delta in deltas]
    after = b""
    if tool:
        after += event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments=text)
    else:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        after += event("output_text.done", **place, text=text, logprobs=[])
        after += event("content_part.done", **place, part={**part, "text": text})
    whole = item(text, "completed")
    after += event("output_item.done", output_index=0, item=whole)
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": len(deltas),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9 + len(deltas),
    }
    after += event("completed", response=response("completed", [whole], usage))
    return in_chunks(before, iter(rendered), after, per_chunk)


def gemini(deltas: list[str], tool: bool, per_chunk: int) -> Iterator[bytes]:
    def one(count: int, parts: list[object], finish: str | None = None) -> bytes:
        candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        usage = {"promptTokenCount": 9, "candidatesTokenCount": count, "totalTokenCount": 9 + count}
        value = {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": MODEL,
            "responseId": "resp_bench",
        }
        return b"data: %b\r\n\r\n" % compact(value)

    # A call arrives whole, because Gemini does not stream arguments.
    said: list[object] = [{"text": delta} for delta in deltas]
    if tool:
        said = [{"functionCall": {"name": "save", "args": json.loads("".join(deltas))}}]
    before = one(1, said[:1])
    after = one(len(said), [{"text": ""}], "STOP")
    each = (one(at + 2, [part]) for at, part in enumerate(said[1:]))
    return in_chunks(before, each, after, per_chunk)


# The time at which the server saw the connection of each hanging answer close.
CLOSED: dict[str, asyncio.Future[float]] = {}


def seen(name: str) -> asyncio.Future[float]:
    return CLOSED.setdefault(name, asyncio.get_running_loop().create_future())


class Connection(asyncio.Protocol):
    """One connection. A request is read to its end before it is answered; its body is ignored."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._left = -1
        self._path = ""
        self._hanging = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._hanging and not (closed := seen(self._hanging)).done():
            closed.set_result(time.monotonic())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._left < 0:
            head, found, _ = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            lines = head.decode("latin-1").split("\r\n")
            self._path = lines[0].split(" ")[1].partition("?")[0]
            fields = dict(line.lower().split(": ", 1) for line in lines[1:])
            self._left = len(head) + 4 + int(fields.get("content-length", 0))
        if len(self._data) >= self._left:
            del self._data[: self._left]
            self._left = -1
            self._answer()

    def _answer(self) -> None:
        kind, *rest = self._path.strip("/").split("/")
        if kind == "closed":
            seen(rest[0]).add_done_callback(self._tell)
            return
        if rest[-1].endswith(":streamGenerateContent"):
            rest[-1] = "gemini"
        events, per_chunk, gap = int(rest[0]), int(rest[1]), float(rest[2]) / 1000
        if kind.startswith("hang-"):
            self._hanging, kind = kind.removeprefix("hang-"), "text"
            made = answer(rest[-1], kind, events, per_chunk)
            self._transport.write(made.head + b"".join(made.chunks[:-2]))  # the answer never ends
            return
        made = answer(rest[-1], kind, events, per_chunk)
        if not gap:
            self._transport.write(made.whole)
            return
        self._transport.write(made.head + made.chunks[0] + made.chunks[1])
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(gap, self._next, iter(made.chunks[2:]), gap, loop.time() + gap)

    def _next(self, chunks: Iterator[bytes], gap: float, due: float) -> None:
        loop = asyncio.get_running_loop()
        chunk = next(chunks)
        if chunk == b"0\r\n\r\n":
            self._transport.write(chunk)
            return
        self._transport.write(chunk)
        self._timer = loop.call_at(due + gap, self._next, chunks, gap, due + gap)

    def _tell(self, when: asyncio.Future[float]) -> None:
        body = b"%.9f" % when.result()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
