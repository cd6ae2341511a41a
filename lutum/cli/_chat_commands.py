"""The commands of a chat: the lines that begin with a slash."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, final

import lutum
from lutum import trace
from lutum.cli import _attach
from lutum.cli._connect import Endpoint
from lutum.cli._endpoint import named_endpoint
from lutum.cli._parsers import EFFORTS, MODELS, WIRE
from lutum.cli._terminal import Terminal
from lutum.cli._typed import Typed


class ChatState(Protocol):
    """The state of a chat: its branches, the current branch, and the values that commands change."""

    out: Terminal
    typed: Typed
    budget: lutum.Budget
    trace: trace.Trace | None
    branches: dict[str, lutum.Transcript]
    current: str
    endpoint: Endpoint
    effort: str | None
    pending: lutum.Message | None
    attached: list[lutum.Part]

    @property
    def here(self) -> lutum.Transcript: ...

    def move(self, branch: str, at: lutum.Transcript) -> None: ...

    def grow(self, to: lutum.Transcript) -> None: ...

    def answer(self, content: str | Sequence[lutum.Part]) -> None: ...

    def check(self, endpoint: Endpoint, effort: str | None) -> None: ...


HELP = """\
/retry             send the last question again
/edit [TEXT]       edit a message in $EDITOR; without TEXT, the question that has no answer
/attach FILE       add an image or document, or its URL, to the next message
/model [NAME]      show the model, or change it: provider:model
/system TEXT       add a system message here
/effort [LEVEL]    show or set how much the model may reason: none, low, medium, high, max, default
/branch NAME       begin a branch here, and switch to it
/branches          list the branches; * marks the current one
/switch NAME       switch to another branch
/undo              remove the last exchange
/budget            show what this chat has used since it began
/trace             show how long each step of the last turn took
/save FILE         write the current branch as a transcript
/help              show this list
/quit              end the chat; Ctrl-D does the same
Ctrl-C stops an answer. Tab completes a command. A line that ends with \\ continues in the next one. A line
that begins with a space is never a command."""

_NAME = re.compile(r"[\w.-]{1,40}")


def obey(chat: ChatState, line: str) -> bool:
    """Execute a line; return whether the chat continues.

    Raises:
      LutumError, OSError: the command failed, and nothing changed.
    """
    name, _, argument = line.strip().partition(" ")
    if name in ("/quit", "/exit"):
        return False
    if name not in _COMMANDS:
        chat.out.note(
            f"{name} is not a command. /help lists the commands. To send the line, begin it with a space."
        )
        return True
    takes, command = _COMMANDS[name]
    argument = argument.strip()
    if not takes.startswith("[") and bool(takes) is not bool(argument):
        chat.out.note(f"Write {name} {takes}." if takes else f"{name} takes no argument.")
    else:
        command(chat, argument)
    return True


def _help(chat: ChatState, _: str) -> None:
    for line in HELP.split("\n"):
        chat.out.note(line)


def _retry(chat: ChatState, _: str) -> None:
    if chat.pending is not None:
        chat.answer(_content(chat.pending))
        return
    at, message = _last_question(chat.here)
    if message is None:
        chat.out.note("There is nothing to ask again.")
        return
    chat.move(chat.current, chat.here[:at])
    chat.answer(_content(message))


def _edit(chat: ChatState, text: str) -> None:
    if not chat.typed.terminal:
        chat.out.note("/edit needs a terminal.")
        return
    kept = "" if chat.pending is None else chat.pending.text
    written = edited(text or kept).strip()
    if not written:
        chat.out.note("The message is empty, so it was not sent.")
        return
    chat.out.asked(written)
    parts = [*chat.attached, lutum.Text(written)]
    chat.answer(parts if chat.attached else written)
    chat.attached.clear()


def edited(text: str) -> str:
    """Open a text in $VISUAL or $EDITOR and return the edited text.

    Raises:
      BadValue: the editor cannot be started, or ends with an error.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("notepad" if os.name == "nt" else "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "message.md")
        path.write_text(text, encoding="utf-8")
        try:
            code = subprocess.call([*shlex.split(editor), str(path)])
        except (OSError, ValueError) as error:
            raise lutum.BadValue(
                "EDITOR", f"{editor!r} cannot be started: {error}. Set the variable to another program"
            ) from None
        if code:
            raise lutum.BadValue(
                "EDITOR", f"{editor!r} ended with exit code {code}; the message was not sent"
            )
        return path.read_text(encoding="utf-8", errors="replace")


def _attach_part(chat: ChatState, source: str) -> None:
    chat.attached.append(_attach.attachment(source))
    chat.out.note(f"{source} is attached to the next message.")


def _model(chat: ChatState, name: str) -> None:
    if name:
        endpoint = named_endpoint(name)
        chat.check(endpoint, chat.effort)
        chat.endpoint = endpoint
    chat.out.note(f"Talking to {chat.endpoint}.")


def _system(chat: ChatState, text: str) -> None:
    chat.grow(chat.here.append(lutum.Message("system", (lutum.Text(text),))))
    chat.out.note("The system message was added here. It is sent with every later message.")


def _effort(chat: ChatState, level: str) -> None:
    if level:
        wanted = None if level == "default" else level
        chat.check(chat.endpoint, wanted)
        chat.effort = wanted
    chat.out.note(f"Effort: {chat.effort or 'the default of the model'}.")


def _last_question(transcript: lutum.Transcript) -> tuple[int, lutum.Message | None]:
    for at in range(len(transcript) - 1, -1, -1):
        item = transcript[at]
        if isinstance(item, lutum.Message) and item.role == "user":
            return at, item
    return 0, None


def _content(message: lutum.Message) -> str | Sequence[lutum.Part]:
    only_text = all(isinstance(part, lutum.Text) for part in message.content)
    return message.text if only_text else message.content


def _branch(chat: ChatState, name: str) -> None:
    if not _NAME.fullmatch(name):
        chat.out.note("The name of a branch is 1 to 40 letters, digits and any of _ . -")
    elif name in chat.branches:
        chat.out.note(f"The branch {name} exists already. /switch {name} switches to it.")
    else:
        before = chat.current
        chat.move(name, chat.here)
        chat.out.note(f"On {name}, a new branch that begins at the end of {before}.")


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
    at, message = _last_question(chat.here)
    if message is None:
        chat.out.note("There is nothing to remove.")
        return
    chat.move(chat.current, chat.here[:at])
    chat.out.note(f"Removed: {_short(message.text)}")


def _budget(chat: ChatState, _: str) -> None:
    used = chat.budget.spent
    cost = "" if used.cost_usd is None else f", ${used.cost_usd}"
    chat.out.note(f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out{cost}; {used.known}.")


def _trace(chat: ChatState, _: str) -> None:
    if chat.trace is None:
        chat.out.note("No turn has run yet.")
    else:
        chat.out.write(chat.trace.render(chat.out.width, color=chat.out.color) + "\n")


def _save(chat: ChatState, name: str) -> None:
    path = Path(name).expanduser()
    with path.open("xb") as file:
        file.write(chat.here.dump())
    chat.out.note(f"Saved {chat.current} in {path}: {len(chat.here)} items. `lutum show {path}` prints it.")


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
    "/retry": ("", _retry),
    "/edit": ("[TEXT]", _edit),
    "/attach": ("FILE", _attach_part),
    "/model": ("[NAME]", _model),
    "/system": ("TEXT", _system),
    "/effort": ("[LEVEL]", _effort),
    "/branch": ("NAME", _branch),
    "/branches": ("", _branches),
    "/switch": ("NAME", _switch),
    "/undo": ("", _undo),
    "/budget": ("", _budget),
    "/trace": ("", _trace),
    "/save": ("FILE", _save),
}


@final
class Completer:
    """The completions of the Tab key: commands and their arguments. Each completion is a whole line."""

    def __init__(self, chat: ChatState) -> None:
        self._chat = chat

    def __call__(self, line: str) -> list[str]:
        if not line.startswith("/"):
            return []
        name, space, rest = line.partition(" ")
        if not space:
            return [f"{one} " if _takes(one) else one for one in _names() if one.startswith(name)]
        return [f"{name} {one}" for one in self._behind(name, rest) if one.startswith(rest)]

    def _behind(self, name: str, rest: str) -> list[str]:
        match name:
            case "/switch":
                return list(self._chat.branches)
            case "/effort":
                return [*EFFORTS, "default"]
            case "/model":
                return [f"{provider}:{model}" for provider, model in MODELS.items() if provider not in WIRE]
            case "/attach" | "/save":
                return _paths(rest)
            case _:
                return []


def _takes(name: str) -> bool:
    return name in _COMMANDS and bool(_COMMANDS[name][0])


def _names() -> list[str]:
    return sorted([*_COMMANDS, "/quit"])


def _paths(typed: str) -> list[str]:
    folder, _, start = typed.rpartition("/")
    place = Path(f"{folder}/" if "/" in typed else ".").expanduser()
    prefix = f"{folder}/" if "/" in typed else ""
    try:
        found = [f"{prefix}{one.name}{'/' if one.is_dir() else ''}" for one in place.iterdir()]
    except OSError:
        return []
    return sorted(one for one in found if one.rpartition("/")[2].startswith(start) or one.endswith("/"))
