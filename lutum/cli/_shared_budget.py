"""`--budget redis://SERVER#LEDGER`: a budget of many processes. It needs the extra `redis`."""

from __future__ import annotations

import lutum
from lutum.redis import RedisLedger, ledger_names


async def shared_budget(limit: str) -> RedisLedger:
    """Return the named ledger, or without a name the server's only ledger.

    Raises:
      BadValue: the server has several ledgers or none, and the name is missing.
      LedgerError: the server cannot be reached.
    """
    url, _, name = limit.partition("#")
    if not name:
        names = await ledger_names(url)
        if len(names) != 1:
            have = ", ".join(names) or "none"
            raise lutum.BadValue(
                "--budget", f"needs a ledger, as in redis://SERVER#NAME; the server's ledgers: {have}"
            )
        name = names[0]
    return RedisLedger(url, name, create=False)
