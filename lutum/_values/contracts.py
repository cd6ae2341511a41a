"""The contracts of adapters and ledgers, which `lutum.abc` exports. No I/O.

An adapter is mostly two pure functions: `prepare` turns a request into bytes, its decoder turns
bytes into events. The I/O between them is an `Exchange`; `lutum.transport` has the HTTP one.
`lutum.testing.check_adapter` tests whether an adapter obeys these contracts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from lutum._values.answer import Response, Usage
from lutum._values.committed import CommittedTurn, ToolDef
from lutum._values.events import Event
from lutum._values.items import Item
from lutum._values.rate_limit import RateLimit
from lutum._values.settings import Estimate, Settings
from lutum._values.transcript import Transcript

Phase = Literal["connecting", "connected", "sent"]
"""The progress of a request: `connecting` (TCP and TLS), `connected` (it has its connection), `sent`
(the whole request is written, so the provider may charge for it)."""


Operation = Literal["text_turn", "structured_turn", "completion", "structured_completion"]
"""The purpose of a request."""


class ToolPlan(Struct, frozen=True, kw_only=True):
    """The tools of one request.

    Attributes:
      head: the tools that every request of this transcript contains, in order.
      new: tools of this request that are not in `head`, or are there with another schema or description.
      available: the names that the model may call. None means all names in `head` and `new`.
      choice: `auto`, `none`, `any` (the model must call some tool), or `tool` (it must call `tool`).
      tool: the name of the tool, if `choice` is `tool`.
    """

    head: tuple[ToolDef, ...] = ()
    new: tuple[ToolDef, ...] = ()
    available: tuple[str, ...] | None = None
    choice: Literal["auto", "none", "any", "tool"] = "auto"
    tool: str | None = None


class OutputFormat(Struct, frozen=True):
    """The requested structured value: a name and a JSON schema, as JSON text.

    `dropped` has the constraints that no provider accepts, each as "path: constraint". They are checked when
    the value is decoded.
    """

    name: str
    schema: str
    dropped: tuple[str, ...] = ()


class TurnRequest(Struct, frozen=True, kw_only=True):
    """One request, as an adapter receives it. It is a value: two calls of `prepare` make the same bytes.

    Attributes:
      ephemerals: (position, item) pairs, in order; the item belongs before `transcript[position]`.
      settings: the merged settings: those of the turn, then those of the session, then those of the Lutum.
        The adapter chooses the fields that are UNSET.
      output: the requested value of a structured turn.
      operation: the purpose of the request. It does not change the bytes that are sent.
      limited: a budget limits the turn, so the request must bound its output.
      label: the turn's name in traces, recordings and stores. It does not change the bytes that are sent.
    """

    transcript: Transcript
    ephemerals: tuple[tuple[int, Item], ...] = ()
    settings: Settings = Settings()
    tools: ToolPlan = ToolPlan()
    output: OutputFormat | None = None
    operation: Operation = "text_turn"
    limited: bool = True
    label: str = ""


class ReplayForm(Struct, frozen=True):
    """The form in which a committed turn is sent: exactly, or as its semantic view for a reason."""

    exact: bool
    reason: str = ""

    def __str__(self) -> str:
        return "exact" if self.exact else f"as its view: {self.reason}"


class Prepared(Struct, frozen=True, kw_only=True):
    """A request ready to be sent: what `preview()` shows and what goes over the wire.

    Attributes:
      headers: the headers without secrets.
      secret_headers: the names of the headers that are added when the request is sent.
      signed_headers: the names in `secret_headers` whose values are computed from the request itself.
      forms: for each committed turn of the transcript, in order, the form in which it is sent.
      inexact_reason: why the answer to this request cannot be replayed exactly; None if it can.
      preface: JSON that is sent right before the turn and that no item contains, for `CommittedTurn.preface`.
      estimate: the most tokens that the request may use, input and output.
      unbounded: the names of the parts of the request without a bound. If there are any, `estimate` is not
        reliable.
      hidden_reasoning: reasoning is billed that the stream does not show in full.
      structured: the option that requests a structured value, as a user writes it.
      dropped_constraints: schema constraints that the provider does not accept. They are checked when the
        value is decoded.
      dropped_options: options of the turn that the host does not accept, each as a sentence for the log.
      implicit_bound: the output bound that is sent although neither the turn nor the adapter's owner set one.
      cacheable: the prefix is long enough for the provider's prompt cache, so that a `PrefixGate` is useful.
      rates: the parts of the request that are not billed at the standard rate: service tiers
        (`priority`, `flex`, `batch`), `fast`, a region, `1h` for cache writes that live an hour.
      billed_by: the company that bills the request, by its name in price tables; None: the model's maker.
    """

    request: TurnRequest
    url: str
    body: bytes
    model: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    secret_headers: tuple[str, ...] = ()
    signed_headers: tuple[str, ...] = ()
    forms: tuple[ReplayForm, ...] = ()
    inexact_reason: str | None = None
    preface: bytes = b""
    estimate: Estimate = Estimate()
    unbounded: tuple[str, ...] = ()
    hidden_reasoning: bool = False
    structured: str = ""
    dropped_constraints: tuple[str, ...] = ()
    dropped_options: tuple[str, ...] = ()
    implicit_bound: int | None = None
    cacheable: bool = False
    rates: tuple[str, ...] = ()
    billed_by: str | None = None


class Decoder(Protocol):
    """Decodes the bytes of one response into events. Pure: it uses no socket, clock or task.

    The events do not depend on how the bytes are split into calls of `feed`. `Completed` is the last event.
    """

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append to `out` the events that `data` completes, also those before a fault.

        Raises:
          ProviderError: `data` contains an error event, or does not follow the protocol.
        """
        ...

    def eof(self, out: list[Event]) -> None:
        """End the response. Append `Completed` only if the protocol's own end was received."""
        ...


class Exchange(Protocol):
    """One request in flight. The turn's worker task opens it, receives until it ends, and always closes it.

    An exchange may have four more attributes, which are then read:

    - `unsent: bool` is True while nothing can have been sent, for instance while a key is fetched. It does
      not depend on whether phases are marked.
    - `refusal: ProviderError | None` is the error status of an answer whose body is still being read. If a
      timeout ends that reading, the turn raises this error instead of the timeout.
    - `unfinished() -> TurnError` returns the error for an answer that ended without its terminal event.
    - `release() -> bool` releases the connection if that needs no waiting. If it returns False, `aclose` is
      called.
    """

    @property
    def response(self) -> Response | None:
        """The response head; None before it arrives."""
        ...

    async def open(self, mark: Callable[[Phase], None]) -> None:
        """Send the request and wait for the response head. Call `mark` when a phase is reached.

        After a cancellation, nothing is open once `aclose` has run.

        Raises:
          ProviderError: the status is an error.
          NetworkError: there is no connection, or it failed before the head arrived.
        """
        ...

    async def receive(self, out: list[Event]) -> bool:
        """Append the events of the next piece to `out`. Return False at the end of the response.

        A piece may contain no event. The call suspends only to wait for the socket.

        Raises:
          ProviderError: an error event or malformed data; the events before it are in `out`.
          Interrupted: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Release the connection. After a whole response it is kept for reuse, otherwise it is closed."""
        ...


class Adapter(Protocol):
    """An adapter: it encodes requests and decodes answers in one provider's dialect."""

    @property
    def name(self) -> str:
        """The dialect's name, which `CommittedTurn.adapter` stores."""
        ...

    @property
    def scope(self) -> str:
        """Endpoint and account family. A turn is replayed exactly only at the scope that signed it."""
        ...

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          UsageError: the provider cannot accept the request; the message names the field.
        """
        ...

    def exchange(self, prepared: Prepared) -> Exchange:
        """Return a new exchange for one attempt. Nothing is sent before its `open` is called."""
        ...

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` is replayed exactly at that scope and model. No I/O."""
        ...

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """Return the JSON path in `later` of the first difference from `earlier`; None if `later` only adds.

        The comparison ends at the last input block of `earlier`. `cache_control`, sampling options and
        ephemerals are not compared. Pure.
        """
        ...

    async def aclose(self) -> None:
        """Close every idle connection. Open turns keep their connections."""
        ...


class CountsTokens(Protocol):
    """An adapter whose provider counts the input tokens of a request, for an exact estimate."""

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Return the provider's count. This sends one small request. Raises as `Exchange.open`."""
        ...


class ReadsBodies(Protocol):
    """An adapter that reads an answer from a whole body, such as an answer of a batch."""

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """Return the events of the answer to a request. `Completed` is the last, unless `body` is cut. Pure.

        Raises:
          ProviderError: the body is an error, or does not follow the protocol.
        """
        ...


class ListsOpenItems(Protocol):
    """An adapter whose provider has calls that you answer with raw items, see `TextResult.open_items`."""

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """Return the provider calls of the last turn that no later item answers, as they arrived. Pure."""
        ...


class ReadsOptions(Protocol):
    """An adapter that lists the provider options it reads, so that `preview()` can list the others."""

    @property
    def option_types(self) -> tuple[type, ...]:
        """The types of options that it reads."""
        ...


class ResolvesSettings(Protocol):
    """An adapter with hooks that choose a turn's model and options when the turn starts."""

    @property
    def settings_hooks(self) -> tuple[str, ...]:
        """The slots that have hooks, by name. While it is empty, `resolve_settings` is not called."""
        ...

    async def resolve_settings(self, request: TurnRequest) -> Settings:
        """Return the settings to prepare the request with. Called once a turn, before anything is reserved,
        under the timeout of the first event. An exception of a hook propagates unchanged."""
        ...


class ReadsRateLimits(Protocol):
    """An adapter that reads the rate limits of the account from response headers, for a `Budget` that follows
    them."""

    def rate_limits(self, response: Response, now: float) -> Sequence[RateLimit]:
        """Return the limits that a response reports; an empty sequence if it reports none. Pure.

        Args:
          now: the time in seconds since the epoch, for a reset that is reported as an instant.
        """
        ...


class RecoversUsage(Protocol):
    """A source that can report the bill of a cut or cancelled request afterwards."""

    async def recover_usage(self, response: Response) -> Usage | None:
        """Return the billed usage, or None if it is not known. The call is cancelled when its time is up."""
        ...


class Lease(Protocol):
    """An amount taken from a ledger for one turn. Its methods are plain calls that never block."""

    def grow(self, usage: Usage | Estimate) -> bool:
        """Make the lease cover `usage`. If the ledger cannot, change nothing and return False."""
        ...

    def settle(self, usage: Usage) -> None:
        """Give the lease back and record the usage. Only the first call has an effect.

        The caller gets the answer even if this raises. The exception is logged and noted on the turn's last
        attempt, and the next turn that reserves on the ledger raises it once.
        """
        ...


class Ledger(Protocol):
    """A ledger: turns reserve on it before they send. `Budget` is a ledger.

    A remote ledger keeps a part of its amount in the process, because `Lease.grow` must not block.
    """

    def reserve(self, estimate: Estimate) -> Awaitable[Lease]:
        """Take an amount. This may be an `async def`. After a cancellation, nothing is taken.

        A ledger limits the time of its own round trips. `Timeouts(reserve=)`, which is not set by default,
        limits the whole wait of a turn.

        Raises:
          BudgetExceeded: the amount does not fit.
        """
        ...
