"""`lutum show`: prints a transcript, or all branches of a chat, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

import lutum
from lutum._text import cells
from lutum.cli import _history, _interrupt
from lutum.cli._report import report
from lutum.cli._terminal import BOLD, DIM, RED, Terminal

STORES = ("sqlite:", "postgresql:", "postgres:")
"""The beginnings of store URLs. An argument with another beginning is a file."""

_DEEP = "    "
_LONGEST = 2_000
"""The most characters that are shown of a tool's arguments and of raw JSON. `--raw` shows all."""


def run_show(file: str, *, branch: str | None = None, raw: bool = False) -> int:
    """Print a file or the content of a store, and return the exit code."""
    out = Terminal(raw=raw)
    try:
        if file.startswith(STORES):
            _store(out, file, branch)
            return 0
        if branch is not None:
            raise lutum.BadValue(
                "--branch",
                f"{file} is not a store. All its branches are printed; leave --branch out",
            )
        tree = _history.load(Path(file))
    except (lutum.LutumError, OSError) as error:
        report("show", error)
        return 1
    out.title(f"{file}: {_counted(tree)}")
    if len(tree.branches) > 1:
        room = max(map(cells, tree.branches))
        for name, transcript in tree.branches.items():
            mark = "*" if name == tree.current else "-"
            padding = " " * (room - cells(name))
            out.line(f"{mark} {name}{padding}  {len(transcript)} items")
    _branches(out, dict(tree.branches), 0)
    return 0


def _store(out: Terminal, url: str, branch: str | None) -> None:
    from lutum.cli import _show_store  # loaded only if a store is named

    if branch is None:
        _interrupt.run(_show_store.branches, out, url)
        return
    transcript = _interrupt.run(_show_store.transcript, url, branch)
    out.title(f"{url}: {branch}, {len(transcript)} items")
    _items(out, list(transcript), 0)


def last_exchange(out: Terminal, transcript: lutum.Transcript) -> None:
    """Print the items from the last user message on."""
    items = list(transcript)
    said = [i for i, item in enumerate(items) if isinstance(item, lutum.Message) and item.role == "user"]
    if said:
        _items(out, items[said[-1] :], said[-1])
        out.gap()


def _counted(tree: _history.Tree) -> str:
    if len(tree.branches) == 1:
        said = f"{len(tree.branches[tree.current])} items"
    else:
        said = f"{len(tree.branches)} branches, {tree.current} is current"
    return said + (f"; {tree.taken_back} items were removed" if tree.taken_back else "")


def _branches(out: Terminal, branches: dict[str, lutum.Transcript], start: int) -> None:
    """Print the items after `start` that all branches share, and then the other items of each branch."""
    common = next(iter(branches.values()))
    for transcript in branches.values():
        common = common.common_prefix(transcript)
    _items(out, list(common)[start:], start)
    rest = dict[str, dict[str, lutum.Transcript]]()
    ending = list[str]()
    for name, transcript in branches.items():
        if len(transcript) == len(common):
            ending.append(name)
        else:
            rest.setdefault(transcript[: len(common) + 1].digest, {})[name] = transcript
    if rest and ending:
        out.heading(f"-- after item {len(common)}: end of {', '.join(ending)}")
    for group in rest.values():
        out.heading(f"-- after item {len(common)}: {', '.join(group)}")
        _branches(out, group, len(common))


def _items(out: Terminal, items: Sequence[lutum.Item], start: int) -> None:
    for number, item in enumerate(items, start + 1):
        match item:
            case lutum.Message():
                words = "assistant, not generated" if item.role == "assistant" else item.role
                _head(out, number, words)
                for part in item.content:
                    _part(out, part)
            case lutum.ToolResult():
                _head(out, number, f"result of {item.call_id}{', an error' if item.is_error else ''}")
                for part in item.content:
                    _part(out, part, RED if item.is_error else "")
            case lutum.CommittedTurn():
                _turn(out, number, item)
            case lutum.Raw():
                _head(out, number, f"JSON of {item.adapter}")
                out.paragraph(_cut(out, item.json), DIM)


def _turn(out: Terminal, number: int, turn: lutum.CommittedTurn) -> None:
    usage = _usage(turn)
    used = f", {usage[0]:,} + {usage[1]:,} tokens" if usage else ""
    _head(out, number, f"{turn.model} ({turn.adapter} at {turn.scope}){used}")
    for item in turn.items:
        match item:
            case lutum.ReasoningItem(text=text):
                if text:
                    out.paragraph(f"(thinking) {text}", DIM)
            case lutum.RefusalItem(text=text):
                out.paragraph(f"(refusal) {text}")
            case lutum.TextItem(text=text):
                out.paragraph(text)
            case lutum.ToolCallItem():
                out.paragraph(f"calls {item.name}, {item.id}:")
                out.paragraph(_cut(out, item.arguments), indent=_DEEP)
    if not turn.items:
        out.paragraph("(no text)", DIM)
    if turn.exact:
        out.note("exact: sent back as it was received")
    else:
        out.paragraph(f"inexact: {turn.inexact_reason}", RED)


def _head(out: Terminal, number: int, words: str) -> None:
    out.gap()
    # A heading stays on one line, so that text from the file cannot look like another item.
    out.paragraph(" ".join(f"{number}. {words}".split()), BOLD, indent="")


def _part(out: Terminal, part: lutum.Part, style: str = "") -> None:
    match part:
        case lutum.Text(text=text):
            out.paragraph(text, style)
        case lutum.Image() | lutum.Document():
            kind = type(part).__name__.lower()
            where = part.url or part.file_id or f"{part.media_type}, {len(part.data or b''):,} bytes"
            title = f" {part.title!r}" if isinstance(part, lutum.Document) and part.title else ""
            out.paragraph(f"[{kind}{title}: {where}]", DIM)
        case lutum.Raw():
            out.paragraph(f"[JSON of {part.adapter}] {_cut(out, part.json)}", DIM)


def _cut(out: Terminal, text: str) -> str:
    if out.raw or len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}\u2026 ({len(text):,} characters)"


class _Usage(msgspec.Struct):
    """The usage figures, by their names in Messages and Responses. A Chat Completions message has none."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Wire(msgspec.Struct):
    usage: _Usage | None = None


_decode_wire = msgspec.json.Decoder(_Wire).decode


def _usage(turn: lutum.CommittedTurn) -> tuple[int, int] | None:
    """Return the numbers of input and output tokens, if the provider's JSON has them."""
    try:
        usage = _decode_wire(turn.wire).usage
    except msgspec.MsgspecError:
        return None
    if usage is None:
        return None
    # Claude's count of input tokens does not include the cached tokens.
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return usage.input_tokens + cached, usage.output_tokens
