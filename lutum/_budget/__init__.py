"""Budgets: ledgers, leases, waiting for room, rate limits, prices.

The arithmetic is pure and uses integers. `budget` and `lease` hold the state.

May be imported by: `_turn` and everything above. May import: `_hooks` and below, not `_tools`.
"""
