"""One budget for many processes: a ledger in Redis 7 or Valkey 8 (`pip install 'lutum[redis]'`).

Every reservation is one call of a script on the server. All keys of a ledger are in one hash slot, and the
script uses the server's clock. The page "More than one process" describes the failure modes. For tests
without a server, use `lutum.testing.MemoryLedger`.
"""

from lutum._budget.limit import Limit as Limit  # exported by `lutum`
from lutum.redis._console import (
    LedgerView as LedgerView,
    ProcessView as ProcessView,
    WaiterView as WaiterView,
    ledger_names as ledger_names,
    open_console as open_console,
)
from lutum.redis._figures import Figures as Figures
from lutum.redis._lease import RedisLease as RedisLease
from lutum.redis._ledger import RedisLedger as RedisLedger
from lutum.redis._scope import RedisScope as RedisScope

__all__ = [
    "Figures",
    "LedgerView",
    "ProcessView",
    "RedisLease",
    "RedisLedger",
    "RedisScope",
    "WaiterView",
    "ledger_names",
    "open_console",
]
