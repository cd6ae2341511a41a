"""Conversations that survive their process: branches in a database, and their open rounds.

`connect` opens a store on SQLite, PostgreSQL or memory. A `StoredBranch` has a head, which moves by
compare-and-set, shares its rows with its forks, and holds at most one open round, of which it is the journal.
"""

from lutum.store._branch import StoredBranch
from lutum.store._branches import BilledTurn, BranchInfo, Sibling
from lutum.store._nodes import Codec
from lutum.store._store import Store, connect

__all__ = ["BilledTurn", "BranchInfo", "Codec", "Sibling", "Store", "StoredBranch", "connect"]
