"""`RedisLedger`: the access of one process to a ledger in Redis."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, final

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from lutum._budget.amounts import Amount, amount_of
from lutum._budget.limit import Limit, check_name
from lutum._values.errors import BadValue, LedgerError, LedgerLost, UsageError
from lutum._values.results import Estimate, Usage
from lutum._values.shared_ledger import LedgerState, SharedLedger, TurnIdentity
from lutum.redis._announced import Windows, check_limits, limit_operation
from lutum.redis._courier import Courier
from lutum.redis._figures import Figures, refusal, state_of, stopped
from lutum.redis._lease import RedisLease
from lutum.redis._scope import RedisScope
from lutum.redis._server import Address, check_server, open_server
from lutum.redis._slack import Slack
from lutum.redis._waiting import Waiting
from lutum.redis._wire import KNOWN, WHOLE, to_wire

logger = logging.getLogger("lutum")

FLUSH = 5.0
"""Seconds that the end of the block has to send the remaining operations."""


@final
class RedisLedger(SharedLedger):
    """One budget for many processes: `async with RedisLedger(url, "team") as ledger`.

    Give the ledger to `Lutum(budget=ledger)`. For turns that also draw on other limits, use
    `llm.charged_to(ledger.scope(Limit("user/7")))`.

    Args:
      url: redis://, rediss:// (TLS) or unix://, with user, password and database.
      name: the ledger's name on that server, without braces.
      limits: the limits that every reservation of the ledger draws on. If no limit is given, the ledger uses
        the limits that a process gave last.
      on_exhausted: whether a reservation that does not fit is refused or waits in the queue.
      slack: the part of each limit that this process holds, so that turns can grow. Default: a hundredth of
        the limit, but at most 4,000 tokens and 0.10 US dollars.
      tokens_per_minute: how fast all processes together may reserve tokens.
      requests_per_minute: how many requests all processes together may start.
      follow_rate_limits: learn the rates from the headers of the answers, for all processes. Use it for a
        ledger whose turns go to one account of one provider. It requires `on_exhausted="wait"`.
      create: whether a ledger that does not exist is created. With False, entering raises LedgerLost, so
        that the loss of a ledger is noticed at once.
      ttl: seconds without a heartbeat after which a process counts as dead.

    Raises:
      BadValue: a value is invalid; the message names it.
      LedgerError (entering): the server cannot be reached, refuses, or is too old.
      LedgerLost (entering): the server lost the ledger's data.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *limits: Limit,
        on_exhausted: Literal["refuse", "wait"] = "refuse",
        slack: Estimate | None = None,
        tokens_per_minute: int | None = None,
        requests_per_minute: int | None = None,
        follow_rate_limits: bool = False,
        create: bool = True,
        ttl: float = 60.0,
    ) -> None:
        check_name("name", name)
        check_limits(limits)
        if on_exhausted not in ("refuse", "wait"):
            raise BadValue("on_exhausted", f"{on_exhausted!r} is neither 'refuse' nor 'wait'")
        if follow_rate_limits and on_exhausted != "wait":
            raise BadValue("follow_rate_limits", "needs on_exhausted='wait'")
        for field, rate in (
            ("tokens_per_minute", tokens_per_minute),
            ("requests_per_minute", requests_per_minute),
        ):
            if rate is not None and rate < 1:
                raise BadValue(field, f"{rate} is below 1")
        if not 0.5 <= ttl <= 3600:
            raise BadValue("ttl", f"{ttl!r} is not between 0.5 and 3,600 s")
        self.name = name
        self.own_names: tuple[str, ...] = (*(limit.name for limit in limits), WHOLE)
        self.follows_rates: bool = follow_rate_limits or bool(tokens_per_minute or requests_per_minute)
        self._limits = limits
        self._wait = on_exhausted == "wait"
        self._rates = (tokens_per_minute or 0, requests_per_minute or 0, int(follow_rate_limits))
        self._create = create
        self._ttl = ttl
        # The limit of a round trip. It is 5 s, or less if the TTL is short.
        self._answer = min(5.0, ttl / 2)
        self.courier: Courier = Courier(
            Address(url), name, self, ttl=ttl, answer=self._answer, offer=min(5.0, ttl / 4)
        )
        self._waiting = dict[str, Waiting]()
        self._leases = dict[str, RedisLease]()
        self._totals = dict[str, Amount]()
        given = None if slack is None else amount_of(slack)
        self._slack = Slack(self.courier, self.own_names, given, self._figures)
        self._announced = dict[str, Limit]()
        self._windows = Windows(self._announced)
        self._stopped = dict[str, str]()
        self._numbers = 0
        self._opened = -1
        self._loop: EventLoopToken | None = None
        self._group: TaskGroup | None = None
        self._scopes = list[anyio.CancelScope]()
        self._used = False

    # The block.

    async def __aenter__(self) -> Self:
        """Connect, register this process and reserve its slack.

        After a cancellation, nothing is open. The server may hold the registration and the slack of this
        process until they expire, because its request may have arrived.

        A checkpoint.
        """
        if self._used:
            raise UsageError("RedisLedger: this object was entered before; make another one")
        self._used = True
        courier = self.courier
        async with open_server(courier.address, timeout=self._answer) as server:
            await check_server(server, courier.address)
            reply = await courier.open(server, self._first(), create=self._create)
        self._opened = int(reply.now)
        self._owned(reply.results[-2])
        if courier.lost:
            logger.error(
                "ledger %r was lost; nothing is reserved until an operator sets what was spent", self.name
            )
        try:
            await anyio.to_thread.run_sync(courier.notice.connect, courier.address)
        except OSError as error:
            logger.warning("ledger %r: no connection for notices: %s", self.name, error)
        for limit in self._limits:
            self._announced[limit.name] = limit
        self._loop = current_token()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for task in (courier.run, courier.listen, courier.keep_notice):
            self._group.start_soon(self._shielded, task, name="lutum ledger")
        for name in self.own_names:
            self._slack.tend(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the remaining operations, for 5 s at the most, and give back the slack.

        A checkpoint.
        """
        assert self._group is not None
        courier = self.courier
        with anyio.move_on_after(FLUSH, shield=True):
            done = anyio.Event()
            courier.post(["bye"], lambda _: done.set())
            await done.wait()
        if not courier.idle:
            logger.error(
                "ledger %r: Redis could not be reached at the end; settlements of this process are not"
                " recorded, and its leases will be charged in full",
                self.name,
            )
        self._loop = None
        for waiting in self._waiting.values():
            waiting.put(UsageError("the ledger was closed"))
        self._group.cancel_scope.shield = True
        for scope in self._scopes:
            scope.cancel()
        await self._group.__aexit__(None, None, None)
        courier.notice.close()

    async def _shielded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task in a shield, so that it continues while a cancelled body settles its leases."""
        with anyio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            await task()

    # Reserving.

    def scope(self, *limits: Limit) -> RedisScope:
        """Return a scope: its reservations draw on these limits and on the ledger's own. No I/O.

        Raises:
          BadValue: no limit is given, or two limits have the same name.
        """
        if not limits:
            raise BadValue("limits", "are missing; for the ledger's own limits, use the ledger itself")
        check_limits(limits)
        if (twice := {limit.name for limit in limits} & set(self.own_names)) != set():
            raise BadValue("limits", f"{sorted(twice)[0]!r} is a limit of the whole ledger already")
        return RedisScope(self, limits)

    async def reserve(self, estimate: Estimate, turn: TurnIdentity) -> RedisLease:
        """Take an amount from the ledger's own limits. As `RedisScope.reserve`.

        A checkpoint.
        """
        return await self.reserve_under(estimate, turn, ())

    @property
    def state(self) -> LedgerState:
        """The state of the ledger's own limits, as this process knows it.

        `spent` and `reserved` are those of the first limit. `remaining` is the smallest remainder of all.
        """
        return state_of(self.known(self.own_names), self.courier.as_of)

    @property
    def limits(self) -> tuple[Figures, ...]:
        """The figures of the own limits and of the whole ledger ("*"), as this process knows them."""
        return tuple(self.known(self.own_names))

    async def refresh(self) -> LedgerState:
        """Ask the server for the figures. As `RedisScope.refresh`.

        A checkpoint.
        """
        await self.ask(["watch", list(self.own_names)])
        return self.state

    async def stop(self, reason: str) -> None:
        """End the running turns of all processes, and refuse new turns. As `RedisScope.stop`.

        A checkpoint.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise BadValue("reason", "is empty; give the reason, which the ended turns raise")
        await self.ask(["stop", WHOLE, reason])

    async def resume(self) -> None:
        """Let the ledger grant reservations again. As `RedisScope.resume`.

        A checkpoint.
        """
        await self.ask(["resume", WHOLE])

    @property
    def as_of(self) -> float | None:
        """The time of the figures, in seconds since the epoch by the server's clock."""
        return self.courier.as_of

    @property
    def process(self) -> str:
        """The name of this process on the server."""
        return self.courier.process

    def __repr__(self) -> str:
        return f"<RedisLedger {self.name!r} at {self.courier.address}>"

    async def reserve_under(
        self, estimate: Estimate, turn: TurnIdentity, limits: Sequence[Limit]
    ) -> RedisLease:
        """Take an amount from these limits and from the ledger's own limits. As `RedisScope.reserve`.

        A checkpoint.
        """
        await checkpoint()
        self._check()
        self.announce(limits)
        names = (*(limit.name for limit in limits), *self.own_names)
        self._numbers += 1
        id = str(self._numbers)
        waiting = self._waiting[id] = Waiting()
        amount, about = amount_of(estimate), [turn.model, turn.label, turn.turn]
        try:
            await self._granted(waiting, id, amount, names, len(limits), about)
        except BaseException:
            self.courier.post(["cancel", id])
            raise
        finally:
            del self._waiting[id]
        lease = self._leases[id] = RedisLease(self, id, amount, names, about)
        self._slack.open.update(names)
        for name in names:
            self._slack.tend(name)
            if (reason := self._stopped.get(name)) is not None:  # stopped between the grant and this step
                lease._revoke(stopped(name, reason))
        return lease

    async def _granted(
        self, waiting: Waiting, id: str, amount: Amount, names: tuple[str, ...], own: int, about: list[str]
    ) -> None:
        """Request the amount until it is granted. Raise if it is refused."""

        def ask() -> None:
            windows = dict[str, list[Any]]()
            for name in names:
                window = self._windows.window(name, self._figures(name), self.courier.now)
                if window is not None:
                    windows[name] = window
            self.courier.post(
                ["reserve", id, to_wire(amount), names, own, int(self._wait), about, windows], waiting.put
            )

        ask()
        yielded = False
        for _ in range(20):
            with anyio.move_on_after(None if waiting.queued else self._answer):
                result = await waiting.get()
                if isinstance(result, Exception):
                    raise result
                match result:
                    case ["ok"]:
                        return
                    case ["wait"]:
                        waiting.queued = True
                        self._slack.give_back(names)
                    case ["window"]:
                        ask()
                    case ["again"]:  # the server does not have the reservation any more
                        waiting.queued = False
                        ask()
                    case ["lost"]:
                        raise self._lost_error()
                    case ["full", *_] if not yielded and self._slack.give_back(names):
                        yielded = True
                        ask()
                    case _:
                        raise refusal(amount, result)
                continue
            raise self.courier.error or LedgerError(
                f"Redis at {self.courier.address} gave no answer within {self._answer:g} s;"
                " nothing was reserved"
            )
        raise LedgerError(f"ledger {self.name!r}: a reservation was lost 20 times; nothing was reserved")

    def _check(self) -> None:
        if self._loop is None:
            if self._used:
                raise UsageError("RedisLedger: its block has ended; reserve inside of `async with`")
            raise UsageError("RedisLedger: it is not open; use `async with RedisLedger(...) as ledger`")
        if self._loop != current_token():
            raise UsageError("RedisLedger: it belongs to another event loop; open one in each loop")
        if self.courier.error is not None:
            raise LedgerError(f"{self.courier.error}; nothing was reserved") from None
        if self.courier.lost:
            raise self._lost_error()

    def _lost_error(self) -> LedgerLost:
        return LedgerLost(
            f"Redis at {self.courier.address} lost the data of ledger {self.name!r}. The living processes"
            " have reported what they spent; set the rest with `lutum budget URL --name"
            f" {self.name} --set-spent LIMIT=TOKENS`"
        )

    async def ask(self, operation: list[Any]) -> Any:
        """Send an operation and wait for its result.

        A checkpoint.
        """
        await checkpoint()
        if self._loop is None:
            raise UsageError("RedisLedger: it is not open; use `async with RedisLedger(...) as ledger`")
        waiting = Waiting()
        self.courier.post(operation, waiting.put)
        with anyio.move_on_after(self._answer):
            return await waiting.get()
        raise self.courier.error or LedgerError(
            f"Redis at {self.courier.address} gave no answer within {self._answer:g} s"
        )

    # The operations of leases.

    def grow_lease(self, lease: RedisLease, more: Amount) -> bool:
        if not self._slack.take(lease._names, more):
            return False
        lease._amount += more
        self.courier.post(["grow", lease._id, to_wire(more)], urgent=False)
        for name in lease._names:
            self._slack.tend(name)
        return True

    def settle_lease(self, lease: RedisLease, usage: Usage) -> None:
        used = amount_of(usage)
        self._slack.open.subtract(lease._names)

        def recorded(_: Any) -> None:
            self._leases.pop(lease._id, None)
            for name in lease._names:
                self._totals[name] = self._totals.get(name, Amount()) + used

        unsent = int(not lease._was_sent and used == Amount())
        operation = ["settle", lease._id, to_wire(used), KNOWN.index(usage.known), lease._names, unsent]
        if self._loop is None:
            logger.error(
                "ledger %r is closed: the usage of %d tokens is not recorded; the lease is charged in full",
                self.name,
                used.tokens,
            )
            return
        self.courier.post(operation, recorded, urgent=False)
        for name in lease._names:
            self._slack.tend(name)

    def mark_sent(self, lease: RedisLease) -> None:
        if self.courier.lapsed or lease._reaped:
            raise LedgerError(
                f"Redis at {self.courier.address} has not heard from this process for too long, and may have"
                " given its reservation away; nothing was sent"
            )
        lease._was_sent = True
        key = f"{self.courier.prefix}sent:{self.courier.process}"
        if not self.courier.notice.write(key, lease._id):
            self.courier.post(["sent", lease._id])

    # Limits and their figures.

    def _figures(self, name: str) -> Figures:
        return self.courier.figures.get(name) or Figures(name=name)

    def known(self, names: Sequence[str]) -> list[Figures]:
        now = self.courier.now
        return [self._figures(name).at(now) for name in names]

    def announce(self, limits: Sequence[Limit]) -> None:
        """Send the limits that this process has not sent yet."""
        for limit in limits:
            known = self._announced.get(limit.name)
            if known == limit:
                continue
            self._announced[limit.name] = limit
            if self._loop is not None:
                # When a process sends a limit for the first time, the limit has the age of the process. So an
                # old process does not replace the limit of a newer process.
                self.courier.post(limit_operation(limit, self._opened if known is None else -1))

    def _first(self) -> list[list[Any]]:
        """Return the operations that register this process."""
        first: list[list[Any]] = [["hello", platform.node()[:60], str(os.getpid())]]
        if self.follows_rates:
            first.append(["rates", *self._rates])
        first += [limit_operation(limit, self._opened) for limit in self._limits]
        return [*first, ["own", [limit.name for limit in self._limits]], ["watch", list(self.own_names)]]

    def _owned(self, stored: list[str]) -> None:
        """Take over the ledger's stored limits, if this process gave no limits."""
        if not self._limits:
            self.own_names = self._slack.always = (*stored, WHOLE)

    # The state that the courier needs (`Memory`).

    def report(self) -> list[list[Any]]:
        self._slack.clear()
        leases = [
            [lease._id, to_wire(lease._amount), lease._names, lease._about, int(lease._was_sent)]
            for lease in self._leases.values()
        ]
        totals = {name: to_wire(total) for name, total in self._totals.items()}
        scoped = [limit_operation(limit, self._opened) for limit in self._announced.values()]
        return [["adopt", totals, leases], *self._first(), *scoped]

    def deliver(self, id: str, result: list[Any]) -> None:
        if (waiting := self._waiting.get(id)) is not None:
            waiting.put(result)

    def stopped(self, reasons: dict[str, str]) -> None:
        self._stopped = reasons
        if reasons:
            for lease in list(self._leases.values()):
                for name in lease._names:
                    if name in reasons:
                        lease._revoke(stopped(name, reasons[name]))
        if self.courier.lost:
            for waiting in self._waiting.values():
                if waiting.queued:
                    waiting.put(["lost"])
        for name in self._slack.names():
            self._slack.tend(name)

    def reaped(self) -> None:
        self._slack.clear()
        for lease in self._leases.values():
            lease._reaped = True

    def reconnected(self) -> None:
        for lease in self._leases.values():
            if lease._was_sent and not lease.settled:
                self.courier.post(["sent", lease._id])

    def regular(self) -> list[tuple[list[Any], Callable[[Any], None] | None]]:
        watched = [name for name, count in self._slack.open.items() if count > 0]
        return [
            (["offer", [id for id, waiting in self._waiting.items() if waiting.queued]], self._lost_waiters),
            (["own", []], self._owned),
            (["watch", [*self.own_names, *watched]], None),
        ]

    def _lost_waiters(self, gone: list[Any]) -> None:
        for id, granted in gone:
            waiting = self._waiting.get(id)
            if waiting is not None and waiting.queued and not waiting.results:
                waiting.put(["ok"] if granted else ["again"])

    def unreachable(self, seconds: float, error: LedgerError) -> None:
        if seconds > self._ttl:
            for waiting in self._waiting.values():
                if waiting.queued:
                    waiting.put(error)
