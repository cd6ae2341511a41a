"""HTTP: the base class of HTTP adapters, connections, proxies, and the user's own HTTP client.

May be imported by: `_turn` and everything above, and by adapters through `lutum.transport`.
May import: `dialect` and below.
"""
