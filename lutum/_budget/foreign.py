"""Foreign ledgers whose `settle` failed. The next reservation on the ledger raises the failure.

If a settlement fails, the caller must still get the answer that was paid, and must notice the failure.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("lutum")

# By id, because a ledger of a third party need not be hashable. The ledger is kept with its failure, so that
# no other object gets its id.
_failed = dict[int, tuple[object, Exception]]()


def keep_failure(ledger: object, failure: Exception) -> None:
    """Log that the ledger could not settle, and keep the failure for its next reservation."""
    logger.error("the ledger %s could not settle a turn", type(ledger).__name__, exc_info=failure)
    _failed[id(ledger)] = (ledger, failure)


def raise_failure(ledger: object) -> None:
    """Raise, once, the failure of the ledger's last settlement."""
    kept = _failed.pop(id(ledger), None)
    if kept is not None:
        kept[1].add_note(
            "the ledger raised this when it settled an earlier turn; nothing was sent for this one"
        )
        raise kept[1]
