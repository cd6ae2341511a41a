"""Conversations that survive their process: branches in a database, and their open rounds.

`connect` opens a store on SQLite, PostgreSQL or memory. A `StoredBranch` has a head, which moves by
compare-and-set. A branch shares its rows with its forks. It holds at most one open round, and is the journal
of that round.
"""

from lutum.store._branch import StoredBranch
from lutum.store._branches import BilledTurn, BranchInfo, Sibling
from lutum.store._nodes import Codec
from lutum.store._store import Store, connect

__all__ = ["BilledTurn", "BranchInfo", "Codec", "Sibling", "Store", "StoredBranch", "connect"]
