"""One turn, from request to result: the builder, the preparation, the pump and the result of the events.

May be imported by: `_lutum` and everything above. May import: `_tools`, `_budget`, `_http` and below.
"""
