"""Frame logs: what one turn streamed, kept and played again.

A frame log is the bytes the consumer saw, so a replay shows what was seen live. Where one frame ends
is timing, not content: compare events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, final

import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Struct

from lutum._turn.prepare import resolve_settings, settings_hooks
from lutum._values.errors import BadValue
from lutum._values.events import Completed, Event, decode_frame, encode_frame
from lutum._values.results import CommittedTurn, Response
from lutum._values.settings import Settings
from lutum.abc import Adapter, Exchange, Phase, Prepared, ReplayForm, TurnRequest


class FrameLog(Struct, frozen=True):
    """One turn's frames, in order, with the body it answered and whether it ended by itself.

    `ended` is False when the turn failed or was left; its replay ends there without a terminal event.
    """

    body: bytes
    frames: tuple[bytes, ...]
    ended: bool

    @property
    def events(self) -> list[Event]:
        return [event for frame in self.frames for event in decode_frame(frame)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[FrameLog])


def dump_logs(logs: Iterable[FrameLog], path: str | Path) -> None:
    """Write logs to a file. They hold request bodies and answers, and never a header or a key."""
    Path(path).write_bytes(_encoder.encode(list(logs)))


def load_logs(path: str | Path) -> list[FrameLog]:
    """Read what `dump_logs` wrote. Raises BadValue when the file is something else."""
    try:
        return _decoder.decode(Path(path).read_bytes())
    except msgspec.MsgspecError as exc:
        raise BadValue("path", f"{path} holds no frame logs: {exc}") from None


@final
class RecordingAdapter:
    """Another adapter, with every turn kept in `logs`."""

    def __init__(self, adapter: Adapter) -> None:
        self.logs: list[FrameLog] = []
        self._adapter = adapter

    @property
    def name(self) -> str:
        return self._adapter.name

    @property
    def scope(self) -> str:
        return self._adapter.scope

    @property
    def settings_hooks(self) -> tuple[str, ...]:
        return settings_hooks(self._adapter)

    async def resolve_settings(self, request: TurnRequest) -> Settings:
        return await resolve_settings(self._adapter, request)

    def prepare(self, request: TurnRequest) -> Prepared:
        return self._adapter.prepare(request)

    def exchange(self, prepared: Prepared) -> Exchange:
        return _Recording(self._adapter.exchange(prepared), prepared, self.logs)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return self._adapter.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return self._adapter.first_difference(earlier, later)

    async def aclose(self) -> None:
        await self._adapter.aclose()


@final
class ReplayAdapter:
    """Answers from frame logs, in order, without a network.

    It prepares requests as the adapter that it stands for. A request whose body is not the recorded
    one raises LookupError with the JSON path of the first difference, before anything is replayed.
    """

    def __init__(self, adapter: Adapter, logs: Iterable[FrameLog]) -> None:
        self._adapter = adapter
        self._logs = list(logs)

    @property
    def name(self) -> str:
        return self._adapter.name

    @property
    def scope(self) -> str:
        return self._adapter.scope

    @property
    def settings_hooks(self) -> tuple[str, ...]:
        return settings_hooks(self._adapter)

    async def resolve_settings(self, request: TurnRequest) -> Settings:
        return await resolve_settings(self._adapter, request)

    def prepare(self, request: TurnRequest) -> Prepared:
        return self._adapter.prepare(request)

    def exchange(self, prepared: Prepared) -> Exchange:
        return _Replay(prepared, self._logs)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return self._adapter.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return self._adapter.first_difference(earlier, later)

    async def aclose(self) -> None:
        await self._adapter.aclose()


class _Recording:
    def __init__(self, inner: Exchange, prepared: Prepared, logs: list[FrameLog]) -> None:
        self._inner = inner
        self._prepared = prepared
        self._logs = logs
        self._frames: list[bytes] = []
        self._ended = False

    @property
    def response(self) -> Response | None:
        return self._inner.response

    async def open(self, mark: Callable[[Phase], None]) -> None:
        await self._inner.open(mark)

    async def receive(self, out: list[Event]) -> bool:
        at = len(out)
        try:
            more = await self._inner.receive(out)
        finally:
            if len(out) > at:
                self._frames.append(encode_frame(out[at:]))
        self._ended = not more or isinstance(out[-1] if out else None, Completed)
        return more

    async def aclose(self) -> None:
        self._logs.append(FrameLog(self._prepared.body, tuple(self._frames), self._ended))
        await self._inner.aclose()


class _Replay:
    def __init__(self, prepared: Prepared, logs: list[FrameLog]) -> None:
        self.response: Response | None = None
        self._prepared = prepared
        self._logs = logs
        self._frames: list[bytes] = []

    async def open(self, mark: Callable[[Phase], None]) -> None:
        mark("connected")
        await checkpoint()
        mark("sent")
        if not self._logs:
            raise LookupError("ReplayAdapter: no frame log left for this request")
        log = self._logs[0]
        if log.body != self._prepared.body:
            path = json_difference(log.body, self._prepared.body)
            raise LookupError(f"ReplayAdapter: the request differs from the recorded one at {path}")
        self._logs.pop(0)
        self.response = Response()
        self._frames = list(log.frames)

    async def receive(self, out: list[Event]) -> bool:
        await checkpoint()
        if not self._frames:
            return False
        out += decode_frame(self._frames.pop(0))
        return True

    async def aclose(self) -> None:
        """Nothing to close."""


def json_difference(expected: bytes, actual: bytes) -> str:
    """JSON path of the first value in which two documents differ; `$` when one is no JSON."""
    try:
        pair = msgspec.json.decode(expected), msgspec.json.decode(actual)
    except msgspec.DecodeError:
        return "$"
    return _path(*pair, "$") or "$"


def _path(a: Any, b: Any, at: str) -> str | None:
    match type(a).__name__:
        case name if name != type(b).__name__:
            return at
        case "dict":
            return _first(a, b, at + ".{}")
        case "list":
            return _first(_numbered(a), _numbered(b), at + "[{}]")
        case _:
            return None if a == b else at


def _numbered(values: Iterable[Any]) -> dict[Any, Any]:
    return dict(enumerate(values))


def _first(a: dict[Any, Any], b: dict[Any, Any], at: str) -> str | None:
    for key in [*a, *(key for key in b if key not in a)]:
        if key not in a or key not in b:
            return at.format(key)
        if found := _path(a[key], b[key], at.format(key)):
            return found
    return None
