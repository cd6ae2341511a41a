"""Options of one turn over those of an adapter, and the hooks that choose model and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import msgspec
from msgspec import Raw, Struct

from lutum._hooks.define import hook
from lutum._hooks.hook_set import HookSet
from lutum._values.errors import BadValue
from lutum.abc import TurnRequest
from lutum.dialect.json import decode_array, decode_object, encode, same_value, to_bytes

__all__ = ["ProviderOptions", "SettingsHooks", "check_extra_body", "merge_extra_body", "merged", "options_of"]

# A value of these that lutum writes is never replaced: the turn would differ from the request of the user.
_KEPT = frozenset({"reasoning_effort", "tool_choice", "verbosity"})

O = TypeVar("O", bound="ProviderOptions")


class ProviderOptions(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Base class of a provider's options. None is "not given".

    Every field of a subclass is keyword-only and has the default None, so that `over` can merge two values.

    Attributes:
      extra_body: members added to the request's body. Objects are merged with those that lutum writes.
      extra_headers: headers added to the request, over those that lutum writes.
    """

    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None

    def over(self, base: Self) -> Self:
        """Return these options, and those of `base` where nothing is given here."""
        return msgspec.structs.replace(base, **self.given())

    def given(self) -> dict[str, Any]:
        """Return the fields that are given, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class SettingsHooks(HookSet, Generic[O]):
    """Base class of an adapter's hooks: they run once a turn, before anything is reserved.

    `request.settings` has the settings of the turn, the session and `Lutum`, and your own options too:
    `request.settings.option(Tier)`. Another model than before cannot read all of a conversation exactly:
    `preview().forms` lists those turns.
    """

    @hook("singleton")
    async def resolve_model(self, request: TurnRequest, model: str) -> str:
        """Return the model to use; `model` is the turn's, or the adapter's if the turn names none."""
        return model

    @hook("singleton")
    async def resolve_options(self, request: TurnRequest, options: O) -> O:
        """Return the options to use; `options` are the turn's over the adapter's, `request` has the model.

        They replace the turn's own options; fields that are not given come from the adapter.
        """
        return options


def options_of(request: TurnRequest, defaults: O) -> O:
    """Return the options of a request over an adapter's defaults."""
    given = request.settings.option(type(defaults))
    return defaults if given is None else given.over(defaults)


def check_extra_body(extra_body: Mapping[str, Any] | None, reserved: Mapping[str, str]) -> None:
    """Check `extra_body` of a user's options.

    Args:
      reserved: members that lutum writes, each with what to use instead.

    Raises:
      BadValue: a reserved member, or a value that is not JSON; the member is named.
    """
    for name, value in (extra_body or {}).items():
        if name in reserved:
            raise BadValue(f"extra_body.{name}", f"is written by lutum: {reserved[name]}")
        to_bytes(f"extra_body.{name}", [value])


def merge_extra_body(members: dict[str, bytes], extra_body: Mapping[str, Any] | None) -> None:
    """Lay `extra_body` over the members of a request's body, which are JSON by name.

    Objects are merged, and lists get the entries that they lack. Other values replace those that lutum
    writes. An effort, a tool choice and a member of an object are not replaced: a second value is refused,
    because the schema or the setting that is written already would be lost silently.

    Raises:
      BadValue: a value that is set already; the member is named.
    """
    for name, value in (extra_body or {}).items():
        field = f"extra_body.{name}"
        new = to_bytes(field, [value])[1:-1]
        old = members.get(name)
        if old is None or same_value(old, new):
            members[name] = new
        elif old.startswith((b"{", b"[")):
            members[name] = _merged(field, old, new)
        elif name in _KEPT and old != b'"auto"':
            raise _is_set(field, old)
        else:
            members[name] = new


def merged(field: str, base: Mapping[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an object with the members of both, as `merge_extra_body` merges them.

    Raises:
      BadValue: a value that is set already; the member is named.
    """
    members = {name: to_bytes(f"{field}.{name}", [value])[1:-1] for name, value in base.items()}
    merge_extra_body(members, more)
    return {name: msgspec.json.decode(value) for name, value in members.items()}


def _merged(field: str, old: bytes, new: bytes) -> bytes:
    if old.startswith(b"{") and new.startswith(b"{"):
        whole = dict(decode_object(old))
        for name, raw in decode_object(new).items():
            value, path = bytes(raw), f"{field}.{name}"
            before = bytes(whole.get(name, b""))
            if not before or same_value(before, value):
                whole[name] = raw
            elif before.startswith((b"{", b"[")):
                whole[name] = Raw(_merged(path, before, value))
            else:
                raise _is_set(path, before)
        return encode(whole)
    if old.startswith(b"[") and new.startswith(b"["):
        entries = [bytes(entry) for entry in decode_array(old)]
        for entry in map(bytes, decode_array(new)):
            if not any(same_value(entry, known) for known in entries):
                entries.append(entry)
        return b"[" + b",".join(entries) + b"]"
    raise _is_set(field, old)


def _is_set(field: str, old: bytes) -> BadValue:
    return BadValue(field, f"is already {old.decode()[:80]} in this request; set it in one place")
