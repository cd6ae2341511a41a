"""Frame logs: the streamed frames of turns, which can be played again with any schedule of tasks.

A frame log contains the bytes that the consumer saw, so a replay is equal to the live turn. Frame boundaries
depend on timing, so compare the events and not the frames. The replay finds a log by the turn's label, the
bytes of its request and the number of earlier equal requests. The replayed turns may therefore overlap in a
different order from the recorded ones.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, final

import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Struct

from lutum._turn.prepare import resolve_settings, settings_hooks
from lutum._values.errors import BadValue, ErrorKind, Interrupted, NetworkError, ProviderError, TurnError
from lutum._values.events import Completed, Event, decode_frame, encode_frame
from lutum._values.results import CommittedTurn, Response
from lutum._values.settings import Settings
from lutum.abc import Adapter, Exchange, Phase, Prepared, ReplayForm, TurnRequest


class RecordedFailure(Struct, frozen=True, omit_defaults=True):
    """The error that ended a recorded request. `error` is `provider`, `network` or `interrupted`."""

    error: Literal["provider", "network", "interrupted"]
    message: str
    kind: ErrorKind = "unknown"
    status: int | None = None
    type: str | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None

    def raised(self) -> TurnError:
        """Return the recorded error as an exception."""
        if self.error == "provider":
            fields = {name: getattr(self, name) for name in self.__struct_fields__[2:]}
            return ProviderError(self.message, **fields)
        return NetworkError(self.message) if self.error == "network" else Interrupted(self.message)


class FrameLog(Struct, frozen=True):
    """The frames of one request, in order, and the body of the request.

    Attributes:
      ended: whether the stream reached its end. If not, the stream failed or the consumer left it, and the
        replay ends at the same place.
      label: the label of the turn.
      failure: the error that ended the request, if the provider or the network caused it; else None.
    """

    body: bytes
    frames: tuple[bytes, ...]
    ended: bool
    label: str = ""
    failure: RecordedFailure | None = None

    @property
    def events(self) -> list[Event]:
        return [event for frame in self.frames for event in decode_frame(frame)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[FrameLog])


def dump_logs(logs: Iterable[FrameLog], path: str | Path) -> None:
    """Write logs to a file. They contain request bodies and answers, but never a header or a key."""
    Path(path).write_bytes(_encoder.encode(list(logs)))


def load_logs(path: str | Path) -> list[FrameLog]:
    """Read a file that `dump_logs` wrote. Raises BadValue if the file has no frame logs."""
    try:
        return _decoder.decode(Path(path).read_bytes())
    except msgspec.MsgspecError as exc:
        raise BadValue("path", f"{path} contains no frame logs: {exc}") from None


@final
class RecordingAdapter:
    """An adapter that wraps another adapter, and keeps a frame log of every request in `logs`."""

    def __init__(self, adapter: Adapter) -> None:
        self._begun = list[_Recording]()
        self._adapter = adapter

    @property
    def logs(self) -> list[FrameLog]:
        """The logs of the finished requests, in the order in which they began."""
        return [one.log for one in self._begun if one.log is not None]

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
        """This is a checkpoint only if it has to wait."""
        return await resolve_settings(self._adapter, request)

    def prepare(self, request: TurnRequest) -> Prepared:
        return self._adapter.prepare(request)

    def exchange(self, prepared: Prepared) -> Exchange:
        recording = _Recording(self._adapter.exchange(prepared), prepared)
        self._begun.append(recording)
        return recording

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return self._adapter.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return self._adapter.first_difference(earlier, later)

    async def aclose(self) -> None:
        """Not a checkpoint."""
        await self._adapter.aclose()


@final
class ReplayAdapter:
    """An adapter that answers from frame logs, without a network, with any schedule of tasks.

    It prepares requests like the recorded adapter. A request uses the first unused log with the same label
    and the same body. If there is no such log, the request raises LookupError with the label and the JSON
    path of the first difference. If concurrent turns have equal requests, give the turns different labels.

    Args:
      adapter: the adapter that prepares the requests.
      logs: the recorded logs. Logs without a label are played for turns without a label.
      delays: the seed of random delays. If it is given, each request and each frame waits for a random
        number of checkpoints. A test can then show that its program does not depend on the schedule of tasks.
    """

    def __init__(self, adapter: Adapter, logs: Iterable[FrameLog], *, delays: int | None = None) -> None:
        self._adapter = adapter
        self._tape = _Tape(logs, None if delays is None else random.Random(delays))

    @property
    def unused(self) -> list[FrameLog]:
        """The logs that no request has used, in order."""
        return list(self._tape.unused.values())

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
        """This is a checkpoint only if it has to wait."""
        return await resolve_settings(self._adapter, request)

    def prepare(self, request: TurnRequest) -> Prepared:
        return self._adapter.prepare(request)

    def exchange(self, prepared: Prepared) -> Exchange:
        return _Replay(prepared, self._tape)

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        return self._adapter.replay_form(turn, scope, model)

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        return self._adapter.first_difference(earlier, later)

    async def aclose(self) -> None:
        """Not a checkpoint."""
        await self._adapter.aclose()


class _Tape:
    """The unused logs, and the random delays."""

    def __init__(self, logs: Iterable[FrameLog], chance: random.Random | None) -> None:
        self.unused = dict(enumerate(logs))
        self._at = dict[tuple[str, bytes], deque[int]]()
        self._chance = chance
        for at, log in self.unused.items():
            self._at.setdefault((log.label, log.body), deque()).append(at)

    def take(self, label: str, body: bytes) -> FrameLog:
        if found := self._at.get((label, body)):
            return self.unused.pop(found.popleft())
        turn = f"turn {label!r}" if label else "a turn without a label"
        same = [log for log in self.unused.values() if log.label == label]
        if not same:
            raise LookupError(f"ReplayAdapter: no frame log is left for {turn}")
        path = json_difference(same[0].body, body)
        raise LookupError(f"ReplayAdapter: the request of {turn} differs from the recorded one at {path}")

    async def wait(self, most: int) -> None:
        for _ in range(1 if self._chance is None else self._chance.randint(1, most)):
            await checkpoint()


class _Recording:
    def __init__(self, inner: Exchange, prepared: Prepared) -> None:
        self.log: FrameLog | None = None
        self._inner = inner
        self._prepared = prepared
        self._frames = list[bytes]()
        self._ended = False
        self._failure: RecordedFailure | None = None

    @property
    def response(self) -> Response | None:
        return self._inner.response

    async def open(self, mark: Callable[[Phase], None]) -> None:
        try:
            await self._inner.open(mark)
        except TurnError as error:
            self._failure = _failure(error)
            raise

    async def receive(self, out: list[Event]) -> bool:
        at = len(out)
        try:
            more = await self._inner.receive(out)
        except TurnError as error:
            self._failure = _failure(error)
            raise
        finally:
            if len(out) > at:
                self._frames.append(encode_frame(out[at:]))
        self._ended = not more or isinstance(out[-1] if out else None, Completed)
        return more

    async def aclose(self) -> None:
        prepared = self._prepared
        frames = tuple(self._frames)
        self.log = FrameLog(prepared.body, frames, self._ended, prepared.request.label, self._failure)
        await self._inner.aclose()


def _failure(error: TurnError) -> RecordedFailure | None:
    match error:
        case ProviderError():
            fields = {name: getattr(error, name) for name in RecordedFailure.__struct_fields__[2:]}
            return RecordedFailure("provider", error.message, **fields)
        case NetworkError():
            return RecordedFailure("network", str(error))
        case Interrupted():
            return RecordedFailure("interrupted", str(error))
        case _:
            return None


class _Replay:
    def __init__(self, prepared: Prepared, tape: _Tape) -> None:
        self.response: Response | None = None
        self._prepared = prepared
        self._tape = tape
        self._frames = list[bytes]()
        self._failure: RecordedFailure | None = None

    async def open(self, mark: Callable[[Phase], None]) -> None:
        log = self._tape.take(self._prepared.request.label, self._prepared.body)
        mark("connected")
        await self._tape.wait(20)
        mark("sent")
        if log.failure is not None and not log.frames:
            raise log.failure.raised()
        self.response = Response()
        self._frames, self._failure = list(log.frames), log.failure

    async def receive(self, out: list[Event]) -> bool:
        await self._tape.wait(4)
        if not self._frames:
            if self._failure is not None:
                raise self._failure.raised()
            return False
        out += decode_frame(self._frames.pop(0))
        return True

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


def json_difference(expected: bytes, actual: bytes) -> str:
    """Return the JSON path of the first value that differs in two documents; `$` if one is not JSON."""
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
