"""`PrefixGate`: one turn goes ahead and writes the provider's prompt cache, the others wait and read it.

A prompt-cache entry is readable only after the answer that writes it has begun, so equal prefixes that are
sent at once are each written (https://platform.claude.com/docs/en/build-with-claude/prompt-caching). The gate
starts nothing: it only decides which of the turns that run anyway goes ahead.
"""

from __future__ import annotations

from collections import deque
from typing import final

import anyio
from anyio.lowlevel import current_token

from lutum._values.errors import UsageError


@final
class PrefixGate:
    """Lets the first turn that enters lead, and the others wait for its `TurnStarted`.

    Give it to turns that share a long prefix: `turn.after(gate)`. The others wait before they reserve,
    outside all timeouts. If the leader fails, is cancelled or must be retried before its answer began, the
    next waiter leads. Once a leader's answer has begun, the gate is open for good. A turn whose prefix is too
    short to be cached neither leads nor waits. A gate belongs to the event loop of its first turn.
    """

    __slots__ = ("_leader", "_loop", "_open", "_waiters")

    def __init__(self) -> None:
        self._open = False
        self._leader: Lead | None = None
        self._waiters = deque[anyio.Event]()
        self._loop: object = None

    @property
    def is_open(self) -> bool:
        """True once the answer of a leader has begun."""
        return self._open

    async def enter(self) -> Lead | None:
        """Wait until a turn may start. Returns its lead if it goes ahead, None once the gate is open.

        A checkpoint if it waits. Cancelled, the turn no longer waits.

        Raises:
          UsageError: the gate is used in another event loop.
        """
        here = current_token()
        if self._loop is None:
            self._loop = here
        elif self._loop != here:
            raise UsageError("after: this gate belongs to another event loop; make one for each loop")
        while not self._open:
            if self._leader is None:
                self._leader = Lead(self)
                return self._leader
            woken = anyio.Event()
            self._waiters.append(woken)
            try:
                await woken.wait()
            except BaseException:
                if woken in self._waiters:
                    self._waiters.remove(woken)
                else:  # it was woken to lead and cannot
                    self._wake_next()
                raise
        return None

    def _started(self, lead: Lead) -> None:
        if self._leader is lead:
            self._open, self._leader = True, None
            while self._waiters:
                self._waiters.popleft().set()

    def _left(self, lead: Lead) -> None:
        if self._leader is lead:
            self._leader = None
            self._wake_next()

    def _wake_next(self) -> None:
        if not self._open and self._leader is None and self._waiters:
            self._waiters.popleft().set()

    def __repr__(self) -> str:
        state = "open" if self._open else "closed" if self._leader is None else "led"
        return f"<PrefixGate {state}, {len(self._waiters)} waiting>"


@final
class Lead:
    """The reports of the leading turn. Calls of a turn that no longer leads do nothing."""

    __slots__ = ("_gate",)

    def __init__(self, gate: PrefixGate) -> None:
        self._gate = gate

    def started(self) -> None:
        """The answer has begun: open the gate."""
        self._gate._started(self)

    def left(self) -> None:
        """The turn has ended, or will be retried after a pause: let the next waiter lead."""
        self._gate._left(self)
