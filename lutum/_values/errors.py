"""Every exception lutum raises, by whose fault it is.

LutumError
├── LedgerError                    a shared ledger: its server cannot be reached, or refuses
│   └── LedgerLost                     its server lost data; an operator must set what was spent
├── UsageError (RuntimeError)      you: nothing was sent and nothing was reserved
│   ├── BadValue (ValueError)          a value names its field
│   ├── StaleCommit                    the session moved on since the turn was built
│   ├── TurnNotFinished                asked for a result before the consumer reached it
│   ├── EstimateRequired               no bound on what the request may cost
│   ├── UnpricedModel                  a cost limit, and no price for the model
│   ├── HookBusy                       a stateful hook was called while it runs
│   └── TranscriptError (ValueError)   a transcript that may not be built or loaded
├── CallTaken                      a call was claimed by another run, or may have happened already
├── StoreError                     a store of branches; nothing is half written
│   ├── StoreValue (BadValue)          a URL, a name or a value that the store does not take
│   ├── StaleBranch                    the branch moved since the session was made or last saved
│   ├── NoSuchBranch                   there is no branch of that name
│   ├── BranchExists                   there is a branch of that name already
│   ├── RoundOpen                      the branch holds an open round that this would pass over
│   ├── StoreBusy                      the database is locked by others for too long
│   ├── StoreFormat                    not a store, or the store of a newer version
│   └── StoreCorrupt                   a row is damaged; the message names it
└── TurnError                      the turn began; carries partial, usage and response
    ├── ProviderError                  the provider: a status, an error event, malformed data
    ├── NetworkError                   no connection, or it failed before the response head
    ├── Interrupted                    the response began and ended without its terminal event
    ├── TurnTimeout (TimeoutError)     a deadline of `Timeouts`, named in `reason`
    ├── BudgetExceeded                 refused before sending, or could not grow in mid-stream
    ├── OutputLimitExceeded            a structured value cut at the output limit
    ├── OutputInvalid                  a structured value that does not decode
    ├── ContractViolation              the model did what the request ruled out
    ├── Stopped                        your handler returned `STOP`
    └── Refused                        `.value` of a structured result that is a refusal
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lutum._values.answer import PartialResult, Response, Usage

if TYPE_CHECKING:
    from datetime import datetime

ErrorKind = Literal[
    "invalid_request",
    "authentication",
    "permission",
    "billing",
    "not_found",
    "too_large",
    "context_length",
    "rate_limit",
    "timeout",
    "overloaded",
    "server",
    "malformed",
    "unknown",
]
"""What went wrong at the provider, the same for an HTTP status and for an error event."""


class LutumError(Exception):
    """The root of everything lutum raises on purpose."""


class UsageError(LutumError, RuntimeError):
    """Your call was wrong; nothing was sent, reserved or changed."""


class BadValue(UsageError, ValueError):
    """A value that cannot be right; `field` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[BadValue], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class LedgerError(LutumError):
    """A shared ledger cannot answer: its server cannot be reached, or refuses. Nothing was sent."""


class LedgerLost(LedgerError):
    """The server of a shared ledger lost data. Nothing is reserved until an operator sets what was spent."""


class ToolError(LutumError):
    """Raised by your tool: its message is what the model is told. Of other exceptions it learns the type."""


class StaleCommit(UsageError):
    """The session's transcript is no longer the one the turn was built on; nothing changed."""


class TurnNotFinished(UsageError):
    """The turn has no result: its consumer has not reached `Completed`."""


class EstimateRequired(UsageError):
    """Nothing bounds what this request may cost; the message names the item that is open."""


class UnpricedModel(UsageError):
    """A cost limit applies and the model has no price."""


class HookBusy(UsageError):
    """A hook of a `Stateful` object was called while one of its hooks runs; `slot` and `hook` name both."""

    def __init__(self, slot: str, hook: str) -> None:
        super().__init__(f"{slot}: {hook} is asked while it answers already")
        self.slot = slot
        self.hook = hook

    def __reduce__(self) -> tuple[type[HookBusy], tuple[str, str]]:
        return type(self), (self.slot, self.hook)


class TranscriptError(UsageError, ValueError):
    """A transcript operation or file that would break a rule; the message names item and reason."""


class CallTaken(LutumError):
    """A call was claimed by another run, or was started by one that ended without a result.

    Attributes:
      key: the key of the call.
      by: who started it, as far as that is known.
      alive: whether that run goes on.
    """

    def __init__(self, message: str, *, key: str = "", by: str = "", alive: bool = True) -> None:
        super().__init__(message)
        self.key = key
        self.by = by
        self.alive = alive


class StoreError(LutumError):
    """A store could not do what was asked; nothing is half written."""


class StoreValue(StoreError, BadValue):
    """A URL, a name, a digest or a value that the store does not take; `field` names it."""


class StaleBranch(StoreError):
    """The branch moved since the session was made from it or last saved to it; nothing changed.

    Attributes:
      expected: the digest of the head that the session was made from or last saved at.
      found: the digest of the head of the branch.
      common: how many items both begin with.
    """

    def __init__(self, message: str, *, expected: str = "", found: str = "", common: int = 0) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found
        self.common = common


class NoSuchBranch(StoreError):
    """The store has no branch of that name."""


class BranchExists(StoreError):
    """The store has a branch of that name already."""


class RoundOpen(StoreError):
    """The branch holds an open round: commit and save it, or drop it with `discard`."""


class StoreBusy(StoreError):
    """The database was locked by others for longer than the store waits."""


class StoreFormat(StoreError):
    """Not a store, or one that a newer version wrote."""


class StoreCorrupt(StoreError):
    """A row of the store is damaged; the message names it."""


class TurnError(LutumError):
    """A turn that did not complete, or was refused before it began.

    Attributes:
      partial: what had arrived, as far as the consumer read it.
      usage: what was settled, with its label.
      response: status, ids and headers of the answer, if its head came.
      started: True once a semantic event was delivered to the consumer.
    """

    partial: PartialResult = PartialResult()
    usage: Usage = Usage()
    response: Response | None = None
    started: bool = False


class ProviderError(TurnError):
    """The provider answered with an error, or with data that is not its protocol.

    `str()` gives status, kind, host, model and request id, and then the provider's words.

    Attributes:
      message: the provider's words alone.
      kind: the class of the fault, equal for an HTTP status and an in-stream error event.
      status: the HTTP status, or the one the in-stream error's type stands for.
      type: the provider's own `error.type` (or code), as sent.
      request_id: the provider's id of the request.
      retry_after: seconds the provider asked to wait.
      should_retry: the provider's own word on a retry (`x-should-retry`); None if it did not say.
      body: the raw body or event, cut at 64 KiB.
      host, url, model: where the request went, and the model that it asked for; None before a turn knows.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = "unknown",
        status: int | None = None,
        type: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind: ErrorKind = kind
        self.status = status
        self.type = type
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.body = body[: 64 * 1024]
        self.host: str | None = None
        self.url: str | None = None
        self.model: str | None = None

    def __str__(self) -> str:
        where = f" from {self.host}" if self.host else ""
        if self.status == 404 and self.url:
            where = f" from {self.url}"
        details = [f"model {self.model}"] if self.model else []
        details += [f"request {self.request_id}"] if self.request_id else []
        status = f"{self.status} " if self.status is not None else ""
        told = f" ({', '.join(details)})" if details else ""
        return f"{status}{self.kind}{where}{told}: {self.message}"


class NetworkError(TurnError):
    """No connection to the provider, or it failed before the response head."""


class Interrupted(TurnError):
    """The response began and its connection ended with no terminal event."""


class TurnTimeout(TurnError, TimeoutError):
    """A deadline of `Timeouts` passed; `reason` says which."""

    def __init__(
        self, reason: Literal["total", "first_event", "idle", "connect", "reserve"], seconds: float
    ) -> None:
        super().__init__(f"{reason} timeout: {seconds:g} s passed")
        self.reason = reason
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[TurnTimeout], tuple[str, float]]:
        return type(self), (self.reason, self.seconds)


class BudgetExceeded(TurnError):
    """The ledger refused the reservation, or could not grow the lease in mid-stream.

    Attributes:
      scope: the name of the shared limit that refused; None for a limit of this process.
      resets_at: when that limit starts afresh, if it applies per period.
    """

    def __init__(
        self, message: str = "", *, scope: str | None = None, resets_at: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.scope = scope
        self.resets_at = resets_at


class OutputLimitExceeded(TurnError):
    """A structured value was cut at the output limit."""


class OutputInvalid(TurnError):
    """A structured value that does not decode, or did not come.

    Attributes:
      raw: its JSON, as it came.
      path: where in it, `$` for the whole.
      reason: what is wrong there; `str(exc)` adds the path.
    """

    def __init__(self, message: str, *, raw: str = "", path: str = "$", reason: str = "") -> None:
        super().__init__(message)
        self.raw = raw
        self.path = path
        self.reason = reason or message


class ContractViolation(TurnError):
    """The model did what the request ruled out, such as a tool call in a turn without tools."""


class Stopped(TurnError):
    """The handler of `collect_with` returned `lutum.STOP`."""


class Refused(TurnError):
    """The structured result is a refusal; `str(exc)` is the model's reason."""
