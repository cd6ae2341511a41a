"""The Responses API.

_wire      what its JSON looks like, and the tables: item kinds, models, hosts
_encode    PURE: a request to bytes
_decode    PURE: bytes to events
_turn      the committed turn: its wire form, its view, and how it goes back
_adapter   the I/O: `OpenAIAdapter`
"""
