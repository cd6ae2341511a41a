"""The script, and the encoding of its arguments and replies. No I/O."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from lutum._budget.amounts import Amount
from lutum._values.results import Known

# The order is fixed, because each part uses the parts before it.
_PARTS = ("_amounts", "_rates", "_line", "_processes", "_operations")

MILLI = 10**9
"""Pico-USD in a thousandth of a US dollar: the script keeps money as two exact numbers."""

KNOWN: tuple[Known, ...] = ("exact", "recovered", "lower_bound", "estimated")

WHOLE = "*"
"""The name of the limit that every reservation of a ledger draws on. It counts tokens and cost, but has no
maximum."""


@cache
def script() -> tuple[str, str]:
    """Return the text of the script and its SHA-1, by which the server knows it."""
    folder = files("lutum.redis")
    text = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def prefix(name: str) -> str:
    """Return the prefix of a ledger's keys. Its braces put all keys into one hash slot."""
    return f"lutum:{{{name}}}:"


def to_wire(amount: Amount) -> list[int]:
    return [amount.input, amount.output, *divmod(amount.pico, MILLI)]


def from_wire(wire: Any) -> Amount:
    return Amount(int(wire[0]), int(wire[1]), int(wire[2]) * MILLI + int(wire[3]))


class BatchReply(msgspec.Struct, array_like=True, frozen=True):
    """The reply to a batch. If `status` is not "ok", only `status` and `epoch` have a value.

    Attributes:
      status: "ok", "lost", "behind" or "missing".
      now: the server's time, in milliseconds since the epoch.
      epoch: the ledger's epoch; for "behind" the number of the last batch that the server knows.
      lost: whether the server lost data and no operator has set what was spent.
      results: one for each operation.
      letters: the messages for waiters that were granted or refused, each as [id, result].
      rows: the figures of the limits that the batch names.
      due: milliseconds until a waiter may be granted by the rates; -1 if there is none.
      reaped: whether the process had been taken for dead.
      stopped: the name and the reason of each stopped limit, one after the other.
    """

    status: str
    now: float = 0
    epoch: str = ""
    lost: int = 0
    results: list[Any] = []
    letters: list[Any] = []
    rows: list[Any] = []
    due: float = -1
    reaped: int = 0
    stopped: list[str] = []


_decoder = msgspec.msgpack.Decoder(list[Any])
encode = msgspec.msgpack.Encoder().encode


def decode(data: bytes) -> BatchReply:
    raw = _decoder.decode(data)
    return (
        BatchReply(*raw) if raw[0] == "ok" else BatchReply(raw[0], epoch=str(raw[1]) if len(raw) > 1 else "")
    )
