"""Events <-> frames: a frame is the msgpack bytes of the events one piece from the transport brought.

The only place that encodes events. Where one frame ends is timing, not content: compare events.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lutum._values.events import Event

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


def encode_frame(events: Sequence[Event]) -> bytes:
    """Events as one frame."""
    return _encoder.encode(events)


def decode_frame(frame: bytes) -> list[Event]:
    """The events of one frame.

    Raises:
      msgspec.DecodeError: the bytes are not a frame of this library.
    """
    return _decoder.decode(frame)
