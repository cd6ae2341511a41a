"""Tools: their definitions for the model, and the conversion of a call's arguments to a typed input.

A tool is a function (module `function`), a type decorated with `tool_input`, or a name with a JSON schema.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, Final, Generic, Self, cast, final, overload

import msgspec
from typing_extensions import TypeVar

from lutum._schema.names import description_of, is_model
from lutum._schema.shape import Shape, shape_of
from lutum._values.errors import BadValue, OutputInvalid, UsageError
from lutum._values.results import IssueReason, ToolDef

T = TypeVar("T")
I_co = TypeVar("I_co", covariant=True, default=dict[str, Any])

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools. OpenAI accepts the same
# characters, but at most 64.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


RESULT_LIMIT: Final = 256 * 1024
"""Default of `result_limit`: the maximum bytes of text in one result."""


class BadArguments(Exception):
    """Arguments that cannot be decoded. `reason` is the reason of the issue that the call becomes."""

    def __init__(self, reason: IssueReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: IssueReason = reason
        self.detail = detail


class Tool(Generic[I_co]):
    """A tool that a model may call; made by `tool`, `tool_input` or `raw_tool`.

    Attributes:
      definition: the tool as providers see it.
      dependencies: names of parameters that `Toolset.bind` sets; the model does not see them.
      result_limit: the maximum bytes of text in one result. Longer text is cut. None means no limit.
      dropped: constraints that no schema can express, as "path: constraint"; `decode` enforces them.
    """

    __slots__ = ("definition", "dependencies", "dropped", "result_limit")

    def __init__(
        self,
        definition: ToolDef,
        dependencies: frozenset[str] = frozenset(),
        *,
        result_limit: int | None = RESULT_LIMIT,
        dropped: tuple[str, ...] = (),
    ) -> None:
        if not isinstance(cast("object", definition.name), str) or not _NAME.fullmatch(definition.name):
            raise BadValue(
                "tool.name",
                f"{definition.name!r} is not 1 to 128 of the characters A-Z a-z 0-9 _ -; give another name=",
            )
        self.definition: ToolDef = definition
        if result_limit is not None and result_limit < 1:
            raise BadValue(
                f"tool {definition.name!r}: result_limit",
                f"{result_limit} bytes is below 1; None means no limit",
            )
        self.dependencies: frozenset[str] = dependencies
        self.result_limit: int | None = result_limit
        self.dropped: tuple[str, ...] = dropped

    @property
    def name(self) -> str:
        """The tool's name for the model."""
        return self.definition.name

    @property
    def open_schema(self) -> str:
        """The schema as JSON text, in which members with a default are not required."""
        return self.definition.schema

    def decode(self, arguments: str) -> I_co:
        """Decode the model's JSON text to an input. Raises BadArguments."""
        raise NotImplementedError  # each kind of tool defines it

    def check_runs(self) -> None:
        """Raise UsageError if the tool has no function. Called before a call is run."""
        if type(self).run is Tool.run:
            raise UsageError(f"tool {self.name!r} has no function; answer with call.complete(...)")

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Run the tool's function. An exception of the function propagates.

        This is a checkpoint only if the function is one.
        """
        raise NotImplementedError  # tools with a function override it, which `check_runs` detects

    async def run_call(self, call: Any, input: Any, bound: Mapping[str, object]) -> object:
        """Run the tool's function for a call. A function may have a parameter that gets the call.

        An exception of the function propagates. This is a checkpoint only if the function is one.
        """
        return await self.run(input, bound)

    def checked(self, output: object) -> object:
        """Return the output for the model. Raises BadValue if it is not of the declared type."""
        return output

    def slot(self) -> AbstractAsyncContextManager[object]:
        """Return a block that a run enters before its timeout starts, for example to wait for a free thread.

        Entering the block is a checkpoint only if it has to wait.
        """
        return nullcontext()

    @property
    def left_running(self) -> bool:
        """True if a cancelled run continues in its thread."""
        return False

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a tool is immutable, and only the input of a copied call has to be copied

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


RawFunction = Callable[[dict[str, Any]], object | Awaitable[object]]
"""The function of a `raw_tool`. It gets the arguments as a dict and returns the result. It may be async."""


@final
class RawTool(Tool[dict[str, Any]]):
    """A tool whose JSON schema is known only at run time. Its input is the decoded object.

    The schema is sent unchanged. The arguments are not checked against it.
    """

    __slots__ = ("_fn",)

    def __init__(
        self, definition: ToolDef, fn: RawFunction | None = None, result_limit: int | None = RESULT_LIMIT
    ) -> None:
        super().__init__(definition, result_limit=result_limit)
        self._fn = fn

    def decode(self, arguments: str) -> dict[str, Any]:
        """Decode the arguments to a dict. Raises BadArguments."""
        return _object(arguments)

    def check_runs(self) -> None:
        """Raise UsageError if the tool has no function."""
        if self._fn is None:
            raise UsageError(f"tool {self.name!r} has no function; answer with call.complete(...)")

    async def run(self, input: Any, bound: Mapping[str, object]) -> object:
        """Call the function with the arguments.

        This is a checkpoint only if the function is one.
        """
        self.check_runs()
        assert self._fn is not None
        output = self._fn(input)
        return await output if inspect.isawaitable(output) else output


def raw_tool(
    name: str,
    schema: Mapping[str, Any] | str,
    description: str = "",
    fn: RawFunction | None = None,
    *,
    result_limit: int | None = RESULT_LIMIT,
) -> RawTool:
    """Make a tool from a name and a JSON schema: a mapping, or JSON text that is sent unchanged.

    Args:
      fn: the tool's function. It gets the arguments as a dict, and may be async. Without it, you answer the
        calls.
      result_limit: the maximum bytes of text in one result. Longer text is cut. None means no limit.

    Raises:
      BadValue: no provider accepts the name, or the schema is not a JSON object of type `object`.
    """
    try:
        text = schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
        decoded = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as exc:
        raise BadValue(f"tool {name!r}: schema", str(exc)) from None
    if decoded.get("type") != "object":
        raise BadValue(f"tool {name!r}: schema", f"its type is {decoded.get('type')!r}, not 'object'")
    if fn is not None and not callable(cast("object", fn)):
        raise BadValue(f"tool {name!r}: fn", f"{fn!r} is not a function")
    if "properties" not in decoded:  # Azure OpenAI refuses an object schema without it
        text = msgspec.json.encode({**decoded, "properties": {}}).decode()
    return RawTool(ToolDef(name, text, description), fn, result_limit)


class TypedTool(Tool[I_co]):
    """A tool whose input has a type. The type provides the schema, and the input is a validated value.

    The schema is strict, if the type allows it.
    """

    __slots__ = ("_shape",)

    def __init__(
        self,
        name: str,
        description: str,
        type: type[I_co],
        dependencies: frozenset[str] = frozenset(),
        *,
        strict: bool | None = None,
        result_limit: int | None = RESULT_LIMIT,
    ) -> None:
        try:
            self._shape: Shape[I_co] = _shape(type, strict)
        except BadValue as exc:
            raise BadValue(f"tool {name!r}: {exc.field}", exc.problem) from None
        if self._shape.wrapped:
            raise BadValue(f"tool {name!r}", f"its input must be an object, and {self._shape.name} is not")
        schema = msgspec.json.decode(self._shape.schema, type=dict[str, Any])
        schema.pop("description", None)  # the description belongs to the tool, and is checked there
        super().__init__(
            ToolDef(name, msgspec.json.encode(schema).decode(), description, self._shape.strict),
            dependencies,
            result_limit=result_limit,
            dropped=self._shape.dropped,
        )

    @property
    def open_schema(self) -> str:
        """The schema as JSON text, in which members with a default are not required."""
        schema = msgspec.json.decode(shape_of(self._shape.type, strict=False).schema, type=dict[str, Any])
        schema.pop("description", None)
        return msgspec.json.encode(schema).decode()

    def __reduce__(self) -> str:
        raise TypeError(f"tool {self.name!r} cannot be pickled; send a call's name and arguments instead")

    def decode(self, arguments: str) -> I_co:
        """Decode and validate the input. Raises BadArguments."""
        try:
            return self._shape.decode(arguments)
        except OutputInvalid as exc:
            _object(arguments)
            raise BadArguments("invalid_arguments", str(exc)) from None


@final
class InputTool(TypedTool[I_co]):
    """A tool that has a type, but no function. You answer its calls with `call.complete`."""

    __slots__ = ("_output",)

    def __init__(
        self,
        name: str,
        description: str,
        type: type[I_co],
        output: object,
        strict: bool | None = None,
        result_limit: int | None = RESULT_LIMIT,
    ) -> None:
        super().__init__(name, description, type, strict=strict, result_limit=result_limit)
        self._output = output

    def checked(self, output: object) -> object:
        """Return the output. Raises BadValue, with the path, if it is not of the declared type."""
        if self._output is Any:
            return output
        try:
            return msgspec.convert(output, cast("Any", self._output), dec_hook=_instance)
        except msgspec.ValidationError as exc:
            raise BadValue(f"output of {self.name!r}", str(exc)) from None


@overload
def tool_input(cls: type[T], /) -> type[T]: ...
@overload
def tool_input(
    *,
    output: object = Any,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    result_limit: int | None = RESULT_LIMIT,
) -> Callable[[type[T]], type[T]]: ...
def tool_input(
    cls: type[Any] | None = None,
    /,
    *,
    output: object = Any,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    result_limit: int | None = RESULT_LIMIT,
) -> Any:
    """Make a Struct, dataclass, TypedDict, attrs class or pydantic model the input of a tool.

    The decorator returns the class itself. A `Toolset` accepts the class, and the input of a call is an
    instance of it. By default the tool's name is the class's name in snake_case, and its description is the
    docstring.

    Args:
      output: the type of the value for `call.complete`. A value that is not of this type is refused.
      strict: as for `tool`.
      result_limit: the maximum bytes of text in one result. Longer text is cut. None means no limit.

    Raises:
      BadValue: no schema can express the type. The message names the tool and the path.
    """

    def decorate(cls: type[T]) -> type[T]:
        if not isinstance(cast("object", cls), type):
            raise BadValue("tool_input", f"{cls!r} is not a class; name it: class Mine({_shown(cls)}): ...")
        named = _snake(cls.__name__) if name is None else name
        with _nameable(cls):
            made = InputTool(named, _described(cls, description), cls, output, strict, result_limit)
        type.__setattr__(cls, "__lutum_tool__", made)
        return cls

    return decorate if cls is None else decorate(cls)


def _shape(type: type[T], strict: bool | None) -> Shape[T]:
    """Return the strict shape, or the open one if strict is not required and cannot express the type."""
    if strict is not None:
        return shape_of(type, strict=strict)
    try:
        return shape_of(type)
    except BadValue:
        return shape_of(type, strict=False)


def _object(arguments: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadArguments("malformed_arguments", str(exc)) from None


def _instance(type: type[Any], value: object) -> object:
    if isinstance(value, type):
        return value
    raise TypeError(f"{value!r} is not an instance of {type.__name__}")


@contextmanager
def _nameable(cls: type[Any]) -> Generator[None]:
    """Add a class to its module during the block.

    A class that refers to itself does so by name, and the module gets this name only after the decorator has
    returned.
    """
    module: dict[str, object] = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    before = {cls.__name__: module[cls.__name__]} if cls.__name__ in module else {}
    module[cls.__name__] = cls
    try:
        yield
    finally:
        del module[cls.__name__]
        module.update(before)


def _shown(cls: object) -> str:
    return str(cls).replace("typing.", "").rpartition(".")[2]


def _described(cls: type[Any], given: str | None) -> str:
    return (description_of(cls) or "") if given is None else given


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def encodable(value: Any) -> Any:
    """Return a pydantic model as JSON data, for msgspec's `enc_hook`. Raises TypeError for other values."""
    if is_model(cast("object", type(value))):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
