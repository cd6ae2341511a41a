"""Every way out of a turn's block: what went in comes out as it is, what follows the block runs where it
should, and nothing is left: no connection, no lease, no task, no open end of a channel."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import STALLED, STARTED, VIRTUAL, WHOLE, FakeAdapter, House, Text

import lutum
from lutum.testing import cancel_at, virtual_time

Stream = lutum.Stream[lutum.TextResult]

# What a turn is charged that was cut after "a" and "b": the estimated input and two deltas.
COUNTED = lutum.Usage(10, 2, known="estimated")


class Odd(BaseException):
    """Neither an Exception nor a cancellation."""


async def untouched(turn: Stream) -> None:
    """Take no event."""


async def first(turn: Stream) -> None:
    """Take one event, and leave others waiting."""
    await anext(turn)


async def stalled(turn: Stream) -> None:
    """Take what there is; the provider is silent then."""
    for _ in range(3):
        await anext(turn)


POSITIONS = pytest.mark.parametrize("reach", [untouched, first, stalled])


@POSITIONS
async def test_the_end_of_the_block(reach: Callable[[Stream], Awaitable[None]]) -> None:
    """Reaching the end without the turn's is no error, and the next statement runs."""
    ran = False
    with House(FakeAdapter(STALLED)) as house:
        async with house.stream() as turn:
            await reach(turn)
        house.over()
        ran = True
    assert ran
    with pytest.raises(lutum.TurnNotFinished):
        _ = turn.result


@POSITIONS
async def test_break_and_return(reach: Callable[[Stream], Awaitable[None]]) -> None:
    """Both leave the block, and the connection is closed before anything else runs."""
    with House(FakeAdapter(STALLED)) as house:
        for _ in range(2):
            async with house.stream() as turn:
                await reach(turn)
                break
        house.over()

        async def returns() -> int:
            async with house.stream() as turn:
                await reach(turn)
                return 7
            raise AssertionError

        assert await returns() == 7
        house.over()
    assert len(house.adapter.exchanges) == 2


@POSITIONS
@pytest.mark.parametrize(
    "error",
    [
        LookupError("mine"),
        ExceptionGroup("mine", [ValueError(), KeyError()]),
        KeyboardInterrupt(),
        SystemExit(3),
        Odd(),
        lutum.Interrupted("mine"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_raise(reach: Callable[[Stream], Awaitable[None]], error: BaseException) -> None:
    """The very exception comes out, a group as the group it was, and never in a group of ours."""
    ran = False
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(type(error)) as info:
            async with house.stream() as turn:
                await reach(turn)
                raise error
                ran = True
        house.over()
    assert info.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not ran


async def test_what_a_cut_turn_is_charged() -> None:
    """The lease is settled at what was seen, with its label, before the next statement."""
    with House(FakeAdapter(STALLED)) as house:
        async with house.stream() as turn:
            await stalled(turn)
        assert turn.usage == house.budget.spent == COUNTED
        assert turn.partial.text == "ab"


@POSITIONS
async def test_own_scope_from_the_body(reach: Callable[[Stream], Awaitable[None]]) -> None:
    """Cancelling the turn's scope ends its block at the next await, quietly; what follows runs."""
    ran = list[str]()
    with House(FakeAdapter(STALLED)) as house:
        async with house.stream() as turn:
            await reach(turn)
            turn.cancel_scope.cancel()
            await checkpoint()
            ran.append("in the block")
        house.over()
        ran.append("after the block")
    assert ran == ["after the block"]
    assert turn.cancel_scope.cancelled_caught


async def test_own_scope_without_an_await() -> None:
    """A block that ends before the cancellation meets an await ends as any other."""
    with House(FakeAdapter(STALLED)) as house:
        async with house.stream() as turn:
            turn.cancel_scope.cancel()
        assert not turn.cancel_scope.cancelled_caught


async def test_own_scope_cancelled_before_entering() -> None:
    """The block is entered, and its first await ends it."""
    ran = False
    with House(FakeAdapter(STALLED)) as house:
        turn = house.stream()
        turn.cancel_scope.cancel()
        async with turn:
            await anext(turn)
            ran = True
    assert not ran


async def test_own_scope_from_another_task() -> None:
    """Any task may cancel it: the one in the block stops waiting for the provider."""
    ran = False
    with House(FakeAdapter(STALLED)) as house:
        async with anyio.create_task_group() as group:

            async def other(turn: Stream) -> None:
                await anyio.wait_all_tasks_blocked()
                turn.cancel_scope.cancel()

            async with house.stream() as turn:
                group.start_soon(other, turn)
                async for _ in turn:
                    pass
                raise AssertionError
            house.over()
            ran = True
    assert ran
    assert turn.partial.text == "ab"
    assert turn.usage == COUNTED


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_own_scope_of_the_outer_of_two(elsewhere: bool) -> None:
    """Two deep: both blocks end, and only what follows the outer one runs."""
    ran = list[str]()
    with House(FakeAdapter(STALLED)) as house:
        async with anyio.create_task_group() as group:

            async def cancel(turn: Stream) -> None:
                if elsewhere:
                    await anyio.wait_all_tasks_blocked()
                turn.cancel_scope.cancel()

            async with house.stream() as outer:
                await anext(outer)
                async with house.stream() as inner:
                    await anext(inner)
                    if elsewhere:
                        group.start_soon(cancel, outer)
                    else:
                        await cancel(outer)
                    async for _ in inner:
                        pass
                    raise AssertionError
                ran.append("between")
            house.over()
            ran.append("after")
    assert ran == ["after"]


async def test_own_scope_of_the_inner_of_two() -> None:
    """The inner block ends alone; the outer turn goes on to its end."""
    with House(FakeAdapter(WHOLE, STALLED)) as house:
        async with house.stream() as outer:
            async with house.stream() as inner:
                await anext(inner)
                inner.cancel_scope.cancel()
                await checkpoint()
                raise AssertionError
            assert house.adapter.exchanges[1].closed is not None
            async for _ in outer:
                pass
    assert outer.result.text == "hi"


async def test_own_scope_does_not_swallow_an_error() -> None:
    """A body that is cancelled and raises something else is left with that."""
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(LookupError):
            async with house.stream() as turn:
                turn.cancel_scope.cancel()
                try:
                    await anext(turn)
                finally:
                    raise LookupError


async def test_own_scope_leaves_the_rest_of_a_group() -> None:
    """Of a group of the body the turn takes its own cancellation and nothing else."""
    error = LookupError()
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(ExceptionGroup) as info:
            async with house.stream() as turn:
                turn.cancel_scope.cancel()
                try:
                    await anext(turn)
                except anyio.get_cancelled_exc_class() as cancelled:
                    raise BaseExceptionGroup("mine", [cancelled, error]) from None
        house.over()
    assert info.value.exceptions == (error,)


@POSITIONS
async def test_outer_scope(reach: Callable[[Stream], Awaitable[None]]) -> None:
    """A scope round the turn, cancelled in the body: what follows the turn is skipped, what follows the
    scope runs, and the scope says that it caught."""
    ran = list[str]()
    with House(FakeAdapter(STALLED)) as house:
        with anyio.CancelScope() as scope:
            async with house.stream() as turn:
                await reach(turn)
                scope.cancel()
                await checkpoint()
                ran.append("in the block")
            ran.append("after the block")
        house.over()
        ran.append("after the scope")
    assert ran == ["after the scope"]
    assert scope.cancelled_caught


async def test_outer_scope_before_entering() -> None:
    """Under a scope that is cancelled already nothing is reserved and nothing is sent."""
    with House(FakeAdapter(STALLED)) as house:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with house.stream():
                raise AssertionError
        assert scope.cancelled_caught
    assert house.adapter.exchanges == []
    assert house.budget.spent == lutum.Usage()


@VIRTUAL
@pytest.mark.parametrize("soft", [False, True])
async def test_outer_deadline_in_the_body(soft: bool) -> None:
    """`fail_after` raises its own TimeoutError, `move_on_after` moves on; not the turn's timeout."""
    start = anyio.current_time()
    with House(FakeAdapter(STALLED)) as house:
        if soft:
            with anyio.move_on_after(5) as scope:
                async with house.stream() as turn:
                    async for _ in turn:
                        pass
            assert scope.cancelled_caught
        else:
            with pytest.raises(TimeoutError) as info, anyio.fail_after(5):
                async with house.stream() as turn:
                    async for _ in turn:
                        pass
            assert not isinstance(info.value, lutum.LutumError)
        assert anyio.current_time() - start == pytest.approx(5)
        assert turn.usage == COUNTED


@VIRTUAL
async def test_outer_deadline_during_the_exit() -> None:
    """Due while the connection is being closed, it does not replace what the body raised, nor skip what
    follows a block that ended well."""
    ran = False
    with House(FakeAdapter(STALLED, close=1.0)) as house:
        with pytest.raises(LookupError), anyio.fail_after(0.5):
            async with house.stream() as turn:
                await anext(turn)
                raise LookupError
        with anyio.move_on_after(0.5) as scope:
            async with house.stream() as turn:
                await anext(turn)
            house.over()
            ran = True
        assert not scope.cancelled_caught
    assert ran


@VIRTUAL
async def test_own_scope_and_an_outer_deadline_during_the_exit() -> None:
    """A quiet end stays quiet although an outer deadline falls due while it cleans up."""
    ran = False
    with House(FakeAdapter(STALLED, close=1.0)) as house:
        with anyio.move_on_after(0.5):
            async with house.stream() as turn:
                await anext(turn)
                turn.cancel_scope.cancel()
                await checkpoint()
            ran = True
    assert ran


@VIRTUAL
async def test_closing_is_bounded() -> None:
    """A connection that does not close is let go of after two seconds."""
    start = anyio.current_time()
    adapter = FakeAdapter(STALLED, close=3600.0)
    async with lutum.Lutum(adapter).text_turn("hello").stream() as turn:
        await anext(turn)
    assert anyio.current_time() - start == pytest.approx(2)


@pytest.mark.parametrize("error", [OSError("reset"), Odd()], ids=["error", "interrupt"])
async def test_closing_fails(error: BaseException) -> None:
    """A failure to close is logged and no more; an interrupt that meets it comes out."""
    with House(FakeAdapter(STALLED, close=error)) as house:
        if isinstance(error, Exception):
            async with house.stream() as turn:
                await anext(turn)
        else:
            with pytest.raises(Odd) as info:
                async with house.stream() as turn:
                    await anext(turn)
            assert info.value is error


async def test_closing_fails_behind_a_whole_turn(caplog: pytest.LogCaptureFixture) -> None:
    """The turn stays whole."""
    with House(FakeAdapter(WHOLE, close=OSError("reset"), checkpoints=True)) as house:
        async with house.stream() as turn:
            async for _ in turn:
                await anyio.wait_all_tasks_blocked()
    assert turn.result.text == "hi"
    assert "could not be closed" in caplog.text


async def test_sibling_failure() -> None:
    """A sibling that fails cancels the turn as it does any task; the group holds its error and no other."""
    ran = False
    error = LookupError("sibling")
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(ExceptionGroup) as info:
            async with anyio.create_task_group() as group:

                async def fail() -> None:
                    await anyio.wait_all_tasks_blocked()
                    raise error

                group.start_soon(fail)
                async with house.stream() as turn:
                    async for _ in turn:
                        pass
                ran = True
    assert info.value.exceptions == (error,)
    assert not ran
    assert turn.usage == COUNTED


async def test_turns_side_by_side() -> None:
    """Turns in sibling tasks end each as its own; one builder value serves them all."""
    plays = [WHOLE, WHOLE, WHOLE]
    texts = list[str]()
    with House(FakeAdapter(*plays)) as house:
        turn = house.llm.text_turn("hello")

        async def run() -> None:
            texts.append((await turn.collect()).text)

        async with anyio.create_task_group() as group:
            for _ in plays:
                group.start_soon(run)
    assert texts == ["hi"] * 3
    assert house.budget.spent == lutum.Usage(36, 15)


async def test_nested_turns_and_a_raise() -> None:
    """What the inner body raises goes through both blocks as it is."""
    error = LookupError()
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(LookupError) as info:
            async with house.stream() as outer, house.stream() as inner:
                await anext(outer)
                await anext(inner)
                raise error
    assert info.value is error


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_timeout() -> None:
    """`asyncio.timeout` raises its TimeoutError, and the task is not left cancelled."""
    with House(FakeAdapter(STALLED)) as house:
        with pytest.raises(TimeoutError) as info:
            async with asyncio.timeout(0):
                async with house.stream() as turn:
                    async for _ in turn:
                        pass
        assert not isinstance(info.value, lutum.LutumError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await checkpoint()


@pytest.mark.parametrize("anyio_backend", [("asyncio", virtual_time("asyncio"))], ids=["asyncio-virtual"])
@pytest.mark.parametrize("how", ["timeout", "wait_for"])
async def test_asyncio_timeouts_in_mid_stream(how: str) -> None:
    """Native deadlines that fall due while the body waits for the provider."""
    with House(FakeAdapter(STALLED)) as house:
        seen = list[Stream]()

        async def read() -> None:
            async with house.stream() as turn:
                seen.append(turn)
                async for _ in turn:
                    pass

        with pytest.raises(TimeoutError) as info:
            if how == "timeout":
                async with asyncio.timeout(5):
                    await read()
            else:
                await asyncio.wait_for(read(), 5)
        assert not isinstance(info.value, lutum.LutumError)
        assert seen[0].usage == COUNTED
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@POSITIONS
async def test_task_cancel(reach: Callable[[Stream], Awaitable[None]]) -> None:
    """`task.cancel()` comes out of the block as CancelledError, wherever the body stands."""
    with House(FakeAdapter(STALLED)) as house:
        ready, ran = asyncio.Event(), False

        async def read() -> None:
            nonlocal ran
            async with house.stream() as turn:
                await reach(turn)
                ready.set()
                await asyncio.sleep(3600)
            ran = True

        task = asyncio.create_task(read())
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ran


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_cancel_of_itself_at_the_end_of_the_block() -> None:
    """A native cancellation that meets the clean-up itself: it comes out, and nothing is left."""
    with House(FakeAdapter(STALLED)) as house:

        async def read() -> None:
            async with house.stream():
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        task = asyncio.create_task(read())
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_cancel_during_the_exit() -> None:
    """Clean-up goes on to its end under a native cancellation, which then comes out."""
    with House(FakeAdapter(STALLED, close=0.01)) as house:
        leaving = asyncio.Event()

        async def read() -> None:
            async with house.stream() as turn:
                await anext(turn)
                leaving.set()

        task = asyncio.create_task(read())
        await leaving.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert house.adapter.exchanges[0].closed is not None


def test_asyncio_run_is_left_in_mid_turn() -> None:
    """A loop that shuts down cancels pump and body natively, at once: closed and settled all the same."""
    house = House(FakeAdapter(STALLED))

    async def read() -> None:
        async with house.stream() as turn:
            async for _ in turn:
                pass

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(main())
    house.over()


@pytest.mark.filterwarnings("ignore:coroutine 'Pump.run' was never awaited:RuntimeWarning")  # by anyio
@pytest.mark.parametrize("body_too", [False, True])
def test_asyncio_cancels_a_pump_that_never_ran(body_too: bool) -> None:
    """A pump cancelled natively before its first step has sent nothing: its lease goes back whole."""
    house = House(FakeAdapter(STALLED))

    async def main() -> None:
        body = asyncio.current_task()
        async with house.stream():
            for task in asyncio.all_tasks():
                if body_too or task is not body:
                    task.cancel()
        assert not body_too
        house.over()

    if body_too:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
    else:
        asyncio.run(main())
    gc.collect()
    house.over()
    assert house.budget.spent == lutum.Usage()
    assert house.adapter.exchanges[0].opened is None


INTERRUPTS = pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), Odd()], ids=repr)


@INTERRUPTS
async def test_interrupt_in_the_pump(error: BaseException) -> None:
    """It meets the consumer after the events that came before it, as itself."""
    seen = list[lutum.Event]()
    with House(FakeAdapter([STARTED, Text("a"), error])) as house:
        with pytest.raises(type(error)) as info:
            async with house.stream() as turn:
                async for event in turn:
                    seen.append(event)
        assert turn.usage == lutum.Usage(10, 1, known="estimated")
    assert info.value is error
    assert seen == [STARTED, lutum.TextDelta("a")]


@INTERRUPTS
async def test_interrupt_in_the_pump_without_a_consumer(error: BaseException) -> None:
    """A body that never reads on gets it at the end of its block."""
    with House(FakeAdapter([STARTED, error])) as house:
        with pytest.raises(type(error)) as info:
            async with house.stream():
                await anyio.wait_all_tasks_blocked()
    assert info.value is error


async def test_interrupt_in_the_pump_is_raised_once() -> None:
    """A body that met it and dealt with it does not meet it again."""
    with House(FakeAdapter([STARTED, Odd()])) as house:
        async with house.stream() as turn:
            with pytest.raises(Odd):
                async for _ in turn:
                    pass


async def test_interrupt_in_the_pump_of_a_turn_that_is_stopped() -> None:
    """The quiet end of a cancelled scope does not lose it."""
    error = Odd()
    with House(FakeAdapter([STARTED, error])) as house:
        with pytest.raises(Odd) as info:
            async with house.stream() as turn:
                await anyio.wait_all_tasks_blocked()
                turn.cancel_scope.cancel()
                await checkpoint()
    assert info.value is error


async def test_interrupt_in_the_pump_and_an_error_of_the_body() -> None:
    """What the body raised comes out as it went in."""
    with House(FakeAdapter([STARTED, Odd()])) as house:
        with pytest.raises(LookupError):
            async with house.stream():
                await anyio.wait_all_tasks_blocked()
                raise LookupError


async def test_an_error_of_the_pump_nobody_met() -> None:
    """A turn left before it failed is left quietly."""
    with House(FakeAdapter([STARTED, lutum.Interrupted("cut")])) as house:
        async with house.stream():
            await anyio.wait_all_tasks_blocked()


async def test_an_error_in_opening() -> None:
    """What the adapter raises that is no TurnError is the consumer's too, never a group."""
    error = ZeroDivisionError()
    with House(FakeAdapter(WHOLE, opening=[error])) as house:
        with pytest.raises(ZeroDivisionError) as info:
            async with house.stream() as turn:
                async for _ in turn:
                    pass
    assert info.value is error


async def test_an_adapter_that_makes_no_exchange() -> None:
    """Failing between the reservation and the first byte gives the lease back whole."""

    class Broken(FakeAdapter):
        def exchange(self, prepared: Any) -> Any:
            raise ZeroDivisionError

    with House(Broken(WHOLE)) as house:
        with pytest.raises(ZeroDivisionError):
            async with house.stream():
                raise AssertionError
        gc.collect()
    assert house.budget.spent == lutum.Usage()


Body = Callable[[House], Coroutine[Any, Any, None]]


async def whole(house: House) -> None:
    async with house.stream() as turn:
        async for _ in turn:
            await checkpoint()


async def cut(house: House) -> None:
    async with house.stream() as turn:
        async for event in turn:
            if event == lutum.TextDelta("b"):
                break


async def collected(house: House) -> None:
    await house.llm.text_turn("hello").collect()


async def nested(house: House) -> None:
    async with house.stream() as outer, house.stream() as inner:
        async for _ in outer:
            async for _ in inner:
                await checkpoint()


BODIES = pytest.mark.parametrize("body", [whole, cut, collected, nested])


def check_charge(house: House) -> None:
    """What was sent is charged, whatever was cut; what was not is not."""
    sent = sum(exchange.opened is not None for exchange in house.adapter.exchanges)
    assert (house.budget.spent.input_tokens > 0) == (sent > 0)


@BODIES
@pytest.mark.parametrize("slow", [False, True])
async def test_a_cancel_at_every_await_in_exits(body: Body, slow: bool) -> None:
    """Cancelled from outside at the k-th await, for every k of a turn, nothing is ever left."""
    for k in range(1, 1000):
        with House(FakeAdapter(WHOLE, checkpoints=slow, opening=["sent"])) as house:
            requested, _ = await cancel_at(body(house), k)
            house.over()
            check_charge(house)
        if not requested:
            break
    else:
        raise AssertionError
    assert k > 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@BODIES
async def test_a_native_cancel_at_every_await(body: Body) -> None:
    """The same with `task.cancel()` of asyncio, after every number of steps of its loop."""
    for k in range(1000):
        with House(FakeAdapter(WHOLE, checkpoints=True, opening=["sent"])) as house:
            task = asyncio.ensure_future(body(house))
            for _ in range(k):
                await asyncio.sleep(0)
            over = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() != over
            house.over()
            check_charge(house)
        if over:
            break
    else:
        raise AssertionError
    assert k > 3


async def test_own_scope_cancelled_at_every_step() -> None:
    """Stopped by another task after any number of steps, a block ends quietly; a whole turn stays whole."""
    for k in range(1000):
        with House(FakeAdapter(WHOLE, checkpoints=True, opening=["sent"])) as house:
            turn, ended = house.stream(), False

            async def stop(turn: Stream, steps: int) -> None:
                for _ in range(steps):
                    await checkpoint()
                turn.cancel_scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(stop, turn, k)
                async with turn:
                    async for _ in turn:
                        await checkpoint()
                    ended = True
                house.over()
                group.cancel_scope.cancel()
            if ended:
                assert turn.result.text == "hi"
                assert turn.usage == lutum.Usage(12, 5)
                break
    else:
        raise AssertionError
    assert k > 3


async def generate(house: House) -> AsyncGenerator[lutum.Event]:
    """An async generator that yields inside a turn."""
    async with house.stream() as turn:
        async for event in turn:
            yield event


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_left_in_another_task(backend: str) -> None:
    """A block entered in one task and left in another: the connection is closed, the lease settled, and a
    UsageError names the page. What the task that entered meets is its backend's business."""
    house = House(FakeAdapter(STALLED))
    errors = list[BaseException]()

    async def enter(turn: Stream) -> None:
        await turn.__aenter__()
        await stalled(turn)

    async def leave(turn: Stream) -> None:
        try:
            await turn.__aexit__(None, None, None)
        except lutum.UsageError as exc:
            errors.append(exc)
            house.over()
            with pytest.raises(lutum.UsageError):
                await anext(turn)

    async def main() -> None:
        turn = house.stream()
        async with anyio.create_task_group() as group:
            entered = anyio.Event()

            async def first() -> None:
                await enter(turn)
                entered.set()
                await anyio.sleep_forever()

            group.start_soon(first)
            await entered.wait()
            await leave(turn)
            group.cancel_scope.cancel()

    # Its scopes are still open: asyncio's next scope exit fails, trio's run does.
    with pytest.raises((RuntimeError, ExceptionGroup)) as info:
        anyio.run(main, backend=backend)
    assert "AssertionError" not in repr(info.value)
    assert "docs/execution-model.md" in str(errors[0])
    house.over()
    assert house.budget.spent == COUNTED


# trio warns of the generator, and the task that entered fails in the end with its nursery still open.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_abandoned_generator(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    """Collected, its loop closes it in another task: the money is stopped, and the log names the page."""
    house = House(FakeAdapter(STALLED))

    async def main() -> None:
        events = generate(house)
        await anext(events)
        del events
        gc.collect()
        await anyio.wait_all_tasks_blocked()
        house.over()

    try:
        anyio.run(main, backend=backend)
    except RuntimeError:
        assert backend == "trio"
    gc.collect()
    house.over()
    assert "docs/execution-model.md" in caplog.text
    assert "nothing was charged" not in caplog.text
    assert house.budget.spent.total_tokens > 0


async def test_a_generator_closed_where_it_was_opened() -> None:
    """`contextlib.aclosing` in the same task is the right way, and works."""
    with House(FakeAdapter(STALLED)) as house:
        async with contextlib.aclosing(generate(house)) as events:
            async for _ in events:
                break
        house.over()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_blocks_left_in_the_wrong_order(backend: str) -> None:
    """An outer turn that is left while an inner one is open fails loudly, and both are ended and paid."""
    house = House(FakeAdapter(STALLED))

    async def main() -> None:
        outer, inner = house.stream(), house.stream()
        await outer.__aenter__()
        await inner.__aenter__()
        await stalled(outer)
        await stalled(inner)
        with pytest.raises((RuntimeError, AssertionError)):
            await outer.__aexit__(None, None, None)
        assert house.adapter.exchanges[0].closed is not None
        try:
            await inner.__aexit__(None, None, None)
        except (RuntimeError, AssertionError):
            pass  # what the inner one meets is the backend's business
        house.over()
        assert house.budget.spent == lutum.Usage(20, 4, known="estimated")

    # Each says that the stack is corrupted, and may say so again when the task ends.
    with contextlib.suppress(RuntimeError):
        anyio.run(main, backend=backend)
    house.over()
