"""Parts and items: where media come from, what is refused, and that each refusal names its field."""

import copy
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum import (
    BadValue,
    CommittedTurn,
    Document,
    Image,
    Message,
    ModelInput,
    Raw,
    Text,
    ToolResult,
    Transcript,
)
from lutum._values.media import MAX_MEDIA_BYTES

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
GIF87 = b"GIF87a\x01\x00\x01\x00"
GIF89 = b"GIF89a\x01\x00\x01\x00"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8 "
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF87, "image/gif"),
        (GIF89, "image/gif"),
        (WEBP, "image/webp"),
    ],
)
def test_image_type_is_read_from_its_first_bytes(data: bytes, media_type: str, tmp_path: Path) -> None:
    """Bytes and a file give the same image, whatever the file is called."""
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    image = Image.from_bytes(data)
    assert (image.media_type, image.data, image.url, image.file_id) == (media_type, data, None, None)
    assert Image.from_path(path) == Image.from_path(str(path)) == image


def test_given_media_type_wins() -> None:
    """A type that is said is not doubted: formats exist that lutum does not know."""
    assert Image.from_bytes(b"??", media_type="image/avif").media_type == "image/avif"
    assert Document.from_bytes(b"\xff", media_type="application/x-odd").media_type == "application/x-odd"


def test_documents(tmp_path: Path) -> None:
    """A PDF is known by its first bytes, anything else that is UTF-8 is text; a file brings its name."""
    path = tmp_path / "report.pdf"
    path.write_bytes(PDF)
    assert Document.from_path(path) == Document("application/pdf", PDF, title="report.pdf")
    assert Document.from_path(path, title="").title == ""
    assert Document.from_bytes(PDF, title="T", context="C", citations=True) == Document(
        "application/pdf", PDF, title="T", context="C", citations=True
    )
    assert Document.from_bytes("é\n".encode()) == Document("text/plain", b"\xc3\xa9\n")
    assert Document.from_text("é\n", title="T") == Document("text/plain", b"\xc3\xa9\n", title="T")


def test_media_elsewhere() -> None:
    """A URL or a file id is kept as it is, with no type: the provider looks."""
    assert Image.from_url("https://example.com/a.png") == Image(url="https://example.com/a.png")
    assert Image.from_file_id("file_1") == Image(file_id="file_1")
    assert Document.from_url("http://example.com/a", title="T") == Document(
        url="http://example.com/a", title="T"
    )
    assert Document.from_file_id("file_1") == Document(file_id="file_1")


TOO_LARGE = bytes(1) * (MAX_MEDIA_BYTES + 1)

BAD: list[tuple[str, Callable[[], Any]]] = [
    ("image", lambda: Image.from_bytes(b"")),
    ("image", lambda: Image.from_bytes(TOO_LARGE, media_type="image/png")),
    ("image", lambda: Image.from_bytes("text")),
    ("image.media_type", lambda: Image.from_bytes(b"what is this")),
    ("image.media_type", lambda: Image.from_bytes(PDF)),
    ("image.media_type", lambda: Image.from_bytes(PNG[:4])),
    ("image.media_type", lambda: Image.from_bytes(PNG, media_type="")),
    ("image.url", lambda: Image.from_url("ftp://example.com/a.png")),
    ("image.url", lambda: Image.from_url("data:image/png;base64,AA==")),
    ("image.url", lambda: Image.from_url("")),
    ("image.file_id", lambda: Image.from_file_id(" ")),
    ("image", Image),
    ("image", lambda: Image("image/png", PNG, "https://example.com/a.png")),
    ("document", lambda: Document.from_bytes(b"")),
    ("document", lambda: Document.from_text("")),
    ("document", lambda: Document.from_text("half \ud83d")),
    ("document", lambda: Document.from_bytes(TOO_LARGE)),
    ("document.media_type", lambda: Document.from_bytes(b"\xff\xfe")),
    ("document.media_type", lambda: Document.from_bytes(PNG)),
    ("document.title", lambda: Document.from_bytes(PDF, title="caf\udce9.pdf")),
    ("document.context", lambda: Document.from_bytes(PDF, context="\ud83d")),
    ("document.url", lambda: Document.from_url("example.com/a.pdf")),
    ("document.file_id", lambda: Document.from_file_id("")),
    ("document", Document),
    ("user", lambda: ModelInput().user([])),
    ("user", lambda: ModelInput().user(None)),
    ("user", lambda: ModelInput().user(3)),
    ("user", lambda: ModelInput().user(b"bytes")),
    ("user", lambda: ModelInput().user("half \ud83d")),
    ("user[1]", lambda: ModelInput().user([Text("a"), Text("\udc00")])),
    ("user[1]", lambda: ModelInput().user([Text("a"), "b"])),
    ("system", lambda: ModelInput().system([])),
    ("developer[0]", lambda: ModelInput().developer([1])),
    ("assistant", lambda: ModelInput().assistant("\ud800")),
    ("tool_result.call_id", lambda: ModelInput().tool_result(" ", "out")),
    ("tool_result.call_id", lambda: ModelInput().tool_result(None, "out")),
    ("tool_result", lambda: ModelInput().tool_result("a", [])),
    ("raw.adapter", lambda: ModelInput().raw("", "{}")),
    ("raw.json", lambda: ModelInput().raw("claude", "{")),
    ("raw.json", lambda: ModelInput().raw("claude", b"\xff")),
    ("raw.json", lambda: ModelInput().raw("claude", '"\ud800"')),
    ("raw.json", lambda: ModelInput().raw("claude", "{} {}")),
    ("raw.json", lambda: ModelInput().raw("claude", "[" * 100_000)),
]


@pytest.mark.parametrize(("field", "make"), BAD, ids=[f"{i}-{field}" for i, (field, _) in enumerate(BAD)])
def test_bad_input_names_its_field(field: str, make: Callable[[], Any]) -> None:
    """What no request could hold is refused where it is made, by name."""
    with pytest.raises(BadValue) as caught:
        make()
    assert caught.value.field == field
    assert isinstance(caught.value, lutum.UsageError)
    assert isinstance(caught.value, ValueError)


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    """The size is asked for first: a wrong path does not fill the memory."""
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        file.truncate(MAX_MEDIA_BYTES + 1)
    tracemalloc.start()
    try:
        with pytest.raises(BadValue, match="at most 50000000 are"):
            Image.from_path(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """The operating system's own error comes through."""
    with pytest.raises(FileNotFoundError):
        Image.from_path(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError if os.name == "posix" else PermissionError):
        Document.from_path(tmp_path)


def test_model_input_is_a_value() -> None:
    """Each method gives a longer input and leaves the one it was called on; what they share is shared."""
    turn = CommittedTurn("scripted", "scripted", "m", b"[]")
    start = ModelInput().system("s").developer("d")
    full = (
        start.user([Text("hello"), Image.from_bytes(PNG)])
        .assistant("words")
        .turn(turn)
        .tool_result("c", "out", is_error=True, name="f", arguments="{}")
        .raw("claude", b'{"role":"user","content":"x"}')
        .item(Message("user", (Text("last"),)))
    )
    assert len(start) == 2
    assert list(full) == [
        Message("system", (Text("s"),)),
        Message("developer", (Text("d"),)),
        Message("user", (Text("hello"), Image("image/png", PNG))),
        Message("assistant", (Text("words"),)),
        turn,
        ToolResult("c", (Text("out"),), True, "f", "{}"),
        Raw("claude", '{"role":"user","content":"x"}'),
        Message("user", (Text("last"),)),
    ]
    assert full.transcript[:2] is start.transcript
    again = ModelInput(full.transcript)
    assert full == again == ModelInput(list(full)) == copy.deepcopy(full)
    assert hash(full) == hash(again)
    assert full != start
    assert full != list(full)
    assert repr(full) == "<ModelInput of 8 items>"


def test_text_of_mixed_content() -> None:
    """`.text` is the text parts, joined; pictures say nothing."""
    content = (Text("a"), Image.from_bytes(PNG), Text("b"))
    assert Message("user", content).text == "ab"
    assert ToolResult("c", content).text == "ab"


@pytest.mark.parametrize(
    ("role", "content", "problem"),
    [
        ("robot", (Text("x"),), "role: 'robot' is not one of system, developer, user, assistant"),
        ("user", "hello", "content: needs a tuple of parts, not str"),
    ],
)
def test_what_a_message_refuses_when_it_is_made(role: Any, content: Any, problem: str) -> None:
    with pytest.raises(BadValue, match=problem):
        Message(role, content)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (Message("user", ("hello",)), "str is not a Text"),
        (ToolResult("c", [Text("x")], False, "f", "{}"), "content is list"),
        ("hello", "needs a Message, ToolResult, CommittedTurn or Raw, not a str"),
        (None, "needs a Message, ToolResult, CommittedTurn or Raw, not None"),
    ],
)
def test_items_no_dump_could_hold(item: Any, problem: str) -> None:
    """A Struct made by hand is not checked by msgspec; a transcript checks it, and can be loaded again."""
    with pytest.raises((lutum.TranscriptError, BadValue), match=problem) as caught:
        Transcript([Message("user", (Text("x"),)), item])
    assert str(caught.value).startswith("item 1: ")
