"""`check_adapter`: the conformance suite of adapters. It does not need pytest.

It gives the adapter an in-memory HTTP client that plays response bodies in the adapter's own
protocol. Complete recorded bodies are best. A check that fails raises AssertionError.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress

import anyio
import httpx
from anyio.lowlevel import checkpoint

from lutum._lutum import Lutum
from lutum._session import Session
from lutum._turn.builder import TextTurn
from lutum._turn.plan import as_transcript
from lutum._values.errors import Interrupted, ProviderError, TurnError
from lutum._values.events import Completed, Event
from lutum._values.results import CommittedTurn
from lutum._values.transcript import Transcript
from lutum.abc import Adapter, Exchange, TurnRequest
from lutum.testing._cancel_at import cancel_at

# The number of steps of the event loop within which a cancelled task must end.
ENDING_STEPS = 5

# An exchange that runs this many real seconds after its cancellation counts as having swallowed it.
CANCEL_SECONDS = 5.0

Connect = Callable[[httpx.AsyncClient], Adapter]


async def check_adapter(
    connect: Connect,
    bodies: Iterable[bytes],
    *,
    cuts: int = 200,
    seed: int = 0,
    conversation: bool = True,
) -> None:
    """Check promises 1 to 5 and 7 on an adapter. They are listed in the README under "What it promises".

    No other task of the event loop may start tasks during the check, because every new task that still runs
    at the end counts as a leak.

    A checkpoint.

    Args:
      connect: returns an adapter that uses the given HTTP client. The checks use its default model.
      bodies: complete response bodies, as the provider streams them. Their turns must not call a tool.
      cuts: the number of places at which each body is cut. A body with fewer bytes is cut at every byte.
      seed: the seed of the random splits and cuts.
      conversation: False for an adapter that sends only a prompt. Each turn of such an adapter must have an
        `inexact_reason`.

    Raises:
      AssertionError: a promise is broken. The message names the promise and the body.
    """
    chance = random.Random(seed)
    for number, body in enumerate(bodies):
        with _naming(f"body {number}"), _no_new_tasks() as check_tasks:
            whole = await _check_splits(connect, body, chance)
            await check_tasks()
            await _check_cuts(connect, body, chance, cuts, whole)
            await _check_cancellation(connect, body)
            await _check_exits(connect, body)
            await check_tasks()
            if conversation:
                await _check_replay(connect, body)
            else:
                _check_no_replay(whole[-1])
    with _no_new_tasks() as check_tasks:
        await _check_refusals(connect)
        await check_tasks()


async def _check_splits(connect: Connect, body: bytes, chance: random.Random) -> list[Event]:
    whole, turn, _ = await _play(connect, [body])
    assert isinstance(whole[-1], Completed), (
        f"promise 1: a complete body must end with Completed: {whole[-1:]}"
    )
    assert turn is not None
    _check_usage(whole)
    single = [body[i : i + 1] for i in range(len(body))]
    places = sorted(chance.sample(range(len(body)), min(len(body), 20)))
    random_split = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    for name, pieces in (("byte by byte", single), ("at random splits", random_split)):
        events, _, _ = await _play(connect, pieces)
        assert events == whole, f"the events differ if the body is fed {name}"
    return whole


def _check_usage(events: Sequence[Event]) -> None:
    end = events[-1]
    assert isinstance(end, Completed)
    usage, content = end.usage, any(getattr(event, "text", "") for event in events)
    if usage.known == "exact":
        assert usage.input_tokens, "promise 4: the usage is exact, but the input is zero"
        assert usage.output_tokens or not content, "promise 4: content was streamed, but the output is zero"


async def _check_cuts(
    connect: Connect, body: bytes, chance: random.Random, cuts: int, whole: Sequence[Event]
) -> None:
    places = range(len(body)) if len(body) <= cuts else sorted(chance.sample(range(len(body)), cuts))
    for at in places:
        events, turn, error = await _play(connect, [body[:at]])
        if turn is not None:
            end, complete = events[-1], whole[-1]
            assert isinstance(end, Completed)
            assert isinstance(complete, Completed)
            same = (end.turn, end.finish_reason) == (complete.turn, complete.finish_reason)
            assert same, f"promise 1: cut at byte {at}, the body completes as another turn"
        else:
            assert isinstance(error, Interrupted | ProviderError), (
                f"promise 1: cut at byte {at}, a turn must raise Interrupted or ProviderError, not {error!r}"
            )
            assert not any(isinstance(event, Completed) for event in events)


async def _check_exits(connect: Connect, body: bytes) -> None:
    pieces = [body[i : i + 64] for i in range(0, len(body), 64)]

    async def leave_early(turn: TextTurn) -> None:
        async with turn.stream() as stream:
            async for _ in stream:
                break

    with _client(pieces) as (client, counter):
        llm = Lutum(connect(client))
        await leave_early(llm.text_turn("hello"))
        assert counter.open == 0, "promise 5: the response is open after the block was left"
        assert llm.budget.reserved.total_tokens == 0, "promise 3: a lease is open after the block was left"
        k, requested = 1, True
        while requested:
            try:
                requested, _ = await cancel_at(llm.text_turn("hello").collect(), k)
            except TurnError as error:
                raise AssertionError(
                    f"promise 5: cancelled at step {k}, the turn raises {error!r}"
                ) from error
            assert counter.open == 0, f"promise 5: the response is open after a cancel at step {k}"
            assert llm.budget.reserved.total_tokens == 0, (
                f"promise 3: a lease is open after a cancel at step {k}"
            )
            k += 1


async def _check_cancellation(connect: Connect, body: bytes) -> None:
    """Cancel an exchange while it waits for the head, and while it waits in the middle of the body."""
    request = TurnRequest(transcript=as_transcript("hello"))
    for pieces in (None, [body[: len(body) // 2]]):
        with _client(pieces or [], stalls=True, head=pieces is not None) as (client, counter):
            adapter = connect(client)
            prepared = adapter.prepare(request)
            assert prepared.estimate.input_tokens, "promise 3: the estimate of the input is zero"
            exchange = adapter.exchange(prepared)
            where = "in the body" if pieces else "before the head"
            with anyio.move_on_after(CANCEL_SECONDS, shield=True) as bound:
                await _cancelled_while_it_waits(exchange, counter, where)
            assert not bound.cancelled_caught, f"promise 5: cancelled {where}, the exchange does not end"
            await exchange.aclose()
            assert counter.open == 0, f"promise 5: the response is open after a cancel {where}"


async def _cancelled_while_it_waits(exchange: Exchange, counter: _Counter, where: str) -> None:
    went_on = False

    async def run() -> None:
        nonlocal went_on
        with scope, suppress(TurnError):
            try:
                await exchange.open(lambda phase: None)
                out, more = list[Event](), True
                while more and not scope.cancel_called:
                    more = await exchange.receive(out)
                    more = more and not (out and isinstance(out[-1], Completed))
            finally:
                counter.waits.set()  # it ended before it waited for a stalled response
            went_on = scope.cancel_called

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await counter.waits.wait()
        scope.cancel()
    assert not went_on, f"promise 5: cancelled {where}, the exchange continues"


def _check_no_replay(end: Event) -> None:
    assert isinstance(end, Completed)
    assert end.turn.inexact_reason, "promise 2: a turn that cannot be replayed has no inexact_reason"


async def _check_replay(connect: Connect, body: bytes) -> None:
    with _client([body]) as (client, _):
        adapter = connect(client)
        session = Session(Lutum(adapter))
        session.push_user("hello")
        result = await session.text_turn().collect()
        if result.turn.tool_calls:
            return
        session.commit_text(result)
        session.push_user("and then?")
        preview = session.text_turn().preview()
        assert preview.first_difference is None, f"promise 7: request 2 differs at {preview.first_difference}"
        for form in preview.forms:
            assert form.exact or form.reason, "promise 2: the form of an inexact turn has no reason"
        assert preview.forms[0].exact == result.turn.exact, (
            f"promise 2: the form and the turn must both be exact, or neither: {preview.forms}"
        )
        loaded = Session(Lutum(adapter), Transcript.load(session.transcript.dump()))
        assert loaded.text_turn().preview().body == preview.body, (
            "promise 2: a loaded dump gives another request"
        )
        again = TurnRequest(transcript=session.transcript)
        assert adapter.prepare(again).body == adapter.prepare(again).body, (
            "prepare returns two bodies for one request"
        )


async def _check_refusals(connect: Connect) -> None:
    for status, body in ((529, b"<html>busy</html>"), (401, b'{"error":{"message":"no"}}'), (500, b"")):
        with _client([body], status=status) as (client, counter):
            llm = Lutum(connect(client))
            try:
                await llm.text_turn("hello").collect()
            except ProviderError as error:
                assert error.status == status, f"status {status} became {error.status}"
            else:
                raise AssertionError(f"status {status} did not raise ProviderError")
            assert llm.budget.spent.total_tokens == 0, f"a refused request (status {status}) was charged"
            assert counter.open == 0, f"promise 5: the response is open after status {status}"


async def _play(
    connect: Connect, pieces: Sequence[bytes]
) -> tuple[list[Event], CommittedTurn | None, TurnError | None]:
    """Run one turn on these pieces. Return its events, and the committed turn or the error."""
    events = list[Event]()
    with _client(pieces) as (client, counter):
        try:
            async with Lutum(connect(client)).text_turn("hello").stream() as stream:
                async for event in stream:
                    events.append(event)
        except TurnError as error:
            return events, None, error
        finally:
            assert counter.open == 0, "promise 5: the response is open after the block"
        return events, stream.result.turn, None


class _Counter:
    """A counter of open responses. `waits` is set when a task waits for a stalled response."""

    def __init__(self) -> None:
        self.open = 0
        self.waits = anyio.Event()

    async def stall(self) -> None:
        self.waits.set()
        await anyio.sleep_forever()


class _PieceBody(httpx.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes], counter: _Counter, stalls: bool) -> None:
        self._pieces = pieces
        self._counter = counter
        self._stalls = stalls
        self._closed = False
        counter.open += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await checkpoint()
            yield piece
        if self._stalls:
            await self._counter.stall()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._counter.open -= 1


class _Player(httpx.AsyncBaseTransport):
    def __init__(
        self, pieces: Sequence[bytes], status: int, counter: _Counter, stalls: bool, head: bool
    ) -> None:
        self._pieces = pieces
        self._status = status
        self._counter = counter
        self._stalls = stalls
        self._head = head

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await checkpoint()
        if not self._head:
            await self._counter.stall()
        return httpx.Response(
            self._status,
            headers={"content-type": "text/event-stream"},
            stream=_PieceBody(self._pieces, self._counter, self._stalls),
        )


@contextmanager
def _client(
    pieces: Sequence[bytes], *, status: int = 200, stalls: bool = False, head: bool = True
) -> Generator[tuple[httpx.AsyncClient, _Counter]]:
    counter = _Counter()
    yield httpx.AsyncClient(transport=_Player(pieces, status, counter, stalls, head)), counter


@contextmanager
def _no_new_tasks() -> Generator[Callable[[], Awaitable[None]]]:
    """Yield a check that fails if a task runs that did not run when the block began."""
    before = {task.id for task in anyio.get_running_tasks()}

    async def check() -> None:
        for _ in range(ENDING_STEPS):
            await checkpoint()
        new = [task.name for task in anyio.get_running_tasks() if task.id not in before]
        assert not new, f"promise 5: a task outlives its turn: {', '.join(map(str, new[:3]))}"

    yield check


@contextmanager
def _naming(what: str) -> Generator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
