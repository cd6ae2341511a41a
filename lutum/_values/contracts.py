"""The contracts of adapters and ledgers, which `lutum.abc` exports. No I/O.

An adapter is mostly two pure functions: `prepare` turns a request into bytes, its decoder turns
bytes into events. The I/O between them is an `Exchange`; `lutum.transport` has the HTTP one.
`lutum.testing.check_adapter` tests whether an adapter keeps the promises.
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
"""Where a request is: `connecting` (TCP and TLS), `connected` (it has its connection), `sent`
(the whole request is written, so the provider may charge for it)."""


Operation = Literal["text_turn", "structured_turn", "completion", "structured_completion"]
"""What a request is for."""


class ToolPlan(Struct, frozen=True, kw_only=True):
    """The tools of one request.

    Attributes:
      head: what every request of this transcript carries, in order.
      new: wanted now and not in the head, or there with another schema or description.
      available: names the model may call; None means every one of head and new.
      choice: `auto`, `none`, `any` (some tool), or `tool` (the one in `tool`).
    """

    head: tuple[ToolDef, ...] = ()
    new: tuple[ToolDef, ...] = ()
    available: tuple[str, ...] | None = None
    choice: Literal["auto", "none", "any", "tool"] = "auto"
    tool: str | None = None


class OutputFormat(Struct, frozen=True):
    """The requested structured value: a name and a JSON schema, as JSON text.

    `dropped` are constraints no provider takes, as "path: constraint"; they are enforced on decode.
    """

    name: str
    schema: str
    dropped: tuple[str, ...] = ()


class TurnRequest(Struct, frozen=True, kw_only=True):
    """One request, as an adapter sees it. A value: preparing it twice gives the same bytes.

    Attributes:
      ephemerals: (position, item) pairs, in order; the item belongs before `transcript[position]`.
      settings: turn over session over Lutum; what is UNSET is the adapter's to choose.
      output: the requested value of a structured turn.
      operation: what it is for; nothing on the wire depends on it.
      limited: a budget limits the turn, so the request must bound its output.
      label: the turn's name in traces, recordings and stores; nothing on the wire depends on it.
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
    """The form in which a committed turn is sent: exactly, or as its semantic view, with the reason."""

    exact: bool
    reason: str = ""

    def __str__(self) -> str:
        return "exact" if self.exact else f"as its view: {self.reason}"


class Prepared(Struct, frozen=True, kw_only=True):
    """A request ready to be sent: what `preview()` shows and what goes over the wire.

    Attributes:
      headers: without secrets; `secret_headers` names those that are added when it is sent.
      signed_headers: those of `secret_headers` that are computed from the request itself.
      forms: for each committed turn of the transcript, in order, the form in which it is sent.
      inexact_reason: why the turn answered to this request cannot be replayed exactly.
      preface: JSON that is sent right before the turn and that no item holds, for `CommittedTurn.preface`.
      estimate: tokens the request may use at most, input and output.
      unbounded: what makes that estimate worthless, each item named; empty when it holds.
      hidden_reasoning: the model is billed for reasoning that the stream does not show in full.
      structured: the option that requests a structured value, as a user writes it.
      dropped_constraints: schema constraints the provider does not take; enforced on decode.
      dropped_options: options of the turn that the host does not take, each as a sentence for the log.
      implicit_bound: the output bound that is sent although neither the turn nor the adapter's owner set one.
      cacheable: the prefix is long enough for the provider's prompt cache, so waiting at a gate pays.
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
    """Bytes of one response to events. Pure: knows no socket, clock or task.

    Feeding whole, byte by byte or at any split gives the same events, and `Completed` is the last.
    """

    def feed(self, data: bytes, out: list[Event]) -> None:
        """Append to `out` what `data` completes; what came before a fault is in `out` already.

        Raises:
          ProviderError: an error event, or data that is not the protocol.
        """
        ...

    def eof(self, out: list[Event]) -> None:
        """The response ended. Appends `Completed` only where the protocol's own end has been seen."""
        ...


class Exchange(Protocol):
    """One request in flight. The pump opens it, receives until it ends, and always closes it.

    Four more attributes are read where an exchange has them. `unsent: bool` is True while nothing can have
    been sent, whether or not phases are marked, for instance while a key is fetched. `refusal:
    ProviderError | None` is the error status of an answer whose body is still being read; if a timeout cuts
    that short, the turn raises it in place of the timeout. `unfinished() -> TurnError` is the error of an
    answer that ended without its terminal event. `release() -> bool` lets go of the connection if that needs
    no waiting; if it returns False, `aclose` is called.
    """

    @property
    def response(self) -> Response | None:
        """The response head; None until it came."""
        ...

    async def open(self, mark: Callable[[Phase], None]) -> None:
        """Send the request and wait for the response head, marking each phase as it is reached.

        Cancelled, it leaves nothing open once `aclose` has run.

        Raises:
          ProviderError: the status is an error.
          NetworkError: no connection, or it failed before the head.
        """
        ...

    async def receive(self, out: list[Event]) -> bool:
        """Append the events of the next piece to `out`; False at the end of the response.

        A piece may hold no event. Suspends only to wait for the socket.

        Raises:
          ProviderError: an error event or malformed data; the events before it are in `out`.
          Interrupted: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connection: kept for reuse after a whole response, closed otherwise."""
        ...


class Adapter(Protocol):
    """A provider dialect. `scope` names the endpoint and account family that signs turns."""

    @property
    def name(self) -> str:
        """The dialect's name, as `CommittedTurn.adapter` keeps it."""
        ...

    @property
    def scope(self) -> str:
        """Endpoint and account family. A turn is replayed exactly only at the scope that it came from."""
        ...

    def prepare(self, request: TurnRequest) -> Prepared:
        """Encode a request. Pure.

        Raises:
          UsageError: the provider cannot take it; the message names the field.
        """
        ...

    def exchange(self, prepared: Prepared) -> Exchange:
        """A fresh exchange for one attempt; nothing is sent before its `open`."""
        ...

    def replay_form(self, turn: CommittedTurn, scope: str, model: str) -> ReplayForm:
        """Return whether `turn` is replayed exactly at that scope and model. No I/O."""
        ...

    def first_difference(self, earlier: Prepared, later: Prepared) -> str | None:
        """JSON path in `later` of the first thing that is not as `earlier` sent it, up to the last
        input block of `earlier`; None when `later` only adds. Pure; `cache_control`, sampling options
        and ephemerals do not count."""
        ...

    async def aclose(self) -> None:
        """Close every idle connection. Open turns keep theirs."""
        ...


class CountsTokens(Protocol):
    """An adapter whose provider counts the input tokens of a request, for an exact estimate."""

    async def count_input_tokens(self, prepared: Prepared) -> int:
        """Ask the provider; one small request. Raises as `Exchange.open`."""
        ...


class ReadsBodies(Protocol):
    """An adapter that reads an answer which came whole, such as one of a batch."""

    def read_body(self, prepared: Prepared, body: bytes) -> list[Event]:
        """The events of the answer to a request, `Completed` last unless `body` is cut. Pure.

        Raises:
          ProviderError: the body is an error, or not the protocol.
        """
        ...


class ListsOpenItems(Protocol):
    """An adapter whose provider has calls that you answer with raw items, see `TextResult.open_items`."""

    def open_items(self, transcript: Transcript) -> tuple[bytes, ...]:
        """Those of the last turn that nothing behind it answers yet, as they came. Pure."""
        ...


class ReadsOptions(Protocol):
    """An adapter that lists the provider options it reads, so that `preview()` can list the others."""

    @property
    def option_types(self) -> tuple[type, ...]:
        """The types of options that it reads."""
        ...


class ResolvesSettings(Protocol):
    """An adapter with hooks that settle a turn's model and options when it starts."""

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
        """Return the limits that a response reports; none if it reports none. Pure.

        Args:
          now: seconds since the epoch, for a reset that is an instant.
        """
        ...


class RecoversUsage(Protocol):
    """A source that can report, afterwards, what a cut or cancelled request was billed."""

    async def recover_usage(self, response: Response) -> Usage | None:
        """Ask the provider; None when it does not know. Cancelled when its time is up."""
        ...


class Lease(Protocol):
    """An amount taken from a ledger for one turn. Plain calls that never block."""

    def grow(self, usage: Usage | Estimate) -> bool:
        """Make the lease cover `usage`; False, and unchanged, when the ledger cannot."""
        ...

    def settle(self, usage: Usage) -> None:
        """Give the lease back and record what was used. The first call counts.

        What it raises never costs the caller the answer: it is logged, noted on the turn's last attempt, and
        raised once by the next turn that would reserve on the ledger.
        """
        ...


class Ledger(Protocol):
    """Where turns reserve before they send. `Budget` is one; a remote one grows from a local slice."""

    def reserve(self, estimate: Estimate) -> Awaitable[Lease]:
        """Take an amount; an `async def` does. Cancelled, it has taken nothing.

        A ledger bounds its own round trips. `Timeouts(reserve=)`, which is not set by default, bounds the
        whole wait of a turn.

        Raises:
          BudgetExceeded: it does not fit.
        """
        ...
