"""What enters a transcript can be sent again: text, media and tools as providers take them."""

import base64
import json
from typing import Any

import pytest
from mcp.types import BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent

import lutum
import lutum.mcp
from lutum import BadValue, Document, Image, Session, Text, ToolError, Toolset
from lutum._turn.plan import TurnSpec, plan_tools
from lutum.mcp._content import parts_of
from lutum.testing import ScriptedAdapter

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
JPEG = b"\xff\xd8\xff\xe0" + bytes(16)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@lutum.tool
async def anything() -> object:
    """Anything."""


def call() -> lutum.ToolCall[Any]:
    return lutum.ToolCall("c1", "anything", "{}", {})


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("a\udce9b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),  # the two halves of one character
        (Text("\ud800"), "\ufffd"),
        ({"name\udc00": ["x\udfff", 1, None]}, '{"name\ufffd":["x\ufffd",1,null]}'),
        (["\udc80"], '["\ufffd"]'),
    ],
)
def test_half_a_surrogate_pair_of_a_tool(output: object, text: str) -> None:
    """The model gets all other characters; the half becomes U+FFFD, as UTF-8 decoders write it."""
    result = call().complete(output)
    assert result.text == text
    assert not result.is_error
    json.dumps(result.text).encode()


def test_half_a_surrogate_pair_of_an_error() -> None:
    """So do the words of an error, and of a refusal to run the tool."""
    assert call().fail(ToolError("no file x\udcff")).text == "no file x\ufffd"
    assert call().reject("x\udcff").text == "rejected: x\ufffd"


# --- media --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "given", "sent"),
    [
        (JPEG, "image/png", "image/jpeg"),
        (PNG, "image/jpeg", "image/png"),
        (JPEG, "image/jpg", "image/jpeg"),
        (PNG, "image/PNG; q=1", "image/png"),
        (b"\0\0\0 ftypheic", "image/heic", "image/heic"),  # some providers read it
    ],
)
def test_bytes_decide_the_media_type(data: bytes, given: str, sent: str) -> None:
    """A message and a result hold the type that the bytes have, whatever was said."""
    image = Image(data=data, media_type=given)
    session = Session(lutum.Lutum(ScriptedAdapter([])))
    session.push_user([Text("x"), image])
    pushed = session.transcript[0]
    assert isinstance(pushed, lutum.Message)
    assert isinstance(part := pushed.content[1], Image)
    assert part.media_type == sent
    assert part.data == data
    assert Image.from_bytes(data, media_type=given).media_type == sent


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Image(data=b"%PDF-1.7", media_type="image/png"), "is application/pdf, not image/png"),
        (Document(data=PNG, media_type="application/pdf"), "is image/png, not application/pdf"),
    ],
)
def test_bytes_of_no_such_media(made: Image | Document, said: str) -> None:
    """What is no such media is refused where it is made, by the name of its place."""
    with pytest.raises(BadValue, match=said) as caught:
        lutum.ModelInput().user([Text("x"), made])
    assert caught.value.field == "user[1].data"


def test_images_of_tools_that_no_provider_takes() -> None:
    """They become text: a committed part that the provider refuses would block the session for ever."""
    (svg,) = call().complete(Image(data=SVG, media_type="image/svg+xml")).content
    assert svg == Text(SVG.decode())
    (other,) = call().complete([Image(data=b"\0\0\0 ftypheic", media_type="image/heic")]).content
    assert other == Text("[an image of type image/heic, 12 bytes, which cannot be shown]")
    (none,) = call().complete(Image(data=b"<html>", media_type="image/png")).content
    assert none == Text("[an image of type image/png, 6 bytes, which cannot be shown]")
    (png,) = call().complete(Image(data=PNG, media_type="image/jpeg")).content
    assert png == Image("image/png", PNG)


@pytest.mark.parametrize(
    ("mime", "data", "part"),
    [
        ("image/png", base64.b64encode(JPEG).decode(), Image("image/jpeg", JPEG)),
        ("image/jpg", base64.b64encode(JPEG).decode(), Image("image/jpeg", JPEG)),
        ("image/png", "!!", "cannot be shown"),
        ("image/png", base64.b64encode(b"%PDF-1").decode(), "cannot be shown"),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_images_of_mcp_servers(mime: str, data: str, part: Image | str, embedded: bool) -> None:
    """Images and image resources of a server are images; what is not one is text that says so."""
    block: Any = ImageContent(type="image", data=data, mime_type=mime)
    if embedded:
        resource = BlobResourceContents(uri="file:///x", blob=data, mime_type=mime)
        block = EmbeddedResource(type="resource", resource=resource)
    (made,) = parts_of(CallToolResult(content=[block]), 10_000)
    if isinstance(part, Image):
        assert made == part
    else:
        assert isinstance(made, Text)
        assert part in made.text


# --- tools --------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"n": {"type": "number", "minimum": 1.50}}}


def planned(stored: str, strict: bool = False, **now: Any) -> lutum.abc.ToolPlan:
    """The plan of a turn with a tool, behind a turn that was made with the stored one."""
    turn = lutum.CommittedTurn("a", "s", "m", b"{}", tools=(lutum.ToolDef("t", stored, "d", strict),))
    base = lutum.ModelInput().user("x").turn(turn).user("y").transcript
    tool = lutum.raw_tool("t", now.get("schema", SCHEMA), now.get("description", "d"))
    return plan_tools(TurnSpec(base=base, toolset=Toolset(tool)))


@pytest.mark.parametrize(
    "stored", [json.dumps(SCHEMA, indent=1), json.dumps(SCHEMA, sort_keys=True), json.dumps(SCHEMA)]
)
def test_one_tool_in_other_white_space(stored: str) -> None:
    """A stored body has its own white space and member order; its tool is the same and is sent as stored."""
    plan = planned(stored)
    assert plan.new == ()
    assert plan.head[0].schema == stored


def test_another_tool() -> None:
    """Another value, another description: another tool. A number with other digits is another value."""
    assert planned(json.dumps(SCHEMA), description="e").new
    assert planned(json.dumps(SCHEMA), schema={"type": "object"}).new
    assert planned(json.dumps(SCHEMA).replace("1.5", "1.50")).new
