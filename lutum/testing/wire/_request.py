"""One request as a `WireServer` received it, and how its connection ended."""

import json
import secrets
from functools import cached_property
from typing import Any, Literal, TypeAlias, final

import anyio
import httpx
import msgspec

from lutum.testing.wire._error import WireError

__all__ = ["Outcome", "WireRequest"]

# Letters only, so that token counts do not depend on the value.
_PROCESS = "".join(secrets.choice("abcdefghijklmnop") for _ in range(8))

Outcome: TypeAlias = Literal["open", "completed", "disconnected", "cut", "stopped"]
"""How far the answer is, or how it ended.

- `open`: the answer is in progress.
- `completed`: the answer was sent completely.
- `disconnected`: the client left before the end of the answer.
- `cut`: the script ended the answer.
- `stopped`: the server was closed before the end of the answer.
"""


@final
class CacheUse(msgspec.Struct, frozen=True):
    """The input tokens that a request read from the cache, and the tokens that it wrote, by lifetime."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        """Written tokens of all lifetimes."""
        return self.written_5m + self.written_1h


@final
class WireRequest:
    """One request and the outcome of its answer.

    "completed" means that everything was written. On a socket, the server cannot notice whether the client
    left before it had read the last byte.
    """

    number: int
    """Its index in `WireServer.requests`, from 0."""
    id: str
    """The base of the ids in the answer. It differs between processes, so that several processes can store
    their answers in one place."""
    method: str
    path: str
    """The path without the query."""
    query: str
    headers: httpx.Headers
    body: bytes
    outcome: Outcome
    started_at: float
    """The time at which the request was received completely, by `anyio.current_time`."""
    ended_at: float | None
    """The time at which the outcome was known."""
    error: WireError | None
    """The server's refusal, if the provider would refuse the request."""
    began: bool
    """Whether the head of a successful answer has been written."""
    cache: CacheUse | None
    """The tokens that the request read from the prompt cache and wrote to it; None without `prompt_cache`."""
    transformations: list[dict[str, Any]]
    """The reasoning blocks that the server left out, even if the answer does not list them."""

    def __init__(self, number: int, method: str, target: str, headers: httpx.Headers, body: bytes) -> None:
        self.number = number
        self.id = f"{_PROCESS}{number:04}"
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.outcome = "open"
        self.started_at = anyio.current_time()
        self.ended_at = None
        self.error = None
        self.began = False
        self.cache = None
        self.transformations = []
        self._ended = anyio.Event()

    def __repr__(self) -> str:
        # Headers are left out, because one of them is the key.
        return f"<WireRequest {self.number} {self.method} {self.path} {self.outcome}>"

    @cached_property
    def json(self) -> Any:
        """The body, parsed.

        Raises:
          ValueError: it is not JSON.
        """
        return json.loads(self.body)

    @cached_property
    def betas(self) -> frozenset[str]:
        """The values of the `anthropic-beta` header."""
        given = ",".join(self.headers.get_list("anthropic-beta"))
        return frozenset(beta.strip() for beta in given.split(",") if beta.strip())

    def begin(self) -> None:
        """Record that the head of the answer is written."""
        self.began = self.error is None

    async def wait_ended(self) -> Outcome:
        """Wait until the answer has ended, and return its outcome. Cancelling the wait changes nothing.

        This is a checkpoint only if it has to wait.
        """
        await self._ended.wait()
        return self.outcome

    async def wait_disconnect(self) -> None:
        """Wait until the client has left. Cancelling the wait changes nothing.

        This is a checkpoint only if it has to wait.

        Raises:
          RuntimeError: the answer ended in another way.
        """
        if await self.wait_ended() != "disconnected":
            raise RuntimeError(f"the client did not leave: the answer was {self.outcome}")

    def end(self, outcome: Outcome) -> None:
        """Record the outcome. Only the first call counts."""
        if self.outcome == "open":
            self.outcome = outcome
            self.ended_at = anyio.current_time()
            self._ended.set()
