"""One turn, from request to result: the builder, the preparation, the pump and what is made of its events.

May be imported by: `_lutum` and everything above. May import: `_tools`, `_budget`, `_http` and below.
"""
