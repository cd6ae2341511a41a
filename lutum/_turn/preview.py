"""The preview of a turn's request. It sends and reserves nothing. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, cast

from lutum._telemetry.redact import MASK, masked, masked_body, masked_headers, masked_url, secrets_sent
from lutum._telemetry.spans import names_when_sent
from lutum._values.results import Estimate
from lutum._values.transcript import Transcript
from lutum.abc import Adapter, ListsOpenItems, Prepared, ReadsOptions, ReplayForm
from lutum.dialect.options import ProviderOptions

SIGNED: Final = "signed at send time"
SET_LATER: Final = "set at send time"
"""The values of headers that are known only when the request is sent. `SIGNED` is for a header that is
computed from the request, `SET_LATER` for any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A request as it will be sent. `body` has exactly the bytes of the sent body.

    Attributes:
      headers: the headers, with masked secrets. A header that is computed from the request is shown as
        `signed at send time`.
      estimate: the amount that will be reserved; `estimate_reason` names its source.
      forms: for each committed turn, in order, whether it is sent exactly, or the reason why not.
      inexact_reason: the reason why the answer to this request cannot be replayed exactly later; None if it
        can.
      first_difference: the JSON path of the first difference from the session's last committed request. None
        if this request only adds to that request, or if the session has committed nothing.
      dropped_constraints: the schema constraints that the provider does not accept. They are checked when the
        answer is decoded. Constraints of a tool begin with `tools.` and the tool's name.
      dropped_options: the options of the turn that the host does not accept, each as a sentence. Each
        sentence is logged once for each adapter.
      open_items: the provider calls of the last turn that still need your answer. With such calls, the turn
        is refused.
      cacheable: the prefix is long enough for the provider's prompt cache. Only such a turn waits at a gate.
      unused_options: the options of other providers, which have no effect on this request.
      set_when_sent: the headers that are set at the moment when the request is sent, such as `traceparent` if
        `lutum.trace.otel(traceparent=...)` is on. `headers` has them with the value "set at send time".
      pending_hooks: the adapter's slots that have hooks. The hooks run when the turn starts, and may change
        the values of this preview. `(await turn.resolve()).preview()` shows the request after the hooks; its
        `pending_hooks` is empty.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    model: str
    estimate: Estimate
    estimate_reason: str
    forms: tuple[ReplayForm, ...]
    inexact_reason: str | None
    first_difference: str | None
    dropped_constraints: tuple[str, ...]
    open_items: tuple[bytes, ...] = ()
    pending_hooks: tuple[str, ...] = ()
    unused_options: tuple[str, ...] = ()
    set_when_sent: tuple[str, ...] = ()
    cacheable: bool = False
    dropped_options: tuple[str, ...] = ()

    def __str__(self) -> str:
        headers = "".join(f"\n{name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.url}{headers}\n\n{self.body.decode(errors='replace')}"


def open_items(adapter: Adapter, transcript: Transcript) -> tuple[bytes, ...]:
    """Return the provider calls of the last turn that have no answer yet, as raw JSON."""
    if not hasattr(adapter, "open_items"):
        return ()
    return cast("ListsOpenItems", adapter).open_items(transcript)


def preview(
    adapter: Adapter,
    prepared: Prepared,
    earlier: Prepared | None = None,
    pending: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
) -> Preview:
    given, output = prepared.request.settings.estimate, prepared.request.output
    later = names_when_sent(prepared.url)
    return Preview(
        method=prepared.method,
        url=prepared.url,
        headers={
            **dict(prepared.headers),
            **dict.fromkeys(later, SET_LATER),
            **dict.fromkeys(prepared.secret_headers, MASK),
            **dict.fromkeys(prepared.signed_headers, SIGNED),
        },
        body=prepared.body,
        model=prepared.model,
        estimate=given if isinstance(given, Estimate) else prepared.estimate,
        estimate_reason=_reason(prepared, given=isinstance(given, Estimate)),
        forms=prepared.forms,
        inexact_reason=prepared.inexact_reason,
        first_difference=None if earlier is None else adapter.first_difference(earlier, prepared),
        dropped_constraints=(() if output is None else output.dropped)
        + dropped
        + prepared.dropped_constraints,
        open_items=open_items(adapter, prepared.request.transcript),
        cacheable=prepared.cacheable,
        dropped_options=prepared.dropped_options,
        pending_hooks=pending,
        unused_options=unused_options(adapter, prepared.request.settings.ext),
        set_when_sent=later,
    )


def unused_options(adapter: Adapter, ext: tuple[object, ...]) -> tuple[str, ...]:
    """Return the provider options that the adapter does not read. Options of the user's own types are for
    hooks and are not listed."""
    if not hasattr(adapter, "option_types"):
        return ()
    read = cast("ReadsOptions", adapter).option_types
    others = (one for one in ext if isinstance(one, ProviderOptions) and not isinstance(one, read))
    return tuple(type(one).__name__ for one in others)


def logged(adapter: Adapter, prepared: Prepared) -> Preview:
    """Return a preview for the log: values with secret names are masked, also in the URL and the body."""
    shown = preview(adapter, prepared)
    secrets = secrets_sent(prepared.request.settings.ext, prepared.body)
    return replace(
        shown,
        url=masked_url(shown.url),
        headers=masked_headers(shown.headers.items()),
        body=masked(masked_body(shown.body), secrets),
    )


def _reason(prepared: Prepared, *, given: bool) -> str:
    if given:
        return "given by .reserve()"
    if prepared.unbounded:
        return "no bound: " + ", ".join(prepared.unbounded)
    return "input counted from the body, output bounded by the request"
