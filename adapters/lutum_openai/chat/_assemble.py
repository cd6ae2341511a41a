"""Deltas to the message that the non-stream answer would hold. PURE.

Strings are joined, calls and reasoning details are told apart by what servers really send, everything else
keeps its bytes. What cannot be joined with certainty leaves a reason in `inexact`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from msgspec import Raw

from lutum.dialect.json import (
    FAULTS,
    copied,
    decode_array,
    decode_object,
    encode,
    is_null,
    is_object,
    starts_with,
    string,
)
from lutum.dialect.usage import count
from lutum_openai.chat import _turn, _wire

Shown = tuple[Literal["text", "reasoning", "refusal", "other"], str, bytes]
"""A piece to show: its kind, its text (for `other` a name), and for `other` the JSON."""

_JOINED = frozenset({"content", "refusal", *_wire.REASONING_TEXT})
_EMPTY = frozenset({b"null", b'""', b"[]", b"{}"})
_NO_WORDS = frozenset({b"", b'""', b"nu"})  # how an absent, an empty and a null string begin
# A piece of them goes on with an entry; entries of other types are whole.
_STREAMED_DETAILS = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReceivedCall:
    """A tool call that is being received; `custom` calls are the provider's, see `Completed.open_items`.

    `id` is empty until a delta brings one, or a piece is shown.
    """

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
        """The arguments as received, said once; an object where none came, or nothing but blanks."""
        if self._whole is not None:
            return self._whole.decode()
        joined = "".join(self._pieces)
        return said_once(self._pieces) if joined.strip() else "{}"

    @property
    def blank(self) -> bool:
        """Whether no arguments came."""
        return self._whole is None and not "".join(self._pieces).strip()

    @property
    def whole(self) -> bool:
        """Whether the arguments so far are one JSON object."""
        return not self.blank and is_object(self.arguments)

    @property
    def bare(self) -> bool:
        """Whether nothing but metadata came: no name and no arguments."""
        return not self.name and self.blank and not self.custom

    def take(self, members: dict[str, Raw]) -> str:
        """Take a delta; returns the piece of the arguments that it held."""
        piece = ""
        for name, raw in members.items():
            if name in ("index", "id") or is_null(raw):
                continue
            if name == "function" and starts_with(raw, b"{"):
                piece = self._take_function(decode_object(raw), self._function, "arguments")
            elif (
                name == "custom"
                and starts_with(raw, b"{")
                and _text(members.get("type") or self._members.get("type")) == "custom"
            ):
                self.custom = True
                piece = self._take_function(decode_object(raw), self._function, "input")
            else:
                self._members[name] = Raw(copied(raw))
        return piece

    def adopt(self, other: ReceivedCall) -> None:
        """Take the metadata that came in a delta of its own, where this call has none."""
        self._members = other._members | self._members
        self._function = other._function | self._function

    def _take_function(self, members: dict[str, Raw], known: dict[str, Raw], streamed: str) -> str:
        piece = ""
        for name, raw in members.items():
            if is_null(raw):
                continue
            if name == "name":
                self._take_name(string(raw) or "")
                known.setdefault(name, Raw())
            elif name != streamed:
                known[name] = Raw(copied(raw))
            elif bytes(raw)[:1] == b'"':
                piece = string(raw) or ""
                self._pieces.append(piece)
                known.setdefault(name, Raw())
            else:
                self._whole = copied(raw)
                piece = self._whole.decode()
                known.setdefault(name, Raw())
        return piece

    def _take_name(self, said: str) -> None:
        # OVH and the Hugging Face router repeat the name in every delta. A name in pieces (continue#5849,
        # openai-agents-python#326) comes before the arguments; a longer one that begins alike replaces it.
        if said.startswith(self.name):
            self.name = said
        elif self.blank:
            self.name += said

    def json(self) -> bytes:
        """The whole call."""
        streamed = "input" if self.custom else "arguments"
        text = "".join(self._pieces) if self.custom else said_once(self._pieces)
        function = dict(self._function)
        function["name"] = Raw(encode(self.name))
        function[streamed] = Raw(encode(text) if self._whole is None else self._whole)
        members = {"id": Raw(encode(self.id)), "type": Raw(b'"function"')} | self._members
        members["custom" if self.custom else "function"] = Raw(encode(function))
        return encode(members)


def said_once(pieces: list[str]) -> str:
    """Return the arguments of a call that some servers send more than once.

    - `{}` before the real ones (litellm#4537);
    - all of them again at the end (opencodex#361, codex-lb#284, 9router#2869);
    - in each delta everything so far (new-api, gateways to Gemini).

    What is one JSON object, or none of these, stays as it came.
    """
    joined = "".join(pieces)
    if not joined.strip() or is_object(joined):
        return joined
    filled = [piece for piece in pieces if piece.strip()]
    last = filled[-1]
    grows = all(later.startswith(earlier) for earlier, later in pairwise(filled))
    if len(filled) > 1 and grows and is_object(last):
        return last
    values = list[str]()
    at = 0
    while at < len(joined):
        if joined[at].isspace():
            at += 1
            continue
        try:
            _, end = _scan(joined, at)
        except (ValueError, RecursionError):
            return joined
        values.append(joined[at:end])
        at = end
    real = [value for value in values if value.replace(" ", "") != "{}"] or values
    return real[0] if len(set(real)) == 1 and is_object(real[0]) else joined


_scan = json.JSONDecoder().raw_decode


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
        self._holders = dict[str, bytes]()  # how the first value of a member begins that is not null

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
            if (
                name in self._holders
                and first not in (b"n", self._holders[name])
                and bytes(raw) not in _EMPTY
            ):
                # A string and then a list, or the other way round: each is kept as far as one member can.
                if name != "content" or b"{" in (first, self._holders[name]):
                    self._left_out(name)
                    yield "other", name, copied(raw)
                    continue
            elif first != b"n":
                self._holders[name] = first
            if first == b'"' and name in _JOINED:
                text = string(raw) or ""
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
            elif name == "content" and not is_null(raw):
                # Cloudflare's JSON mode sends the decoded object; requests take a string alone.
                text = copied(raw).decode()
                self.inexact = self.inexact or "the content came as JSON, and goes back as its text"
                self._take_text(text)
                yield "text", text, b""
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

    def call_for(self, members: dict[str, Raw], fallback_id: str) -> ReceivedCall:
        """The call that a delta goes on with, or a new one.

        Servers send an index, or whole calls without one, or index 0 for every whole call, or an id of its
        own with every delta:

        - A new id begins a new call only where a name comes with it.
        - A name behind complete arguments begins a new call, also with the index of the call before and
          without an id (Gemini behind gateways: hermes-agent#62937, gcli2api#406, new-api#671,
          litellm#37792), unless the delta says the same call again.
        - An id that an earlier call has is made unique (Kimi: nanobot#4473; MiMo: oh-my-pi#2055), because
          a result belongs to one call.
        - Metadata such as a signature may come in a delta of its own, before or after its call
          (open-webui/computer#224). It makes no call: see `settle_calls`.
        """
        index, id = count(members.get("index")), _id(members.get("id"))
        function = members.get("function")
        inner = decode_object(function) if starts_with(function, b"{") else {}
        name = _text(inner.get("name"))
        arguments = _given(inner.get("arguments"))
        found: ReceivedCall | None = None
        if index is not None:
            found = next((call for call in reversed(self.calls) if call.index == index), None)
        elif id:
            found = next((call for call in reversed(self.calls) if call.id == id), None)
            if found is None and not name and self.calls:
                found = self.calls[-1]
        elif self.calls and not name:
            found = self.calls[-1]
        waiting = self.calls[-1] if self.calls and self.calls[-1].bare else None
        if found is None and waiting is not None and name:
            found = waiting
            found.index = found.index if index is None else index
        if found is not None and name and not found.bare and found.name:
            other_id = id and found.id and id != found.id
            again = arguments == found.arguments and name == found.name and (not id or id == found.id)
            emptied = found.arguments == "{}" and name == found.name
            if other_id or (arguments.strip() and found.whole and not again and not emptied):
                found = None
        if found is None:
            found = ReceivedCall(index, self._unique(id))
            self.calls.append(found)
        elif not found.id:
            found.id = self._unique(id)
        if not found.id and (name or arguments):
            found.id = self._unique(fallback_id)
        if found.ready:
            self.inexact = self.inexact or f"call {found.id!r} went on after its end"
        return found

    def settle_calls(self) -> None:
        """Give metadata that came without a call to the call beside it, at the end of the answer."""
        for at, call in reversed(list(enumerate(self.calls))):
            if not call.bare:
                continue
            beside = self.calls[at - 1] if at else self.calls[1] if len(self.calls) > 1 else None
            if beside is None or beside.bare:
                if not call.id:
                    self.inexact = self.inexact or "metadata of a call came without the call"
                    del self.calls[at]
                continue
            if not call.id or call.id == beside.id:
                beside.adopt(call)
                del self.calls[at]

    def _unique(self, id: str) -> str:
        taken = {call.id for call in self.calls}
        unique, number = id, 2
        while id and unique in taken:
            unique, number = f"{id}_{number}", number + 1
        return unique

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
        members = decode_object(part) if part.startswith(b"{") else {}
        if not members:  # a string, a number or nothing where an object should be
            yield from self._take_odd_part(part)
            return
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

    def _take_odd_part(self, part: bytes) -> Iterator[Shown]:
        """Take an entry of a content list that is not an object: a string is text."""
        text = string(part)
        if text:
            self._add_part(_Part("text", {"type": Raw(b'"text"')}, [text]))
            self.inexact = self.inexact or "a part of the content came as a string"
            yield "text", text, b""
        elif part not in _EMPTY:
            self._left_out("content")
            yield "other", "content", part

    def _add_part(self, part: _Part) -> None:
        assert self._parts is not None
        if not (self._parts and self._parts[-1].go_on(part)):
            self._parts.append(part)

    def _take_audio(self, raw: Raw) -> Iterator[Shown]:
        """`data` and `transcript` come in pieces; what is said aloud is text."""
        for name, value in decode_object(raw).items():
            if name in ("data", "transcript") and starts_with(value, b'"'):
                piece = string(value) or ""
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


def _text(raw: Raw | bytes | None) -> str:
    """A string member; empty where it is absent, null or something else."""
    try:
        return string(raw) or ""
    except FAULTS:
        return ""


def _id(raw: Raw | None) -> str:
    """The id of a call; some servers number them."""
    number = None if starts_with(raw, b'"') else count(raw)
    return _text(raw) if number is None else str(number)


def _given(raw: Raw | None) -> str:
    """The arguments in a delta: a string, or the object itself."""
    return _text(raw) if starts_with(raw, b'"') or is_null(raw) or raw is None else bytes(raw).decode()
