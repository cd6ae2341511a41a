"""All exceptions that lutum raises, sorted by their cause.

LutumError
├── LedgerError                    a shared ledger: its server cannot be reached, or refuses
│   └── LedgerLost                     its server lost data; an operator must set what was spent
├── UsageError (RuntimeError)      your call is wrong; nothing was sent and nothing was reserved
│   ├── BadValue (ValueError)          an invalid value; the error names its field
│   ├── StaleCommit                    the session moved on since the turn was built
│   ├── NoSuchName (AttributeError)    an attribute that does not exist; the message names the right one
│   ├── TurnNotFinished                the result was read before the consumer reached it
│   ├── EstimateRequired               the cost of the request has no bound
│   ├── UnpricedModel                  a cost limit applies, and the model has no price
│   ├── HookBusy                       a stateful hook was called while it was running
│   └── TranscriptError (ValueError)   a transcript that must not be built or loaded
├── CallTaken                      a call was claimed by another run, or may have happened already
├── BrokenPrefix                   the token ids of a conversation do not continue each other
├── StoreError                     an operation of a store failed; nothing is half written
│   ├── StoreValue (BadValue)          a URL, a name or a value that the store does not take
│   ├── StaleBranch                    the branch moved since the session was made or last saved
│   ├── NoSuchBranch                   there is no branch of that name
│   ├── BranchExists                   there is a branch of that name already
│   ├── RoundOpen                      the branch holds an open round that the call would skip
│   ├── StoreBusy                      others locked the database for too long
│   ├── StoreFormat                    not a store, or the store of a newer version
│   └── StoreCorrupt                   a row is damaged; the message names it
└── TurnError                      the turn began; carries partial, usage and response
    ├── ProviderError                  the provider sent an error status, an error event or malformed data
    ├── NetworkError                   no connection, or it failed before the response head
    ├── Interrupted                    the response began and ended without its terminal event
    ├── TurnTimeout (TimeoutError)     a deadline of `Timeouts`, named in `reason`
    ├── BudgetExceeded                 the ledger refused, or the lease could not grow during the answer
    ├── OutputLimitExceeded            a structured value cut at the output limit
    ├── OutputInvalid                  a structured value that does not decode
    ├── ContractViolation              the model did something that the request excludes
    ├── Stopped                        your handler returned `STOP`
    └── Refused                        `.value` of a structured result that is a refusal
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeVar

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
"""The kind of a provider's error. An HTTP status and an error event of the same error have the same kind."""

_KINDS: dict[ErrorKind, tuple[str, str]] = {
    "invalid_request": (
        "the request, which the provider does not accept as it is",
        "change what the provider's message names; turn.preview() shows what is sent",
    ),
    "authentication": (
        "the key, which the provider does not know",
        "give a key of this provider and this account, and look for spaces around it",
    ),
    "permission": (
        "the key, which does not permit this",
        "ask the administrator of the account, or use another model or key",
    ),
    "billing": ("the account, which has no credit left", "add credit, or raise its limit"),
    "not_found": (
        "the request: this provider has no such model or address",
        "check the model's name and base_url=, with or without /v1 at its end",
    ),
    "too_large": ("the request, which is too big for the provider", "send fewer or smaller items"),
    "context_length": (
        "the request, which is longer than the model's context",
        "send less of the conversation, or use a model with a longer context",
    ),
    "rate_limit": (
        "the rate limit of your account at the provider",
        "send more slowly: retry=RetryPolicy() waits and tries again, and"
        " Budget(on_exhausted='wait', follow_rate_limits=True) keeps you below the rate limit",
    ),
    "timeout": ("the provider, which took too long", "try again, or give retry=RetryPolicy()"),
    "overloaded": ("the provider, which is overloaded", "try again later, or give retry=RetryPolicy()"),
    "server": (
        "the provider, which failed",
        "try again, or give retry=RetryPolicy(); tell the provider if the error continues",
    ),
    "malformed": (
        "the provider or a proxy, which sent data that does not follow the protocol",
        "check base_url=; error.body has what arrived",
    ),
    "unknown": ("the provider, which gives no reason", "read the provider's answer in error.body"),
}


class LutumError(Exception):
    """The base class of all exceptions that lutum raises on purpose."""

    whose: str = "not known"
    """The cause of the error, which names who can change it."""
    advice: str = "read the message; the traceback shows where it was raised"
    """What to do next."""

    @property
    def explanation(self) -> tuple[str, str]:
        """The cause and what to do next, as `lutum.explain` and every traceback print them."""
        return f"Cause: {self.whose}.", f"What to do: {self.advice}."

    def add_note(self, note: str) -> None:
        """Add a note, which a traceback prints before the explanation."""
        self.__dict__.setdefault("_own_notes", []).append(note)

    @property
    def own_notes(self) -> list[str]:
        """The notes that were added, without the explanation."""
        return list(self.__dict__.get("_own_notes", ()))

    if not TYPE_CHECKING:  # computed, because usage and advice are set after the error was made

        @property
        def __notes__(self) -> list[str]:
            return [*self.own_notes, *self.explanation]

        @__notes__.setter
        def __notes__(self, notes: list[str]) -> None:  # tblib sets the notes when it unpickles an error
            computed = ("Cause: ", "What to do: ")
            self.__dict__["_own_notes"] = [note for note in notes if not note.startswith(computed)]


class UsageError(LutumError, RuntimeError):
    """Your call was wrong. It sent, reserved and changed nothing. Requests of earlier calls are charged."""

    whose: str = "a wrong call or setting; this call sent nothing and cost nothing"
    advice: str = "change the call as the message says"


_Wrong = TypeVar("_Wrong", bound=UsageError)


def after_sending(error: _Wrong) -> _Wrong:
    """Correct the cause of an error whose call may come after sent requests, because these are charged."""
    if error.whose == UsageError.whose:
        error.whose = "a wrong call; requests that were sent before this call are charged as usual"
    return error


class BadValue(UsageError, ValueError):
    """An invalid value; `field` names it."""

    advice: str = "correct what the message names"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        if field in ("api_key", "auth_token"):
            self.advice = f"give a valid key as {field}=, or set it in the provider's environment variable"

    def __reduce__(self) -> tuple[type[BadValue], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class LedgerError(LutumError):
    """A shared ledger cannot answer: its server cannot be reached, or refuses. Nothing was sent."""

    whose: str = "the shared ledger, whose server does not answer or refuses; nothing was sent"
    advice: str = "check that its server runs and can be reached, and try again"


class LedgerLost(LedgerError):
    """The server of a shared ledger lost data. Nothing is reserved until an operator sets what was spent."""

    whose: str = "the server of the shared ledger, which lost data; nothing was sent"
    advice: str = "set what was spent, and open the ledger again"


class ToolError(LutumError):
    """Your tool raises it to send its message to the model. Of other exceptions only the type is sent."""

    whose: str = "the tool, which raised it on purpose"
    advice: str = "nothing: the model receives the message"


class StaleCommit(UsageError):
    """The session's transcript is no longer the one that the turn was built on; nothing changed."""

    whose: str = "the session, which moved on after the turn was built"
    advice: str = "commit before you push, or place the turn with session.push_turn(result.turn)"


class NoSuchName(UsageError, AttributeError):
    """An attribute that the object does not have; the message names the one that was probably meant."""

    advice: str = "write what the message names"


class TurnNotFinished(UsageError):
    """The turn has no result yet, because its events have not been read as far as `Completed`."""

    whose: str = "your code, which read the result before `async for` reached the end"
    advice: str = "read the stream to its end inside the block, or use turn.partial"


class EstimateRequired(UsageError):
    """The cost of this request has no bound. The message names the item without a bound."""

    advice: str = (
        "set how much to reserve with .reserve(), let the provider count the input with"
        " Lutum(..., estimate=lutum.exact_estimate), or set no limit"
    )


class UnpricedModel(UsageError):
    """A cost limit applies and the model has no price."""

    advice: str = "give the price of the model, or limit tokens instead of dollars"


class HookBusy(UsageError):
    """A hook of a `Stateful` object was called while a hook of the same object was running.

    `slot` is the slot of the new call, `hook` is the class of the object.
    """

    whose: str = "the call, which came from another task or from the running hook itself"
    advice: str = "call it after the running hook, or return an answer from on_busy()"

    def __init__(self, slot: str, hook: str) -> None:
        super().__init__(f"{slot}: {hook} was called while a hook of the same object runs")
        self.slot = slot
        self.hook = hook

    def __reduce__(self) -> tuple[type[HookBusy], tuple[str, str]]:
        return type(self), (self.slot, self.hook)


class TranscriptError(UsageError, ValueError):
    """A transcript operation or file would break a rule. The message names the item and the reason."""

    whose: str = "the items or the file; nothing was changed"
    advice: str = (
        "correct the item or the line that the message names, load a backup, or load only the lines before"
        " that line"
    )


class CallTaken(LutumError):
    """A call was claimed by another run, or was started by one that ended without a result.

    Attributes:
      key: the key of the call.
      by: the run that started it, if known.
      alive: True if that run is still running.
    """

    whose: str = "another run, which has claimed the call"
    advice: str = "wait for its result, or decide about the call with restarted="

    def __init__(self, message: str, *, key: str = "", by: str = "", alive: bool = True) -> None:
        super().__init__(message)
        self.key = key
        self.by = by
        self.alive = alive


class BrokenPrefix(LutumError):
    """The token ids of a turn do not continue those of the turns before it, or were not sent.

    Attributes:
      index: the index of the turn in its transcript.
    """

    whose: str = "the server, or its chat template: the prompt of the turn has other token ids"
    advice: str = "make one row of each part with broken='split', or ask the server for token ids"

    def __init__(self, message: str, *, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class StoreError(LutumError):
    """An operation of a store failed; nothing is half written."""

    whose: str = "the store or its database; nothing is half written"
    advice: str = "read the message, and try again"


class StoreValue(StoreError, BadValue):
    """A URL, a name, a digest or a value that the store does not take; `field` names it."""

    whose: str = "a wrong value in the call; nothing was changed"
    advice: str = "correct what the message names"


class StaleBranch(StoreError):
    """The branch moved since the session was made from it or last saved to it; nothing changed.

    Attributes:
      expected: the digest of the head that the session was made from or last saved at.
      found: the digest of the head of the branch.
      common: how many of their first items are the same.
    """

    whose: str = "another writer, who moved the branch"
    advice: str = "pull, and save again"

    def __init__(self, message: str, *, expected: str = "", found: str = "", common: int = 0) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found
        self.common = common


class NoSuchBranch(StoreError):
    """The store has no branch of that name."""

    whose: str = "the branch does not exist"
    advice: str = "create it, or list the names with store.branches()"


class BranchExists(StoreError):
    """The store has a branch of that name already."""

    whose: str = "the branch exists already"
    advice: str = "open it with store.branch(), or choose another name"


class RoundOpen(StoreError):
    """The branch holds an open round: commit and save it, or drop it with `discard`."""

    whose: str = "the call, which would pass over an open round"
    advice: str = "commit and save the round, or drop it with discard()"


class StoreBusy(StoreError):
    """The database was locked by others for longer than the store waits."""

    whose: str = "another process, which holds the lock of the database"
    advice: str = "try again; the data is intact"


class StoreFormat(StoreError):
    """The file or database is not a store, or a newer version wrote it."""

    whose: str = "the file or database, which is not a store of this version"
    advice: str = "check the path or URL, or update lutum"


class StoreCorrupt(StoreError):
    """A row of the store is damaged; the message names it."""

    whose: str = "the file or database, which is damaged"
    advice: str = "restore a backup; the message names the row"


class TurnError(LutumError):
    """A turn that did not complete, or was refused before it began.

    Attributes:
      partial: the part of the answer that the consumer has read.
      usage: the settled usage, with its label.
      response: status, ids and headers of the answer, if its head arrived.
      started: True once a semantic event was delivered to the consumer.
      host, url, model: where the request was sent, and the requested model; None before they are known.
    """

    whose: str = "not known"
    advice: str = "error.partial has what arrived"

    partial: PartialResult = PartialResult()
    usage: Usage = Usage()
    response: Response | None = None
    started: bool = False
    host: str | None = None
    url: str | None = None
    model: str | None = None

    @property
    def explanation(self) -> tuple[str, str]:
        """The cause with the charge, and what to do next."""
        return f"Cause: {self.whose}; {self._charge()}.", f"What to do: {self.advice}."

    def __str__(self) -> str:
        return self._located(super().__str__())

    def _charge(self) -> str:
        usage = self.usage
        if not usage.total_tokens and not usage.cost_usd:
            return "nothing was charged"
        cost = "" if usage.cost_usd is None else f" (${usage.cost_usd})"
        least = "at least " if usage.known == "lower_bound" else ""
        estimate = " (an estimate)" if usage.known == "estimated" else ""
        return f"{least}{usage.total_tokens:,} tokens{cost} were charged{estimate}"

    def _located(self, message: str, place: str | None = None) -> str:
        """Return the message, followed by those of host, model and request id that it does not contain."""
        request: str | None = getattr(self, "request_id", None)
        if request is None and self.response is not None:
            request = self.response.request_id
        found = (place or self.host or "", self.model if self.host else "", request)
        told = zip(("", "model ", "request "), found, strict=True)
        details = [f"{label}{one}" for label, one in told if one and not _names(message, one)]
        return f"{message} ({', '.join(details)})" if details else message


class ProviderError(TurnError):
    """The provider answered with an error, or with data that does not follow the protocol.

    `str()` has the status, the kind, the provider's words, and then host, model and request id.

    Attributes:
      message: only the provider's words.
      kind: the class of the fault, which is the same for an HTTP status and an in-stream error event.
      status: the HTTP status, or the status that matches the type of the in-stream error.
      type: the provider's own `error.type` (or code), as sent.
      request_id: the provider's id of the request.
      retry_after: seconds to wait before a retry, from the provider.
      should_retry: the provider's header `x-should-retry`; None if it is missing.
      body: the raw body or event, cut at 64 KiB.
    """

    whose: str = "the provider"
    advice: str = "read the provider's answer in error.body"

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
        self.whose, self.advice = _KINDS.get(kind, (ProviderError.whose, ProviderError.advice))
        self.status = status
        self.type = type
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.body: bytes = body[: 64 * 1024]

    @property
    def explanation(self) -> tuple[str, str]:
        """The same as for every turn error, with the pause that the provider requires."""
        cause, advice = super().explanation
        if self.retry_after is not None:
            wait = f"wait {self.retry_after:g} s, as the provider asks, then "
            advice = advice.replace("What to do: ", f"What to do: {wait}", 1)
        return cause, advice

    def __str__(self) -> str:
        status = f"{self.status} " if self.status is not None else ""
        # For a 404 the whole URL is shown, because its path may be wrong.
        place = self.url if self.status == 404 and self.url else None
        return self._located(f"{status}{self.kind}: {self.message}", place)


class NetworkError(TurnError):
    """No connection to the provider, or it failed before the response head."""

    whose: str = "the network, or a wrong address"
    advice: str = "check base_url=, the proxy variables and the connection; retry=RetryPolicy() tries again"


class Interrupted(TurnError):
    """The response began, and its connection ended without the terminal event."""

    whose: str = "the provider or the network, which ended the answer before it was whole"
    advice: str = "try again; error.partial has what arrived"


class TurnTimeout(TurnError, TimeoutError):
    """A deadline of `Timeouts` passed; `reason` names it."""

    whose: str = "the provider or the network, or a timeout that is too short"
    advice: str = "try again, or allow more with .timeout(); error.partial has what arrived"

    def __init__(
        self, reason: Literal["total", "first_event", "idle", "connect", "reserve"], seconds: float
    ) -> None:
        super().__init__(f"{reason} timeout: {seconds:g} s passed")
        self.reason = reason
        self.seconds = seconds
        self.advice = f"try again, or allow more with .timeout({reason}=...); error.partial has what arrived"

    def __reduce__(self) -> tuple[type[TurnTimeout], tuple[str, float]]:
        return type(self), (self.reason, self.seconds)


class BudgetExceeded(TurnError):
    """The ledger refused the reservation, or could not grow the lease in mid-stream.

    Attributes:
      scope: the name of the shared limit that refused; None for a limit of this process.
      resets_at: when the next period of that limit begins, if it has periods.
    """

    whose: str = "your limit, which has too little left for the turn"
    advice: str = (
        "raise the limit, bound the answer with .max_output_tokens(), or wait with on_exhausted='wait'"
    )

    def __init__(
        self, message: str = "", *, scope: str | None = None, resets_at: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.scope = scope
        self.resets_at = resets_at


class OutputLimitExceeded(TurnError):
    """A structured value was cut at the output limit."""

    whose: str = "the output limit, which is too small for the value"
    advice: str = "raise .max_output_tokens(); error.partial.json has what arrived"


class OutputInvalid(TurnError):
    """The structured value cannot be decoded, or is missing.

    Attributes:
      raw: the JSON of the value, as it arrived.
      path: the JSON path of the problem, `$` for the whole value. Of several problems it is the first path.
      reason: the problem at that path; `str(exc)` adds the path.
      problems: all problems, each as a path and a reason. If a pydantic model refused the value, pydantic's
        own error is `exc.__cause__`.
    """

    whose: str = "the model, whose output is not a value of the type"
    advice: str = "try again and quote the reason; error.raw has the output"

    def __init__(
        self,
        message: str,
        *,
        raw: str = "",
        path: str = "$",
        reason: str = "",
        problems: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.raw = raw
        self.path = path
        self.reason: str = reason or message
        self.problems: tuple[tuple[str, str], ...] = problems or ((path, self.reason),)


class ContractViolation(TurnError):
    """The model did something that the request excludes, such as a tool call in a turn without tools."""

    whose: str = "the model, which did what the request ruled out"
    advice: str = "try again; if it calls tools, offer them with .tools()"


class Stopped(TurnError):
    """The handler of `collect_with` returned `lutum.STOP`."""

    whose: str = "your handler, which stopped the turn"
    advice: str = "nothing; error.partial has what arrived"


class Refused(TurnError):
    """The structured result is a refusal; `str(exc)` is the model's reason."""

    whose: str = "the model, which declined"
    advice: str = "ask in another way, or read result.refusal before result.value"

    @property
    def explanation(self) -> tuple[str, str]:
        """The cause and what to do next; the usage is that of the result."""
        return f"Cause: {self.whose}.", f"What to do: {self.advice}."


def added_notes(error: BaseException) -> list[str]:
    """Return the notes that were added to an exception, without the explanation that lutum's errors have."""
    if isinstance(error, LutumError):
        return error.own_notes
    return list(getattr(error, "__notes__", ()))


def _names(message: str, name: str) -> bool:
    """Return whether a message contains a name as a separate word."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", message) is not None
