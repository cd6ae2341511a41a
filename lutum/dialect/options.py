"""Provider options of adapters and turns, and the hooks that choose model and options.

The options of a turn have priority over the options of its adapter.
"""

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

# If lutum writes one of these members, its value is never replaced, because the turn would then differ from
# the user's settings.
_KEPT = frozenset({"reasoning_effort", "tool_choice", "verbosity"})

O = TypeVar("O", bound="ProviderOptions")


class ProviderOptions(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Base class of a provider's options. None means "not given".

    Every field of a subclass is keyword-only and has the default None, so that `over` can merge two values.

    Attributes:
      extra_body: members that are added to the request's body. Objects are merged with the objects that lutum
        writes.
      extra_headers: headers that are added to the request. They replace headers that lutum writes.
    """

    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None

    def over(self, base: Self) -> Self:
        """Return these options. Fields that are not given here come from `base`."""
        return msgspec.structs.replace(base, **self.given())

    def given(self) -> dict[str, Any]:
        """Return the fields that are given, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class SettingsHooks(HookSet, Generic[O]):
    """Base class of an adapter's hooks. They run once in each turn, before anything is reserved.

    `request.settings` has the settings of the turn, the session and `Lutum`. It also has your own options,
    such as `request.settings.option(Tier)`. If a hook changes the model, some turns of the conversation
    cannot be replayed exactly: `preview().forms` lists these turns.
    """

    @hook("singleton")
    async def resolve_model(self, request: TurnRequest, model: str) -> str:
        """Return the model to use. `model` is the model of the turn, or of the adapter if the turn sets
        none."""
        return model

    @hook("singleton")
    async def resolve_options(self, request: TurnRequest, options: O) -> O:
        """Return the options to use.

        `options` has the turn's options; fields that are not given there come from the adapter. `request` has
        the model. The returned options replace the turn's options; fields that are not given come from the
        adapter.
        """
        return options


def options_of(request: TurnRequest, defaults: O) -> O:
    """Return the options of a request. Fields that are not given come from the adapter's defaults."""
    given = request.settings.option(type(defaults))
    return defaults if given is None else given.over(defaults)


def check_extra_body(extra_body: Mapping[str, Any] | None, reserved: Mapping[str, str]) -> None:
    """Check `extra_body` of a user's options.

    Args:
      reserved: the members that lutum writes. Each value is the setting to use instead.

    Raises:
      BadValue: a member is reserved, or its value is not JSON. The error names the member.
    """
    for name, value in (extra_body or {}).items():
        if name in reserved:
            raise BadValue(f"extra_body.{name}", f"is written by lutum: {reserved[name]}")
        to_bytes(f"extra_body.{name}", [value])


def merge_extra_body(members: dict[str, bytes], extra_body: Mapping[str, Any] | None) -> None:
    """Merge `extra_body` into `members`: the members of a request's body, with their JSON by name.

    Objects are merged. Lists get the entries that they do not have yet. Other values replace the values that
    lutum writes. For an effort, a tool choice, a verbosity and a member of an object, a second value is
    refused, because the first schema or setting would be lost without notice.

    Raises:
      BadValue: a value is already set and must not be replaced. The error names the member.
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
    """Return an object with the members of both objects. The rules are those of `merge_extra_body`.

    Raises:
      BadValue: a value is already set and must not be replaced. The error names the member.
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
