"""`lutum budget URL`: shows the ledgers of a Redis server, also live, and changes them for an operator."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, final

import anyio
import msgspec
from msgspec import Struct

from lutum._text import printable
from lutum._values.errors import BadValue, LutumError
from lutum.cli import _interrupt
from lutum.cli._layout import Drawing, table
from lutum.cli._report import report
from lutum.redis import Figures, LedgerView, ledger_names, open_console

REFRESH = 1.0


@final
class BudgetCommand(Struct, frozen=True, kw_only=True):
    """The arguments of the command."""

    url: str
    name: str | None = None
    json: bool = False
    watch: bool = False
    reap: str | None = None
    stop: str | None = None
    resume: str | None = None
    reason: str = "stopped by an operator"
    set_spent: Sequence[str] = ()


def run_budget(command: BudgetCommand) -> int:
    """Show ledgers, or change one. Return 1 if that is not possible."""
    try:
        return _interrupt.run(_run, command, backend="asyncio")
    except (LutumError, OSError) as error:
        report("budget", error)
        return 1


async def _run(command: BudgetCommand) -> int:
    names = [command.name] if command.name is not None else await ledger_names(command.url)
    changes = command.reap or command.stop or command.resume or command.set_spent
    if changes:
        return await _change(command, names)
    if not names:
        raise BadValue("url", "the server has no ledger; a program with lutum.redis creates one")
    drawing = Drawing()
    while True:
        views = list[LedgerView]()
        for name in names:
            async with open_console(command.url, name) as console:
                views.append(await console.view())
        if command.json:
            print(
                msgspec.json.encode([msgspec.to_builtins(view, enc_hook=_other) for view in views]).decode()
            )
            return 0
        lines = [line for view in views for line in described(view, shutil.get_terminal_size().columns)]
        if not command.watch:
            print("\n".join(lines))
            return 0
        sys.stdout.write(drawing.show(lines))
        sys.stdout.flush()
        await anyio.sleep(REFRESH)


async def _change(command: BudgetCommand, names: Sequence[str]) -> int:
    if len(names) != 1:
        have = ", ".join(map(repr, names)) or "none"
        raise BadValue("--name", f"is missing; name the ledger to change. The server's ledgers: {have}")
    amounts = [_amount(text) for text in command.set_spent]
    async with open_console(command.url, names[0]) as console:
        if command.reap is not None:
            if not await console.reap(command.reap):
                raise BadValue(
                    "--reap", f"{command.reap!r} is not a process of this ledger; lutum budget URL lists them"
                )
            print(f"{command.reap} was declared dead. Its sent leases were charged, its others released.")
        if command.stop is not None:
            await console.stop(command.stop, command.reason)
            print(f"{command.stop} is stopped: {command.reason}")
        if command.resume is not None:
            await console.resume(command.resume)
            print(f"{command.resume} grants leases again")
        for name, tokens, cost in amounts:
            await console.set_spent(name, tokens=tokens, cost_usd=cost)
            print(f"{name}: the spent amount is set")
    return 0


def _amount(text: str) -> tuple[str, int | None, Decimal | None]:
    """Read LIMIT=TOKENS, LIMIT=$DOLLARS or both with a comma."""
    name, equals, figures = text.rpartition("=")
    tokens, cost = None, None
    try:
        for part in figures.split(","):
            if part.strip().startswith("$"):
                cost = Decimal(part.strip()[1:])
            else:
                tokens = int(part.replace("_", ""))
    except (ValueError, ArithmeticError):
        equals = ""
    if not equals or not name:
        raise BadValue(
            "--set-spent", f"{text!r} is not LIMIT=TOKENS, LIMIT=$DOLLARS or LIMIT=TOKENS,$DOLLARS"
        )
    return name, tokens, cost


def described(view: LedgerView, width: int) -> list[str]:
    """Return a ledger as lines."""
    lines = [f"{printable(view.name)}, {datetime.fromtimestamp(view.as_of, UTC):%Y-%m-%d %H:%M:%S} UTC"]
    if view.lost:
        lines.append("The server lost data. It grants nothing until --set-spent sets the spent amounts.")
    head = ["limit", "spent", "reserved", "of", "resets", ""]
    lines += table([head, *(_limit(limit) for limit in view.limits)], width)
    if view.rates:
        rates = [
            [rate.kind, f"{rate.left:,}", f"{rate.limit:,}", f"{rate.seconds:g} s"] for rate in view.rates
        ]
        lines += ["", *table([["rate", "left", "of", "in"], *rates], width)]
    processes = [
        [
            printable(process.name),
            f"{process.leases:,}",
            f"{process.sent:,}",
            f"{process.held.total_tokens:,}",
            f"{process.silent:.0f} s",
        ]
        for process in view.processes
    ]
    lines += ["", *table([["process", "leases", "sent", "held", "silent"], *processes], width)]
    if view.waiting:
        waiting = [
            [printable(waiter.process), f"{waiter.amount.total_tokens:,}", waiter.blocked_by or "rates"]
            for waiter in view.waiting[:20]
        ]
        lines += ["", f"{len(view.waiting):,} waiting"]
        lines += table([["process", "asks for", "waits for"], *waiting], width)
    return [*lines, ""]


def _limit(limit: Figures) -> list[str]:
    def figure(tokens: int, cost: Decimal | None) -> str:
        return f"{tokens:,}" + (f" ${cost:f}" if cost else "")

    resets = "" if limit.resets_at is None else f"{datetime.fromtimestamp(limit.resets_at, UTC):%m-%d %H:%M}"
    notes = [f"stopped: {limit.stopped}"] if limit.stopped else ["spent"] if limit.exhausted else []
    most = "" if limit.limit_tokens is None else f"{limit.limit_tokens:,}"
    most += f" ${limit.limit_cost_usd:f}" if limit.limit_cost_usd is not None else ""
    return [
        printable(limit.name),
        figure(limit.spent.total_tokens, limit.spent.cost_usd),
        figure(limit.reserved.total_tokens, limit.reserved.cost_usd),
        most.strip() or "-",
        resets or "-",
        printable("; ".join(notes)),
    ]


def _other(value: Any) -> Any:
    return str(value)
