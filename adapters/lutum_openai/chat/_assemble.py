"""Join the deltas of a streamed answer to one message. No I/O, no clock, no tasks.

The result is the message that the server would send without streaming. Pieces of strings are joined. Rules
that follow real servers decide where a call or a reasoning detail begins. Everything else keeps its bytes. If
the pieces of a member cannot be joined with certainty, the turn cannot be sent back exactly, and `inexact`
contains the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Raw

from lutum.dialect.json import (
    copied,
    decode_array,
    decode_object,
    encode,
    is_null,
    starts_with,
    string,
)
from lutum.dialect.usage import count
from lutum_openai.chat import _turn, _wire
from lutum_openai.chat._received_call import ReceivedCall, arguments_of, id_of
from lutum_openai.chat._received_parts import ListEntry, ReceivedPart, text_of

Shown = tuple[Literal["text", "reasoning", "refusal", "other"], str, bytes]
"""A piece to show as an event: its kind, its text and its JSON. For `other`, the text is the name of the
member. For the other kinds, the JSON is empty."""

_JOINED = frozenset({"content", "refusal", *_wire.REASONING_TEXT})
_EMPTY = frozenset({b"null", b'""', b"[]", b"{}"})
_NO_WORDS = frozenset({b"", b'""', b"nu"})  # the first two bytes of an absent, an empty and a null string


class ReceivedMessage:
    """An assistant message that is being received."""

    def __init__(self) -> None:
        self.calls = list[ReceivedCall]()
        self.function: ReceivedCall | None = None
        self.inexact: str | None = None
        self._order = dict[str, None]()  # members in the order of their first delta
        self._texts = dict[str, list[str]]()
        self._parts: list[ReceivedPart] | None = None
        self._lists = dict[str, list[ListEntry]]()
        self._audio = dict[str, Raw]()
        self._audio_text = dict[str, list[str]]()
        self._others = dict[str, bytes]()
        self._holders = dict[str, bytes]()  # first byte of each member's first value that is not null

    def take(self, members: dict[str, Raw]) -> Iterator[Shown]:
        """Take every member of a delta except its calls. Yields the pieces to show.

        Raises:
          msgspec.DecodeError: a member has the wrong type.
        """
        # Reasoning that a delta contains under two names is shown once. `reasoning_details` are shown only if
        # the delta has no reasoning under another name.
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
                # The type of the member changed. If `content` changes between a string and a list, both are
                # kept as one list of parts. For any other change, the new piece is shown but left out of the
                # message.
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
                # Cloudflare's JSON mode sends the decoded object, but requests accept only a string.
                text = copied(raw).decode()
                self.inexact = self.inexact or "the content was received as JSON, and is sent back as text"
                self._take_text(text)
                yield "text", text, b""
            elif name == "audio" and first == b"{":
                yield from self._take_audio(raw)
            elif first == b"[":
                yield from self._take_list(name, raw, silent=worded)
            else:
                self._take_other(name, copied(raw))

    def goes_on(self, name: str, text: str) -> bool:
        """Append a piece to a string member. Returns False if the member has no string yet, or has parts."""
        pieces = self._texts.get(name)
        if pieces is None:
            return False
        pieces.append(text)
        return True

    def call_for(self, members: dict[str, Raw], fallback_id: str) -> ReceivedCall:
        """Return the call that a delta continues, or a new one.

        Servers differ. Some send an index. Some send whole calls, without an index or with index 0 for each
        call. Some send a new id with every delta. The rules:

        - A new id begins a new call only if the delta has a name too.
        - A name after complete arguments begins a new call, unless the delta repeats the same call. The new
          call may have the index of the previous call and no id (Gemini behind gateways: hermes-agent#62937,
          gcli2api#406, new-api#671, litellm#37792).
        - If an earlier call has the same id, the new call's id is made unique (Kimi: nanobot#4473; MiMo:
          oh-my-pi#2055), because a result belongs to one call.
        - Metadata such as a signature may be in a separate delta, before or after its call
          (open-webui/computer#224). Such a delta does not begin a call: see `settle_calls`.
        """
        index, id = count(members.get("index")), id_of(members.get("id"))
        function = members.get("function")
        inner = decode_object(function) if starts_with(function, b"{") else {}
        name = text_of(inner.get("name"))
        arguments = arguments_of(inner.get("arguments"))
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
            self.inexact = self.inexact or f"call {found.id!r} continued after its end"
        return found

    def settle_calls(self) -> None:
        """Move metadata that has no call to a neighbouring call. Done after the last delta."""
        for at, call in reversed(list(enumerate(self.calls))):
            if not call.bare:
                continue
            beside = self.calls[at - 1] if at else self.calls[1] if len(self.calls) > 1 else None
            if beside is None or beside.bare:
                if not call.id:
                    self.inexact = self.inexact or "metadata of a call was received without the call"
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
        """Return the whole message, with its members in the order of their first delta."""
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
            self._add_part(ReceivedPart("text", {"type": Raw(b'"text"')}, [text]))

    def _take_part(self, part: bytes) -> Iterator[Shown]:
        if self._parts is None:
            self._parts = []
            if before := "".join(self._texts.pop("content", ())):
                self._add_part(ReceivedPart("text", {"type": Raw(b'"text"')}, [before]))
        read = _wire.decode_part(part)
        members = decode_object(part) if part.startswith(b"{") else {}
        if not members:  # the entry is a string, a number or an empty object
            yield from self._take_odd_part(part)
            return
        if read.type == "text" and read.text is not None:
            self._add_part(ReceivedPart("text", members, [read.text]))
            if read.text:
                yield "text", read.text, b""
        elif read.type == "refusal" and read.refusal is not None:
            self._add_part(ReceivedPart("refusal", members, [read.refusal]))
            yield "refusal", read.refusal, b""
        elif read.type == "thinking" and (text := _turn.thinking_text(members.get("thinking"))) is not None:
            self._add_part(ReceivedPart("thinking", members, [text]))
            if text:
                yield "reasoning", text, b""
        else:
            self._parts.append(ReceivedPart("", members, []))
            yield "other", f"content.{read.type}", part

    def _take_odd_part(self, part: bytes) -> Iterator[Shown]:
        """Take an entry of a content list that is not an object. A string counts as text."""
        text = string(part)
        if text:
            self._add_part(ReceivedPart("text", {"type": Raw(b'"text"')}, [text]))
            self.inexact = self.inexact or "a part of the content was received as a string"
            yield "text", text, b""
        elif part not in _EMPTY:
            self._left_out("content")
            yield "other", "content", part

    def _add_part(self, part: ReceivedPart) -> None:
        assert self._parts is not None
        if not (self._parts and self._parts[-1].go_on(part)):
            self._parts.append(part)

    def _take_audio(self, raw: Raw) -> Iterator[Shown]:
        """Take a piece of `audio`. `data` and `transcript` come in pieces. The transcript counts as text."""
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
            new = ListEntry(copied(value))
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
            self.inexact = self.inexact or f"it is unknown how the pieces of {name!r} are joined"
