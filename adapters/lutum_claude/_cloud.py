"""Check, before anything is sent, that a cloud's Claude endpoint has the needed features. No I/O."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from lutum.abc import Prepared
from lutum.dialect.json import to_bytes
from lutum_claude._options import ClaudeOptions
from lutum_clouds import BedrockPlace, CloudDoor, refuse, refuse_media, refuse_tool


class _ServerTool(Struct):
    type: str = ""


_decode_tool = msgspec.json.Decoder(_ServerTool).decode


def check_cloud(
    prepared: Prepared, options: ClaudeOptions, door: CloudDoor | None, place: BedrockPlace | None
) -> None:
    """Refuse a request that needs a feature that the door lacks, or a model that it does not serve.

    Raises:
      BadValue: the door does not accept the request; the error names the field.
    """
    if place is not None:
        place.check_model(prepared.model, "messages")
    if door is None:
        return
    if prepared.unbounded:
        refuse_media(door, prepared.request)
    for i, tool in enumerate(options.server_tools or ()):
        refuse_tool(door, f"server_tools[{i}]", _decode_tool(to_bytes("server_tools", tool)).type)
    for name in ("mcp_servers", "container", "fallbacks"):
        if getattr(options, name) is not None:
            refuse(door, name, name)
