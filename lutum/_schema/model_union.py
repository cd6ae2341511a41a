"""Unions that contain a pydantic model. msgspec does not accept them.

msgspec treats such a union as a custom type, and calls a hook with its JSON text. If all members are pydantic
models, pydantic selects the member. If there are other members too, `shape` selects the member.
No I/O, no clock, no tasks.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Union, cast, get_args, get_origin

from lutum._schema.names import is_model, short_name

Decode = Callable[[str], Any]


class _AnyMember(type):
    """A metaclass whose classes accept every value in `isinstance`.

    It is needed because msgspec checks that the value from its hook is an instance of the type.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class ModelUnion(metaclass=_AnyMember):
    """A union with a pydantic model. Each such union is a subclass.

    Attributes:
      given: the members as the caller wrote them.
      arms: the members as msgspec reads them.
      decode: decodes a JSON text, and raises ValueError. It is None unless all members are models.
    """

    given: ClassVar[tuple[Any, ...]] = ()
    arms: ClassVar[tuple[Any, ...]] = ()
    decode: ClassVar[Decode | None] = None


def model_union(given: Sequence[Any], arms: Sequence[Any], chosen_by: Sequence[Any]) -> type[ModelUnion]:
    """Make the type for a union.

    Args:
      given: the members as the caller wrote them.
      arms: the members as msgspec reads them.
      chosen_by: the name of the discriminator, or pydantic's `Discriminator`.
    """
    name = "Or".join(short_name(_bare(one)) for one in given)
    members: dict[str, Any] = {"given": tuple(given), "arms": tuple(arms)}
    if all(is_model(_bare(one)) for one in given):
        members["decode"] = staticmethod(_of_models(given, chosen_by))
    made: Any = _AnyMember(name, (ModelUnion,), members)
    return cast("type[ModelUnion]", made)


def _of_models(given: Sequence[Any], chosen_by: Sequence[Any]) -> Decode:
    lock = threading.Lock()
    adapters: list[Any] = []

    def decode(text: str) -> Any:
        with lock:
            if not adapters:
                pydantic: Any = importlib.import_module("pydantic")
                union: Any = Union[tuple(given)]  # noqa: UP007  # known at run time
                for one in chosen_by:
                    field = pydantic.Field(discriminator=one) if isinstance(one, str) else one
                    union = Annotated[union, field]
                adapters.append(pydantic.TypeAdapter(union))
        return adapters[0].validate_json(text)

    return decode


def _bare(hint: Any) -> Any:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint
