"""`PrefixGate`: one turn starts first and writes the provider's prompt cache; the others wait and read it.

A prompt-cache entry can be read only after the answer that writes it has begun. If requests with equal
prefixes are sent at the same time, each of them writes the entry
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching). The gate starts no turn. It only
decides which of the running turns sends its request first.
"""

from __future__ import annotations

from collections import deque
from typing import final

import anyio
from anyio.lowlevel import current_token

from lutum._values.errors import UsageError


@final
class PrefixGate:
    """A gate for turns that share a long prefix. The first turn leads; the others wait for its `TurnStarted`.

    Use it with `turn.after(gate)`. The other turns wait before they reserve, and no timeout runs while they
    wait. If the leader fails, is cancelled or must be retried before its answer begins, the next waiter
    leads. Once a leader's answer has begun, the gate stays open. A turn whose prefix is too short for the
    cache neither leads nor waits. A gate belongs to the event loop of its first turn.
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
        """Wait until a turn may start. Return a `Lead` if the turn is the leader, None if the gate is open.

        A checkpoint if it waits. Cancellation removes the turn from the waiters.

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
                else:  # this waiter was woken to lead, but it is cancelled
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
    """The handle with which the leading turn reports its progress. Reports of a turn that no longer leads do
    nothing."""

    __slots__ = ("_gate",)

    def __init__(self, gate: PrefixGate) -> None:
        self._gate = gate

    def started(self) -> None:
        """Report that the answer has begun. This opens the gate."""
        self._gate._started(self)

    def left(self) -> None:
        """Report that the turn has ended, or will be retried after a pause. The next waiter then leads."""
        self._gate._left(self)
