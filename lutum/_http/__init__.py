"""HTTP: the base class of HTTP adapters, connections, proxies, and the client that a user brings.

May be imported by: `_turn` and everything above, and through `lutum.transport` by adapters. May import: `dialect`
and below.
"""
