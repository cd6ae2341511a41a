"""`-o option=value`, `--effort` and `--max-output-tokens`: the settings of a turn from the command line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_type_hints

import msgspec

import lutum
from lutum.abc import Adapter

GENERAL: dict[str, Any] = {"temperature": float, "top_p": float, "seed": int, "stop": tuple[str, ...]}
"""The settings that every adapter either maps or refuses. The options of the provider are not among them."""


def settings_of(
    adapter: Adapter, options: Sequence[str], effort: str | None = None, max_output_tokens: int | None = None
) -> lutum.Settings:
    """Return the settings that the arguments give.

    Raises:
      BadValue: an option is unknown (the message lists the known ones), or its value is not possible.
    """
    kinds: tuple[type, ...] = getattr(adapter, "option_types", ())
    fields: dict[str, tuple[type, Any]] = {}
    for kind in reversed(kinds):
        hints = get_type_hints(kind)
        fields |= {name: (kind, hints[name]) for name in kind.__struct_fields__}  # type: ignore[attr-defined]
    general: dict[str, Any] = {}
    given: dict[type, dict[str, Any]] = {}
    for option in options:
        name, equals, text = option.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise lutum.BadValue("-o", f"{option!r} is not of the form option=value")
        if name in GENERAL:
            general[name] = _value(name, text, GENERAL[name])
        elif name in fields:
            kind, hint = fields[name]
            given.setdefault(kind, {})[name] = _value(name, text, hint)
        else:
            raise lutum.BadValue("-o", _unknown(name, [*GENERAL, *fields]))
    if effort is not None:
        general["effort"] = effort
    if max_output_tokens is not None:
        general["max_output_tokens"] = max_output_tokens
    ext = tuple(kind(**values) for kind, values in given.items())
    return lutum.Settings(**general, ext=ext)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name!r} is not an option.{hint} The options are {', '.join(sorted(known))}"


def _value(name: str, text: str, hint: Any) -> Any:
    """Return a value of the type. The text is read as JSON, else as a string, else as a list with commas."""
    tries = list[object]()
    try:
        tries.append(msgspec.json.decode(text))
    except msgspec.DecodeError:
        pass
    tries.append(text)
    if "," in text or _takes_list(hint):
        tries.append(text.split(","))
    failure = ""
    for value in tries:
        try:
            return msgspec.convert(value, hint, strict=False)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            failure = failure or str(error)
    words = ", ".join(_words(hint))
    why = f"{text!r} is not one of {words}" if words else f"{text!r} is not allowed: {failure}"
    raise lutum.BadValue(f"-o {name}", why)


def _takes_list(hint: Any) -> bool:
    return any(str(one).startswith(("tuple", "list")) for one in (hint, *get_args(hint)))


def _words(hint: Any) -> list[str]:
    """Return the allowed values of a `Literal` type, also inside other types."""
    if getattr(hint, "__origin__", None) is Literal:
        return [str(one) for one in get_args(hint)]
    return [word for inner in get_args(hint) if not isinstance(inner, str) for word in _words(inner)]
