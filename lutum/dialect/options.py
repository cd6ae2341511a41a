"""Options of one turn over those of an adapter, and the hooks that choose model and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from lutum._hooks.define import hook
from lutum._hooks.hook_set import HookSet
from lutum._values.errors import BadValue
from lutum.abc import TurnRequest
from lutum.dialect.json import to_bytes

__all__ = ["ProviderOptions", "SettingsHooks", "check_extra_body", "options_of"]

O = TypeVar("O", bound="ProviderOptions")


class ProviderOptions(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Base class of a provider's options. None is "not given".

    Every field of a subclass is keyword-only and has the default None, so that `over` can merge two values.

    Attributes:
      extra_body: members added to the request's body, over those that lutum writes.
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

    `request.settings` has what the turn, the session and `Lutum` set, and your own options too:
    `request.settings.option(Tier)`. Another model than before cannot read all of a conversation exactly:
    `preview().forms` says which turns.
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
