"""The console of an operator, for the command `lutum budget`. It reserves nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, final

from msgspec import Struct

from lutum._budget.amounts import Amount, pico_usd
from lutum._budget.limit import check_name
from lutum._values.errors import BadValue, LedgerError
from lutum._values.results import Usage
from lutum.redis._figures import Figures, figures_of, usage_of
from lutum.redis._server import Address, RedisServer, check_server, open_server
from lutum.redis._wire import BatchReply, encode, from_wire, prefix, to_wire

NEVER = 10**15
"""A heartbeat TTL in ms. It is so long that no call of the console takes a silent process for dead. Only
processes and `reap` do that."""


class ProcessView(Struct, frozen=True, kw_only=True):
    """A process that draws on a ledger.

    Attributes:
      name: the name of the process, for `reap`.
      since: when the process registered at the server, in seconds since the epoch.
      silent: seconds since the last heartbeat of the process.
      leases: how many leases the process holds.
      sent: how many of these leases are for requests that were sent.
      held: the sum of the leases.
    """

    name: str
    host: str
    pid: str
    since: float
    silent: float
    leases: int
    sent: int
    held: Usage


class WaiterView(Struct, frozen=True, kw_only=True):
    """A reservation that waits in the queue.

    Attributes:
      place: a number for the order of the queue. The waiter with the smallest number is the oldest.
      blocked_by: the limit that the reservation waits for; empty for the rates.
      seconds: how long the reservation has waited.
    """

    process: str
    place: int
    seconds: float
    amount: Usage
    limits: tuple[str, ...]
    blocked_by: str


class RateView(Struct, frozen=True, kw_only=True):
    """A rate limit for all processes together."""

    kind: str
    limit: int
    left: int
    seconds: float


class LedgerView(Struct, frozen=True, kw_only=True):
    """A ledger at one moment.

    Attributes:
      as_of: the server's time, in seconds since the epoch.
      lost: True if the server lost data. Nothing is then reserved until `set_spent` is called.
    """

    name: str
    as_of: float
    lost: bool
    limits: tuple[Figures, ...]
    processes: tuple[ProcessView, ...]
    waiting: tuple[WaiterView, ...]
    rates: tuple[RateView, ...]


@final
class Console:
    """One ledger, for an operator. Made by `open_console`."""

    def __init__(self, server: RedisServer, address: Address, name: str) -> None:
        self._server = server
        self._address = address
        self._name = name

    async def view(self) -> LedgerView:
        """Return the ledger at this moment. After a cancellation, nothing has changed."""
        reply = await self._call(["view"])
        found: list[list[Any]] = reply.results[0]
        processes, waiting, rows, rates = found[:4]
        limits = sorted((figures_of(row).at(reply.now / 1000) for row in rows), key=lambda limit: limit.name)
        return LedgerView(
            name=self._name,
            as_of=reply.now / 1000,
            lost=bool(reply.lost),
            limits=tuple(limits),
            processes=tuple(_process(row) for row in processes or []),
            waiting=tuple(sorted((_waiter(row) for row in waiting or []), key=lambda waiter: waiter.place)),
            rates=tuple(
                RateView(kind=kind, limit=int(limit), left=int(left), seconds=period / 1000)
                for kind, limit, left, period in rates or []
            ),
        )

    async def reap(self, process: str) -> bool:
        """Take a process for dead: charge its sent leases, and release the others.

        Return False if the server does not know the process. After a cancellation, the change may have
        happened.
        """
        reply = await self._call(["reap", process])
        return bool(reply.results[0][0])

    async def stop(self, limit: str, reason: str) -> None:
        """Stop a limit, or the whole ledger with "*". After a cancellation, the change may have happened."""
        await self._call(["stop", limit, reason])

    async def resume(self, limit: str) -> None:
        """Let a limit grant reservations again. After a cancellation, the change may have happened."""
        await self._call(["resume", limit])

    async def set_spent(
        self, limit: str, *, tokens: int | None = None, cost_usd: Decimal | str | int | float | None = None
    ) -> None:
        """Set the spent amount of a limit. If the server had lost data, reservations are possible again.

        After a cancellation, the change may have happened.

        Raises:
          BadValue: neither figure is given, or a figure is invalid.
        """
        if tokens is None and cost_usd is None:
            raise BadValue("set_spent", f"{limit!r} needs tokens or US dollars")
        if tokens is not None and not 0 <= tokens <= 2**53:
            raise BadValue("set_spent", f"{tokens} tokens are not between 0 and 2**53")
        amount = Amount(tokens or 0, 0, 0 if cost_usd is None else pico_usd(cost_usd, "set_spent"))
        await self._call(
            ["set_spent", limit, to_wire(amount), int(tokens is not None), int(cost_usd is not None)]
        )

    async def _call(self, operation: list[Any]) -> BatchReply:
        reply = await self._server.call(prefix(self._name), "", 0, "", NEVER, encode([operation]), "")
        if reply.status == "missing":
            raise LedgerError(f"Redis at {self._address} has no ledger {self._name!r}")
        return reply


@asynccontextmanager
async def open_console(url: str, name: str) -> AsyncGenerator[Console]:
    """Open the console of a ledger.

    Raises:
      BadValue: the URL or the name is invalid.
      LedgerError: the server cannot be reached, or has no such ledger.
    """
    check_name("name", name)
    address = Address(url)
    async with open_server(address, timeout=10.0) as server:
        await check_server(server, address)
        console = Console(server, address, name)
        await console.view()
        yield console


async def ledger_names(url: str) -> list[str]:
    """Return the names of the ledgers on a server. After a cancellation, nothing has changed.

    A checkpoint.

    Raises:
      BadValue: the URL is invalid.
      LedgerError: the server cannot be reached.
    """
    address = Address(url)
    async with open_server(address, timeout=10.0) as server:
        await check_server(server, address)
        return await server.names()


def _process(row: list[Any]) -> ProcessView:
    name, host, pid, since, silent, leases, sent, held = row
    return ProcessView(
        name=name,
        host=host,
        pid=pid,
        since=since / 1000,
        silent=silent / 1000,
        leases=int(leases),
        sent=int(sent),
        held=usage_of(from_wire(held)),
    )


def _waiter(row: list[Any]) -> WaiterView:
    process, place, age, amount, limits, blocked = row
    return WaiterView(
        process=process,
        place=int(place),
        seconds=age / 1000,
        amount=usage_of(from_wire(amount)),
        limits=tuple(limits),
        blocked_by=blocked,
    )
