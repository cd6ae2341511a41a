"""The interfaces that adapters and ledgers of third parties implement.

An adapter is mostly two pure functions: `prepare` turns a request into bytes, its decoder turns
bytes into events. The I/O between them is an `Exchange`; `lutum.transport` has the HTTP one.
`lutum.testing.check_adapter` checks whether an adapter obeys these contracts.
"""

from __future__ import annotations

from lutum._values.contracts import (
    Adapter,
    CountsTokens,
    Decoder,
    Exchange,
    Lease,
    Ledger,
    ListsOpenItems,
    Operation,
    OutputFormat,
    Phase,
    Prepared,
    ReadsBodies,
    ReadsOptions,
    ReadsRateLimits,
    RecoversUsage,
    ReplayForm,
    ResolvesSettings,
    ToolPlan,
    TurnRequest,
)
from lutum._values.rate_limit import RateKind, RateLimit
from lutum._values.schema_dialect import SchemaDialect
from lutum._values.shared_ledger import LedgerState, SharedLease, SharedLedger, TurnIdentity

__all__ = [
    "Adapter",
    "CountsTokens",
    "Decoder",
    "Exchange",
    "Lease",
    "Ledger",
    "LedgerState",
    "ListsOpenItems",
    "Operation",
    "OutputFormat",
    "Phase",
    "Prepared",
    "RateKind",
    "RateLimit",
    "ReadsBodies",
    "ReadsOptions",
    "ReadsRateLimits",
    "RecoversUsage",
    "ReplayForm",
    "ResolvesSettings",
    "SchemaDialect",
    "SharedLease",
    "SharedLedger",
    "ToolPlan",
    "TurnIdentity",
    "TurnRequest",
]
