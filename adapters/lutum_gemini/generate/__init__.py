"""The dialect `generateContent`.

_wire      JSON of the API, finish reasons, limits; _models: what each model accepts
_encode    a request to bytes, from _items (one item), _contents (their order), _tools and _config
_decode    bytes to events; _parts: the parts of an answer; _usage and _errors
_turn      the committed turn, from wire to view and how it goes back
_messages  the API's own JSON, in and out
_adapter   the I/O: `GeminiAdapter`
"""
