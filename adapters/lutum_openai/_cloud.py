"""Checks of requests to OpenAI's APIs on a cloud. They refuse a request before the cloud does. No I/O."""

from __future__ import annotations

from typing import Literal

from lutum.abc import Prepared
from lutum_clouds import BedrockPlace, CloudDoor, refuse, refuse_media, refuse_tool
from lutum_openai._options import OpenAIOptions


def check_model(place: BedrockPlace | None, model: str, api: Literal["responses", "chat"]) -> None:
    """Refuse a model that the cloud's endpoint does not serve over this API.

    Called before the request's URL is made.

    Raises:
      BadValue: the model is not served here; the message names the endpoint that serves it.
    """
    if place is not None:
        place.check_model(model, api)


def check_cloud(prepared: Prepared, options: OpenAIOptions, door: CloudDoor | None) -> None:
    """Refuse a request that needs a feature that the cloud's endpoint lacks.

    Raises:
      BadValue: a feature is missing there; the error names the field.
    """
    if door is None:
        return
    if prepared.unbounded:
        refuse_media(door, prepared.request)
    for i, tool in enumerate(options.server_tools or ()):
        refuse_tool(door, f"server_tools[{i}]", _type_of(tool))
    if (options.extra_body or {}).get("background"):
        refuse(door, "background", "extra_body.background")


def _type_of(tool: object) -> str:
    found: object = tool.get("type") if isinstance(tool, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, str) else ""
