"""The dialect `generateContent`.

_wire      JSON of the API, finish reasons, limits; _models: what each model accepts
_encode    a request to bytes, from _items (one item), _contents (their order), _tools and _config
_decode    bytes to events; _parts: the parts of an answer; _usage and _errors
_turn      the committed turn: its wire form, its view, and its replay
_messages  the API's own JSON, read and written
_adapter   `GeminiAdapter`; the only module here with I/O
"""
