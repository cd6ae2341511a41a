"""A cache of answers by the digest of their request. It saves requests while you work on a task or a scorer.

A complete answer is stored as the event frames that its turn received. A later equal request replays the same
frames. Each trial has its own stored answers, and its n-th equal request gets the n-th of them. The trials of
a case therefore have different answers.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import msgspec
from anyio.lowlevel import checkpoint

from lutum._values.events import Completed, Event, decode_frame, encode_frame
from lutum._values.results import Response
from lutum.abc import Adapter, Exchange, Phase, Prepared

_decode = msgspec.msgpack.Decoder(list[bytes]).decode


@final
class AnswerCache:
    """A folder of answers. Several processes may use it, because each file is written atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> list[bytes] | None:
        """Return the frames of an answer; None if the file is missing or damaged."""
        try:
            return _decode((self._path / f"{key}.frames").read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, key: str, frames: list[bytes]) -> None:
        """Store an answer."""
        part = self._path / f"{key}.{os.getpid()}.part"
        part.write_bytes(msgspec.msgpack.encode(frames))
        os.replace(part, self._path / f"{key}.frames")


@final
class CachedAnswers:
    """A wrapper of an adapter that answers a repeated request from the cache.

    `played` counts the requests that were answered from the cache. All other attributes are those of the
    wrapped adapter.
    """

    def __init__(self, adapter: Adapter, cache: AnswerCache, trial: int) -> None:
        self._adapter = adapter
        self._cache = cache
        self._trial = trial
        self._asked = Counter[str]()
        self.played = 0

    def exchange(self, prepared: Prepared) -> Exchange:
        key = self._key(prepared)
        if (frames := self._cache.read(key)) is not None:
            self.played += 1
            return _Played(frames)
        return _CachedExchange(self._adapter.exchange(prepared), lambda found: self._cache.write(key, found))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def _key(self, prepared: Prepared) -> str:
        digest = hashlib.blake2s(digest_size=16)
        for part in (self._adapter.name, self._adapter.scope, prepared.method, prepared.url):
            digest.update(part.encode(errors="replace") + b"\0")
        digest.update(prepared.body)
        request = digest.hexdigest()
        self._asked[request] += 1
        return f"{request}-{self._trial}-{self._asked[request]}"


@final
class _CachedExchange:
    """A wrapper of an exchange that stores its frames when the answer is complete."""

    def __init__(self, inner: Exchange, keep: Callable[[list[bytes]], None]) -> None:
        self._inner = inner
        self._keep = keep
        self._frames = list[bytes]()
        self._complete = False

    @property
    def response(self) -> Response | None:
        return self._inner.response

    async def open(self, mark: Callable[[Phase], None]) -> None:
        await self._inner.open(mark)

    async def receive(self, out: list[Event]) -> bool:
        at = len(out)
        more = await self._inner.receive(out)
        if len(out) > at:
            self._frames.append(encode_frame(out[at:]))
            self._complete = self._complete or any(isinstance(event, Completed) for event in out[at:])
        return more

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self._complete:
            self._complete = False
            self._keep(self._frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@final
class _Played:
    """An exchange that replays the frames of a stored answer."""

    def __init__(self, frames: list[bytes]) -> None:
        self.response: Response | None = None
        self._frames = frames

    async def open(self, mark: Callable[[Phase], None]) -> None:
        mark("connected")
        await checkpoint()
        mark("sent")
        self.response = Response()

    async def receive(self, out: list[Event]) -> bool:
        await checkpoint()
        if not self._frames:
            return False
        out += decode_frame(self._frames.pop(0))
        return True

    async def aclose(self) -> None:
        """Nothing to close."""
