"""The GenAI metrics of turns: tokens, duration, time to the first chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from lutum.trace._otel_names import SCHEMA_URL, attributes
from lutum.trace._tree import Span

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

# The bucket boundaries of OpenTelemetry's GenAI conventions.
_TOKENS: Final = tuple(4**power for power in range(14))
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_LABELS: Final = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
    "error.type",
)
"""The attributes of a measurement. Each has only a few different values, so labels, ids and content are not
included."""


@final
class TurnMetrics:
    """Records the metrics of a turn when it ends."""

    def __init__(self, provider: MeterProvider | None) -> None:
        from opentelemetry import metrics

        meter = metrics.get_meter("lutum", meter_provider=provider, schema_url=SCHEMA_URL)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Input and output tokens of a turn, as billed.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long a turn took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="From the request of a turn to its first event.",
            explicit_bucket_boundaries_advisory=_FIRST,
        )

    def ended(self, span: Span, server: dict[str, Any]) -> None:
        """Record the metrics of a turn, or of a request of a turn, after its end."""
        if span.name == "turn" and "outcome" in span.fields and span.ended is not None:
            labels = _labels(span, server)
            self._duration.record(max(0.0, span.ended - span.started), labels)
            for kind in ("input", "output"):
                count = span.fields.get(f"{kind}_tokens")
                if isinstance(count, int):
                    self._tokens.record(count, {**labels, "gen_ai.token.type": kind})
        first = span.fields.get("first_event")
        if span.name == "request" and isinstance(first, int | float):
            turn = span.parent
            while turn is not None and turn.name != "turn":
                turn = turn.parent
            if turn is not None:
                self._first.record(first, _labels(turn, server))


def _labels(turn: Span, server: dict[str, Any]) -> dict[str, Any]:
    found = attributes(turn, content=False) | server
    return {name: found[name] for name in _LABELS if name in found}
