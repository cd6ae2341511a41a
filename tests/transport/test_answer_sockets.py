"""Mutated answers through real sockets: none completes falsely, differs from h11's, hangs or shifts the next.

Each odd answer is followed by a request whose answer is known. If the connection was kept although the two
sides disagree about where the odd answer ended, that one gets bytes of the other.

`nox -s nightly` sends 100,000; LUTUM_ANSWERS says how many.
"""

from __future__ import annotations

import os
import random
from typing import Any

import anyio
import pytest
from http_answers import Outcome, made, ours, reads, theirs
from http_peer import Peer, serving
from transport.test_answer import WE_READ, WE_REFUSE

import lutum
from lutum.transport import HttpTransport

pytestmark = pytest.mark.anyio

ANSWERS = int(os.environ.get("LUTUM_ANSWERS", "300"))
LOOPS = {"asyncio": "asyncio", "trio": "trio", "uvloop": ("asyncio", {"use_uvloop": True})}
WORKERS = 4
STUCK = 60.0
"""Seconds after which an answer hangs. No answer needs a hundredth of it on a busy machine."""


@pytest.fixture(scope="module", params=list(LOOPS.values()), ids=list(LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == LOOPS["uvloop"]:
        pytest.importorskip("uvloop")
    return request.param


class House:
    """A server that answers `/odd/SEED` with the mutated answer of that seed and `/known/SEED` with SEED."""

    def __init__(self) -> None:
        self.sent: dict[int, anyio.Event] = {}
        self.kept = 0

    async def serve(self, peer: Peer) -> None:
        data = b""
        number = 0
        while True:
            while b"\r\n\r\n" not in data:
                try:
                    data += await peer.stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
            head, _, data = data.partition(b"\r\n\r\n")
            _, kind, seed = head.split(b" ")[1].split(b"/")
            self.kept += number > 0
            number += 1
            if kind == b"known":
                body = b"known %b" % seed
                await peer.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            pieces = odd(int(seed))
            try:
                for piece in pieces:
                    await peer.stream.send(piece)
                    await anyio.lowlevel.checkpoint()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the client has seen enough
            if not ours(pieces).reusable:
                await peer.stream.aclose()  # the end of the answer, or its cut
                self.sent[int(seed)].set()
                return
            self.sent[int(seed)].set()

    async def ask(self, transport: HttpTransport, url: str, seed: int) -> str:
        """Return what is wrong about one answer and the one after it, or nothing."""
        self.sent[seed] = anyio.Event()
        got: tuple[int, bytes] | None = None
        try:
            with anyio.fail_after(STUCK):
                response, body = await transport.request("GET", f"{url}/odd/{seed}")
                got = response.status, body
        except lutum.LutumError:
            pass
        except TimeoutError:
            return f"{seed}: hangs"
        # What follows an answer has to be here before the next request, or no client could see it.
        await self.sent[seed].wait()
        del self.sent[seed]
        if wrong := judged(got, odd(seed)):
            return f"{seed}: {wrong}"
        with anyio.fail_after(STUCK):
            response, body = await transport.request("GET", f"{url}/known/{seed}")
        return "" if (response.status, body) == (200, b"known %d" % seed) else f"{seed}: shifts {body!r}"


def odd(seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return reads(rng, made(rng))


def judged(got: tuple[int, bytes] | None, pieces: list[bytes]) -> str:
    mine, other = ours(pieces), theirs(pieces)
    if got is None:
        refused = any(mine.error.startswith(words) for words in WE_REFUSE)
        return "" if not other.whole or refused else f"refused, though h11 reads it: {mine.error}"
    if not mine.whole:
        return f"completes falsely: {mine.error}"
    if other.whole:
        return "" if got == (other.status, other.body) else f"{got} is not {other}"
    return "" if any(other.error.startswith(words) for words in WE_READ) else f"h11 says {other.error}"


async def test_mutated_answers() -> None:
    """Over one kept connection for each worker, until an answer ends it."""
    house, wrong = House(), list[str]()
    share = ANSWERS // len(LOOPS) // WORKERS

    async def work(url: str, start: int) -> None:
        transport = HttpTransport()
        for seed in range(start, start + share):
            if found := await house.ask(transport, url, seed):
                wrong.append(found)
        await transport.aclose()

    base = 1_000_000 * (1 + list(LOOPS).index(loop_name()))
    async with serving(house.serve) as server:
        async with anyio.create_task_group() as group:
            for worker in range(WORKERS):
                group.start_soon(work, server.url, base + worker * share)
    assert wrong == []
    assert house.kept > share  # or nothing would be known about reuse


def loop_name() -> str:
    loop: Any = anyio.lowlevel.current_token().native_token
    module = type(loop).__module__.partition(".")[0]
    return module if module in ("trio", "uvloop") else "asyncio"


def test_the_judge_can_fail() -> None:
    """It tells a false completion, another body and a refusal without a reason."""
    good = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"]
    assert judged((200, b"ab"), good) == ""
    assert judged((200, b"a"), good)
    assert judged((201, b"ab"), good)
    assert judged(None, good)
    assert judged((200, b"ab"), [good[0][:-1]])
    assert isinstance(ours(good), Outcome)
