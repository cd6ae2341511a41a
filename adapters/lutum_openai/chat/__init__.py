"""Chat Completions, at OpenAI and at everyone who speaks it.

_wire      what the JSON looks like
_profiles  `Profile`, and what is known about each host
_encode    PURE: a request to bytes; `_items` turns one item into messages
_decode    PURE: bytes to events; `_assemble` puts the deltas together
_turn      the committed turn: its wire form, its view, and how it goes back
_adapter   the I/O: `OpenAIChatAdapter`
"""
