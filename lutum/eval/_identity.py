"""The identity of a run: names and digests of functions, versions, the commit.

A digest covers the code of a function, the arguments of a `functools.partial`, and the strings that the
function closes over or reads from constants of its module, because a changed prompt is another task. Numbers
and other state in closures are left out, because they may change during a run. Absolute paths are left out
too.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

from typing_extensions import TypeIs

from lutum._lutum import Lutum
from lutum._values.errors import LutumError


def is_partial(value: object) -> TypeIs[functools.partial[Any]]:
    return isinstance(value, functools.partial)


def _is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_frozenset(value: object) -> TypeIs[frozenset[Any]]:
    return isinstance(value, frozenset)


_DEEPEST = 6
_PLAIN = (str, bytes, int, float, bool, type(None))


def name_of(value: object) -> str:
    """Return `module.name` of a function, and `module.Class` of an object."""
    while is_partial(value):
        value = value.func
    named = value if hasattr(value, "__qualname__") else type(value)
    module, name = getattr(named, "__module__", ""), getattr(named, "__qualname__", "")
    return f"{module}.{name}" if module and module != "__main__" else str(name)


def signed(value: object) -> str:
    """Return the name of a function and a digest of its code: `app.task#0a1b2c3d4e5f`."""
    digest = hashlib.blake2s(digest_size=6)
    for part in _parts(value, 0, set()):
        digest.update(part.encode(errors="replace"))
        digest.update(b"\0")
    return f"{name_of(value)}#{digest.hexdigest()}"


def model_of(llm: object) -> str:
    """Return the adapter, the model and the endpoint of a `Lutum`; for a factory, its name."""
    if not isinstance(llm, Lutum):
        return f"factory {name_of(llm)}"
    adapter = llm.adapter
    try:
        model = llm.text_turn("?").preview().model
    except LutumError:  # a turn of this adapter needs more than a text
        model = "?"
    scope = adapter.scope
    return f"{adapter.name}:{model}" + (f" at {scope}" if scope and scope != adapter.name else "")


def versions() -> dict[str, str]:
    """Return the versions of Python and lutum."""
    try:
        own = version("lutum")
    except PackageNotFoundError:
        own = ""
    return {"python": platform.python_version(), "lutum": own}


def git_commit(folder: Path | None = None) -> str:
    """Return the commit that is checked out at a folder, or "". Reads files only and starts no program."""
    at = (folder or Path.cwd()).resolve()
    for place in (at, *at.parents):
        try:
            if (place / ".git").exists():
                return _head(place / ".git")
        except OSError:
            return ""
    return ""


def _head(git: Path) -> str:
    if git.is_file():  # a worktree or a submodule
        target = git.read_text().partition("gitdir:")[2].strip()
        git = (git.parent / target).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.partition(":")[2].strip()
    shared = git
    if (git / "commondir").exists():
        shared = (git / (git / "commondir").read_text().strip()).resolve()
    for place in (git, shared):
        if (place / name).is_file():
            return (place / name).read_text().strip()
    packed = shared / "packed-refs"
    if packed.is_file():
        for line in packed.read_text().splitlines():
            commit, _, ref = line.partition(" ")
            if ref.strip() == name:
                return commit
    return ""


def _parts(value: object, depth: int, seen: set[int]) -> Iterator[str]:
    """Yield strings that differ if the code differs."""
    if depth > _DEEPEST or id(value) in seen:
        return
    seen = seen | {id(value)}
    deeper = functools.partial(_parts, depth=depth + 1, seen=seen)
    if is_partial(value):
        yield from deeper(value.func)
        for given in (*value.args, *(f"{key}={one!r}" for key, one in sorted(value.keywords.items()))):
            yield repr(given) if isinstance(given, _PLAIN) else name_of(given)
    elif isinstance(value, MethodType):
        yield from deeper(value.__func__)
        yield from deeper(value.__self__)
    elif isinstance(value, FunctionType):
        yield from _code(value.__code__)
        yield repr([one for one in value.__defaults__ or () if isinstance(one, _PLAIN)])
        for name in _names(value.__code__):
            constant = value.__globals__.get(name)
            if name.isupper() and isinstance(constant, str):
                yield f"{name}={constant}"
        for cell in value.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            yield from _held(held, deeper)
    elif _is_mapping(value):
        for key, one in value.items():
            yield str(key)
            yield from _held(one, deeper)
    else:
        cls = value if isinstance(value, type) else type(value)
        yield f"{cls.__module__}.{cls.__qualname__}"
        for name, one in sorted(vars(cls).items()):
            if isinstance(one, FunctionType) and not cls.__module__.startswith(("lutum.", "builtins")):
                yield name
                yield from _code(one.__code__)
        held = cast("dict[str, Any]", getattr(value, "__dict__", {})) if cls is not value else {}
        slots = {name: getattr(value, name, None) for name in getattr(cls, "__slots__", ())}
        for name, one in {**slots, **held}.items():
            yield name
            yield from _held(one, deeper)


def _held(value: object, deeper: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _is_place(value):
            yield value
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}"
    elif callable(value) or type(value).__module__.startswith("lutum.eval"):
        yield from deeper(value)


def _is_place(text: str) -> bool:
    """Return whether a string is an absolute path, which differs between machines."""
    return len(text) < 4_096 and "\n" not in text and "\0" not in text and os.path.isabs(text)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _code(code: CodeType) -> Iterator[str]:
    """Yield the code of a function without its line numbers."""
    yield code.co_code.hex()
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        elif _is_frozenset(constant):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def same_python(recorded: Mapping[str, str]) -> bool:
    """Return whether the digests of code can be compared, because the minor version of Python is the same."""
    return recorded.get("python", "").split(".")[:2] == [str(part) for part in sys.version_info[:2]]


def where() -> str:
    """Return the commit of the working directory, or the one in `GITHUB_SHA`, which a CI sets."""
    return git_commit() or os.environ.get("GITHUB_SHA", "")
