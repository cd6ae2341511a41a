"""Deltas to the message that the non-stream answer would hold. PURE.

Strings are joined, calls and reasoning details are told apart by what servers really send, everything else
keeps its bytes. What cannot be joined with certainty leaves a reason in `inexact`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Raw

from lutum.dialect.json import copied, decode_array, decode_object, decode_str, encode, is_null
from lutum_openai.chat import _turn, _wire

Shown = tuple[Literal["text", "reasoning", "refusal", "other"], str, bytes]
"""A piece to show: its kind, its text (for `other` a name), and for `other` the JSON."""

_JOINED = frozenset({"content", "refusal", *_wire.REASONING_TEXT})
_NO_WORDS = frozenset({b"", b'""', b"nu"})  # how an absent, an empty and a null string begin
# A piece of them goes on with an entry; entries of other types are whole.
_STREAMED_DETAILS = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReceivedCall:
    """A tool call that is being received; `custom` calls are the provider's, see `Completed.open_items`."""

    __slots__ = ("_function", "_members", "_pieces", "_whole", "custom", "id", "index", "name", "ready")

    def __init__(self, index: int | None, id: str) -> None:
        self.index = index
        self.id = id
        self.name = ""
        self.ready = False
        self.custom = False
        self._pieces = list[str]()
        self._whole: bytes | None = None
        self._members = dict[str, Raw]()
        self._function = dict[str, Raw]()

    @property
    def arguments(self) -> str:
        """The arguments as received; an object where none came, or nothing but blanks."""
        if self._whole is not None:
            return self._whole.decode()
        joined = "".join(self._pieces)
        return joined if joined.strip() else "{}"

    @property
    def blank(self) -> bool:
        """Whether no arguments came."""
        return self._whole is None and not "".join(self._pieces).strip()

    def take(self, members: dict[str, Raw]) -> str:
        """Take a delta; returns the piece of the arguments that it held."""
        piece = ""
        for name, raw in members.items():
            if name in ("index", "id") or is_null(raw):
                continue
            if name == "function":
                piece = self._take_function(decode_object(raw), self._function, "arguments")
            elif name == "custom" and _text(members.get("type") or self._members.get("type")) == "custom":
                self.custom = True
                piece = self._take_function(decode_object(raw), self._function, "input")
            else:
                self._members[name] = Raw(copied(raw))
        return piece

    def _take_function(self, members: dict[str, Raw], known: dict[str, Raw], streamed: str) -> str:
        piece = ""
        for name, raw in members.items():
            if is_null(raw):
                continue
            if name == "name":
                said = decode_str(raw)
                # Some servers repeat the name in every delta; a name in pieces comes before the arguments.
                if not self.name:
                    self.name = said
                elif said != self.name and not self._pieces:
                    self.name += said
                known.setdefault(name, Raw())
            elif name != streamed:
                known[name] = Raw(copied(raw))
            elif bytes(raw)[:1] == b'"':
                piece = decode_str(raw)
                self._pieces.append(piece)
                known.setdefault(name, Raw())
            else:
                self._whole = copied(raw)
                piece = self._whole.decode()
                known.setdefault(name, Raw())
        return piece

    def json(self) -> bytes:
        """The whole call."""
        streamed = "input" if self.custom else "arguments"
        function = dict(self._function)
        function["name"] = Raw(encode(self.name))
        function[streamed] = Raw(encode("".join(self._pieces)) if self._whole is None else self._whole)
        members = {"id": Raw(encode(self.id)), "type": Raw(b'"function"')} | self._members
        members["custom" if self.custom else "function"] = Raw(encode(function))
        return encode(members)


class ReceivedMessage:
    """An assistant message that is being received."""

    def __init__(self) -> None:
        self.calls = list[ReceivedCall]()
        self.function: ReceivedCall | None = None
        self.inexact: str | None = None
        self._order = dict[str, None]()  # members as they first came
        self._texts = dict[str, list[str]]()
        self._parts: list[_Part] | None = None
        self._lists = dict[str, list[_Entry]]()
        self._audio = dict[str, Raw]()
        self._audio_text = dict[str, list[str]]()
        self._others = dict[str, bytes]()

    def take(self, members: dict[str, Raw]) -> Iterator[Shown]:
        """Take every member of a delta but its calls; yields what it shows.

        Raises:
          msgspec.DecodeError: a member is not of its type.
        """
        # The same words under two names are shown once; those of the details only where there are no others.
        worded = any(bytes(members.get(name, b""))[:2] not in _NO_WORDS for name in _wire.REASONING_TEXT)
        reasoned = False
        for name, raw in members.items():
            if name in ("role", "tool_calls", "function_call"):
                self._order.setdefault(name)
                if name == "role":
                    continue
                self._others.setdefault(name, copied(raw))
                continue
            self._order.setdefault(name)
            first = bytes(raw)[:1]
            if first == b'"' and name in _JOINED:
                text = decode_str(raw)
                if name == "content":
                    self._take_text(text)
                    kind: Literal["text", "reasoning", "refusal"] = "text"
                else:
                    self._texts.setdefault(name, []).append(text)
                    kind = "refusal" if name == "refusal" else "reasoning"
                if text and not (kind == "reasoning" and reasoned):
                    reasoned = reasoned or kind == "reasoning"
                    yield kind, text, b""
            elif name == "content" and first == b"[":
                for part in decode_array(raw):
                    yield from self._take_part(copied(part))
            elif name == "audio" and first == b"{":
                yield from self._take_audio(raw)
            elif first == b"[":
                yield from self._take_list(name, raw, silent=worded)
            else:
                self._take_other(name, copied(raw))

    def goes_on(self, name: str, text: str) -> bool:
        """Take a further piece of a string member; False where there is none yet, or it is parts."""
        pieces = self._texts.get(name)
        if pieces is None:
            return False
        pieces.append(text)
        return True

    def call_for(self, delta: _wire.CallDelta, fallback_id: str) -> ReceivedCall:
        """The call that a delta goes on with, or a new one.

        Servers send an index, or whole calls without one, or index 0 for every whole call, or an id of its
        own with every delta: a new id begins a new call only where a name comes with it.
        """
        named = bool(delta.function and delta.function.name)
        found: ReceivedCall | None = None
        if delta.index is not None:
            found = next((call for call in reversed(self.calls) if call.index == delta.index), None)
        elif delta.id:
            found = next((call for call in self.calls if call.id == delta.id), None)
            if found is None and not named and self.calls:
                found = self.calls[-1]
        elif self.calls and not named:
            found = self.calls[-1]
        if found is not None and named and delta.id and found.id and delta.id != found.id:
            found = None
        if found is None:
            if not delta.id:
                self.inexact = self.inexact or f"call {len(self.calls)} came without an id"
            found = ReceivedCall(delta.index, delta.id or fallback_id)
            self.calls.append(found)
        elif found.ready:
            self.inexact = self.inexact or f"call {found.id!r} went on after its end"
        return found

    def legacy(self, raw: Raw) -> tuple[ReceivedCall, str]:
        """Take a piece of a `function_call`."""
        call = self.function
        if call is None:
            self.function = call = ReceivedCall(None, "")
        piece = call.take({"function": raw})
        call.id = _wire.FUNCTION_ID + call.name
        return call, piece

    def json(self) -> bytes:
        """The whole message, members in the order in which they first came."""
        members: dict[str, Raw] = {"role": Raw(b'"assistant"')}
        for name in self._order:
            value = self._member(name)
            if value is not None:
                members[name] = Raw(value)
        return encode(members)

    def _member(self, name: str) -> bytes | None:
        if name == "role":
            return None
        if name == "content" and self._parts is not None:
            return b"[" + b",".join(part.json() for part in self._parts) + b"]"
        if name == "tool_calls" and self.calls:
            return b"[" + b",".join(call.json() for call in self.calls) + b"]"
        if name == "function_call" and self.function is not None:
            function = {"name": self.function.name, "arguments": self.function.arguments}
            return encode(function)
        if name in self._texts:
            return encode("".join(self._texts[name]))
        if name in self._lists:
            return b"[" + b",".join(entry.json() for entry in self._lists[name]) + b"]"
        if name == "audio" and self._audio:
            joined = {key: Raw(encode("".join(pieces))) for key, pieces in self._audio_text.items()}
            return encode(self._audio | joined)
        return self._others.get(name)

    def _take_text(self, text: str) -> None:
        if self._parts is None:
            self._texts.setdefault("content", []).append(text)
        elif text:
            self._add_part(_Part("text", {"type": Raw(b'"text"')}, [text]))

    def _take_part(self, part: bytes) -> Iterator[Shown]:
        if self._parts is None:
            self._parts = []
            if before := "".join(self._texts.pop("content", ())):
                self._add_part(_Part("text", {"type": Raw(b'"text"')}, [before]))
        read = _wire.decode_part(part)
        members = decode_object(part)
        if read.type == "text" and read.text is not None:
            self._add_part(_Part("text", members, [read.text]))
            if read.text:
                yield "text", read.text, b""
        elif read.type == "refusal" and read.refusal is not None:
            self._add_part(_Part("refusal", members, [read.refusal]))
            yield "refusal", read.refusal, b""
        elif read.type == "thinking" and (text := _turn.thinking_text(members.get("thinking"))) is not None:
            self._add_part(_Part("thinking", members, [text]))
            if text:
                yield "reasoning", text, b""
        else:
            self._parts.append(_Part("", members, []))
            yield "other", f"content.{read.type}", part

    def _add_part(self, part: _Part) -> None:
        assert self._parts is not None
        if not (self._parts and self._parts[-1].go_on(part)):
            self._parts.append(part)

    def _take_audio(self, raw: Raw) -> Iterator[Shown]:
        """`data` and `transcript` come in pieces; what is said aloud is text."""
        for name, value in decode_object(raw).items():
            if name in ("data", "transcript") and not is_null(value):
                piece = decode_str(value)
                self._audio_text.setdefault(name, []).append(piece)
                if piece and name == "transcript":
                    yield "text", piece, b""
                elif piece:
                    yield "other", "audio", copied(raw)
            elif not is_null(value):
                self._audio[name] = Raw(copied(value))

    def _take_list(self, name: str, raw: Raw, *, silent: bool) -> Iterator[Shown]:
        entries = self._lists.setdefault(name, [])
        for value in decode_array(raw):
            new = _Entry(copied(value))
            if name != "reasoning_details":
                if new.index is not None and any(entry.index == new.index for entry in entries):
                    self._left_out(name)
                entries.append(new)
                yield "other", name, new.raw
                continue
            text = new.text
            found = next((entry for entry in reversed(entries) if entry.takes(new)), None)
            if found is None:
                entries.append(new)
            else:
                found.go_on(new)
            if text and not silent:
                yield "reasoning", text, b""

    def _take_other(self, name: str, value: bytes) -> None:
        known = self._others.get(name)
        for texts in (self._texts, self._lists):
            if name in texts and value == b"null":
                return
        if known is None or known == b"null":
            self._others[name] = value
        elif value not in (known, b"null"):
            self._others[name] = value
            if value[:1] in (b'"', b"{"):
                self._left_out(name)

    def _left_out(self, name: str) -> None:
        if name not in _turn.RESPONSE_ONLY:
            self.inexact = self.inexact or f"nobody knows how the pieces of {name!r} are joined"


class _Part:
    """A content part; text, refusals and thinking grow."""

    __slots__ = ("kind", "members", "pieces")

    def __init__(self, kind: str, members: dict[str, Raw], pieces: list[str]) -> None:
        self.kind = kind
        self.members = {name: Raw(copied(raw)) for name, raw in members.items()}
        self.pieces = pieces

    def go_on(self, part: _Part) -> bool:
        """Take a part that continues this one; False where it is one of its own."""
        if not self.kind or part.kind != self.kind or bytes(self.members.get("closed", b"")) == b"true":
            return False
        if self.kind == "text" and not part.members.keys() | self.members.keys() <= {"type", "text"}:
            return False
        self.pieces += part.pieces
        self.members |= {name: raw for name, raw in part.members.items() if name != self.kind}
        return True

    def json(self) -> bytes:
        if not self.kind:
            return encode(self.members)
        text = encode("".join(self.pieces))
        members = dict(self.members)
        was_list = bytes(members.get("thinking", b"["))[:1] == b"["
        if self.kind == "thinking" and was_list:
            text = b'[{"type":"text","text":' + text + b"}]"
        members[self.kind] = Raw(text)
        return encode(members)


class _Entry:
    """An entry of a list member; only those of `reasoning_details` are put together."""

    __slots__ = ("_members", "_pieces", "_streamed", "id", "index", "kind", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._members = dict[str, Raw]()
        self._pieces = list[str]()
        self.kind = self.id = ""
        self.index: bytes | None = None
        if not raw.startswith(b"{"):
            return
        self._members = decode_object(raw)
        self.kind = _text(self._members.get("type"))
        self.id = _text(self._members.get("id"))
        index = self._members.get("index")
        self.index = None if is_null(index) or index is None else bytes(index)
        self._streamed = _STREAMED_DETAILS.get(self.kind)
        if self._streamed and self._streamed in self._members:
            self._pieces.append(_text(self._members[self._streamed]))

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def signed(self) -> bool:
        return bool(_text(self._members.get("signature")))

    def takes(self, new: _Entry) -> bool:
        """Whether `new` is a further piece of this one; a signature ends it."""
        if not self.kind or new.kind != self.kind or new.index != self.index:
            return False
        if self.kind not in _STREAMED_DETAILS or (self.id and new.id and self.id != new.id):
            return False
        return not (self.signed and (new.text or new.signed))

    def go_on(self, new: _Entry) -> None:
        self._pieces += new._pieces
        self.raw = b""
        for name, raw in new._members.items():
            known = self._members.get(name)
            empty = bytes(raw) in (b"null", b'""')
            if name != self._streamed and (known is None or not empty):
                self._members[name] = raw
        if self._pieces and self._streamed:
            self._members[self._streamed] = Raw()

    def json(self) -> bytes:
        if self.raw:
            return self.raw
        members = dict(self._members)
        if self._pieces and self._streamed:
            members[self._streamed] = Raw(encode(self.text))
        return encode(members)


def _text(raw: Raw | None) -> str:
    """A string member; empty where it is absent, null or something else."""
    if raw is None or not bytes(raw).startswith(b'"'):
        return ""
    return decode_str(raw)
