"""Tools: definitions made from functions and types, and the execution of a model's calls.

May be imported by: `_turn` and everything above. May import: `_hooks` and below, not `_budget`.
"""
