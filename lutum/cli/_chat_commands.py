"""The lines of a chat that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import lutum
from lutum import trace
from lutum.cli._terminal import Terminal


class ChatState(Protocol):
    """The branches of a chat, the current one, and what its commands change."""

    out: Terminal
    budget: lutum.Budget
    trace: trace.Trace | None
    branches: dict[str, lutum.Transcript]
    current: str

    @property
    def here(self) -> lutum.Transcript: ...

    def move(self, branch: str, at: lutum.Transcript) -> None: ...


HELP = """\
/branch NAME   begin a branch here, and go on in it
/branches      list the branches; * is the current one
/switch NAME   go on in another branch
/undo          take the last exchange back
/budget        what this chat has used since it began
/trace         where the time of the last turn went
/save FILE     write the current branch as a transcript
/quit          end; Ctrl-D does too
Ctrl-C stops an answer. A line that begins with a space is never a command."""

_NAME = re.compile(r"[\w.-]{1,40}")


def obey(chat: ChatState, line: str) -> bool:
    """Do what a line says; returns whether to go on.

    Raises:
      LutumError, OSError: it could not be done, and nothing changed.
    """
    name, _, argument = line.strip().partition(" ")
    if name in ("/quit", "/exit"):
        return False
    if name not in _COMMANDS:
        chat.out.note(f"There is no {name}. /help lists what there is; begin with a space to say it.")
        return True
    takes, command = _COMMANDS[name]
    argument = argument.strip()
    if bool(takes) is not bool(argument):
        chat.out.note(f"It is {name} {takes}." if takes else f"{name} takes nothing behind it.")
    else:
        command(chat, argument)
    return True


def _help(chat: ChatState, _: str) -> None:
    for line in HELP.split("\n"):
        chat.out.note(line)


def _branch(chat: ChatState, name: str) -> None:
    if not _NAME.fullmatch(name):
        chat.out.note("A branch is named by letters, digits, and any of _ . -")
    elif name in chat.branches:
        chat.out.note(f"There is a branch {name} already: /switch {name}.")
    else:
        before = chat.current
        chat.move(name, chat.here)
        chat.out.note(f"On {name}, which begins where {before} stands.")


def _branches(chat: ChatState, _: str) -> None:
    for name, transcript in chat.branches.items():
        mark = "*" if name == chat.current else "-"
        last = _last_words(transcript)
        chat.out.note(f"{mark} {name}: {len(transcript)} items{f', last: {last}' if last else ''}")


def _switch(chat: ChatState, name: str) -> None:
    if name not in chat.branches:
        chat.out.note(f"There is no branch {name}; there are: {', '.join(chat.branches)}.")
        return
    chat.move(name, chat.branches[name])
    last = _last_words(chat.here)
    chat.out.note(f"On {name}, {len(chat.here)} items{f'; last: {last}' if last else ''}.")


def _undo(chat: ChatState, _: str) -> None:
    for at in range(len(chat.here) - 1, -1, -1):
        item = chat.here[at]
        if isinstance(item, lutum.Message) and item.role == "user":
            chat.move(chat.current, chat.here[:at])
            chat.out.note(f"Taken back: {_short(item.text)}")
            return
    chat.out.note("There is nothing to take back.")


def _budget(chat: ChatState, _: str) -> None:
    used = chat.budget.spent
    cost = "" if used.cost_usd is None else f", ${used.cost_usd}"
    chat.out.note(f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out{cost}; {used.known}.")


def _trace(chat: ChatState, _: str) -> None:
    if chat.trace is None:
        chat.out.note("There was no turn yet.")
    else:
        chat.out.write(chat.trace.render(chat.out.width, color=chat.out.color) + "\n")


def _save(chat: ChatState, name: str) -> None:
    path = Path(name).expanduser()
    with path.open("xb") as file:
        file.write(chat.here.dump())
    chat.out.note(f"{chat.current} is in {path}: {len(chat.here)} items. `lutum show {path}` shows it.")


def _last_words(transcript: lutum.Transcript) -> str:
    for item in reversed(list(transcript)):
        if isinstance(item, lutum.Message) and item.role == "user":
            return _short(item.text)
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 50 else text[:49] + "\u2026"


_COMMANDS: dict[str, tuple[str, Callable[[ChatState, str], None]]] = {
    "/help": ("", _help),
    "/branch": ("NAME", _branch),
    "/branches": ("", _branches),
    "/switch": ("NAME", _switch),
    "/undo": ("", _undo),
    "/budget": ("", _budget),
    "/trace": ("", _trace),
    "/save": ("FILE", _save),
}
