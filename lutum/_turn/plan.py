"""The plan of a turn: all the data of a builder, and the tools that its request offers.

No I/O, no clock, no tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from lutum._schema.shape import Shape, shape_of
from lutum._tools.toolset import Toolset
from lutum._turn.bills import Bills
from lutum._turn.gate import PrefixGate
from lutum._values.check import check_type, describe
from lutum._values.errors import BadValue, UsageError
from lutum._values.items import Item
from lutum._values.model_input import ModelInput
from lutum._values.results import ToolDef
from lutum._values.settings import RequestBudget, Settings
from lutum._values.transcript import Transcript
from lutum.abc import Operation, OutputFormat, ToolPlan, TurnRequest
from lutum.dialect.json import same_value

T = TypeVar("T")

Input = str | ModelInput | Transcript
"""The types that a turn accepts as its input."""


class TurnSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All the data of a builder.

    Attributes:
      lenient: the answer may contain reasoning tags, code fences and prose around the value.
      resolved: the adapter's hooks have already run, and `settings` contains their result.
      bills: the bills of the session.
    """

    base: Transcript
    ephemerals: tuple[tuple[int, Item], ...] = ()
    settings: Settings = Settings()
    toolset: Toolset[Any] | None = None
    only: tuple[str, ...] | None = None
    choice: Literal["auto", "any", "tool"] = "auto"
    tool: str | None = None
    descriptions: tuple[tuple[str, str], ...] = ()
    output: OutputFormat | None = None
    shape: Shape[Any] | None = None
    lenient: bool = False
    committed: TurnRequest | None = None
    operation: Operation = "text_turn"
    resolved: bool = False
    label: str = ""
    gate: PrefixGate | None = None
    bills: Bills | None = None

    @property
    def available(self) -> tuple[str, ...] | None:
        """The tools that may be called; None without tools."""
        return self.only if self.only is not None or self.toolset is None else self.toolset.default_names


def as_transcript(input: Input) -> Transcript:
    """Return the items of an input.

    Raises:
      BadValue: the text is blank.
    """
    if isinstance(input, str):
        if not input.strip():
            raise BadValue("input", "is blank")
        return ModelInput().user(input).transcript
    if isinstance(input, ModelInput):
        return input.transcript
    expected = "a str, a lutum.ModelInput or a lutum.Transcript"
    if isinstance(input, list | tuple | Mapping):
        raise BadValue(
            "input",
            f"needs {expected}, not {describe(input)}: write lutum.ModelInput().system('...').user('...'),"
            " or read a provider's messages with `from_messages` of its adapter's package",
        )
    check_type("input", input, Transcript, expected)
    return input


def as_prompt(prompt: str) -> Transcript:
    """Return a prompt as one user message.

    Raises:
      BadValue: the text is blank.
    """
    check_type("prompt", prompt, str, "a str")
    if not prompt.strip():
        raise BadValue("prompt", "is blank")
    return ModelInput().user(prompt).transcript


def structured(
    type: type[T], spec: TurnSpec, operation: Operation, *, lenient: bool = False
) -> tuple[Shape[T], TurnSpec]:
    """Return the shape of a type, and the plan of a turn whose answer is a value of this type.

    Raises:
      BadValue: no schema can express the type. The error's field is the path to the part that cannot be
        expressed.
    """
    shape = shape_of(type)
    output = OutputFormat(shape.name, shape.schema, shape.dropped)
    return shape, msgspec.structs.replace(
        spec, output=output, shape=shape, operation=operation, lenient=lenient
    )


LONGEST_LABEL = 200
"""The largest number of bytes of a label in UTF-8: its parts and the slashes between them."""


def join_label(before: str, parts: tuple[object, ...]) -> str:
    """Return the label `before` with more parts at its end. Slashes join the parts.

    Raises:
      BadValue: a part is empty or not printable, no part is given, or the label exceeds 200 bytes.
    """
    for part in parts:
        check_type("label", part, str | int, "text or numbers")
    texts = [str(part) for part in parts]
    if not texts or not all(text.strip() for text in texts):
        raise BadValue("label", "has an empty part; give text or numbers")
    label = "/".join([before, *texts] if before else texts)
    if not label.isprintable():
        raise BadValue("label", f"{label[:50]!r} contains control characters; remove them")
    if (size := len(label.encode(errors="replace"))) > LONGEST_LABEL:
        raise BadValue("label", f"is {size} bytes long; at most {LONGEST_LABEL} are allowed")
    return label


def request_of(spec: TurnSpec, defaults: Settings, *, limited: bool, label: str = "") -> TurnRequest:
    """Return the request of a plan, with `defaults` where the plan sets nothing.

    Args:
      limited: a ledger limits the turn.
      label: the prefix of the plan's label.

    Raises:
      BadValue: the input is empty, or a required tool is not available.
      UsageError: a tool call has no result yet.
    """
    if not len(spec.base) and not spec.ephemerals:
        raise BadValue("input", "is empty: give a message, or push_user() one first")
    if spec.base.open_calls:
        raise UsageError(f"input: call {spec.base.open_calls[0]!r} has no result yet")
    settings = spec.settings.over(defaults)
    return TurnRequest(
        transcript=spec.base,
        ephemerals=spec.ephemerals,
        settings=settings,
        tools=plan_tools(spec),
        output=spec.output,
        operation=spec.operation,
        label=join_label(label, (spec.label,)) if label and spec.label else label or spec.label,
        limited=limited or isinstance(settings.limit, RequestBudget),
    )


def plan_tools(spec: TurnSpec) -> ToolPlan:
    """Return the tools of a request: first the tools of the head, which every request repeats, then new ones.

    Raises:
      BadValue: a required tool is not available, or a tool is required and none is available.
    """
    head = spec.base.head.tools
    if spec.toolset is None:
        return ToolPlan(head=head or (), choice="none")
    names = spec.available or ()
    usual = {*spec.toolset.default_names, *names}
    plain = tuple(tool for tool in spec.toolset.definitions if tool.name in usual)
    wanted = tuple(_described(tool, spec) for tool in plain)
    if spec.choice == "tool" and spec.tool not in names:
        raise BadValue("require", f"tool {spec.tool!r} is not available in this turn")
    if spec.choice == "any" and not names:
        raise BadValue("require", "no tool is available in this turn")
    if head is None:
        head = plain
    new = tuple(tool for tool in wanted if not any(_is_same(tool, known) for known in head))
    missing = {tool.name for tool in (*head, *plain)} - set(names)
    available = names if missing or spec.only is not None else None
    return ToolPlan(head=head, new=new, available=available, choice=spec.choice, tool=spec.tool)


def _is_same(tool: ToolDef, known: ToolDef) -> bool:
    """Return whether a tool equals a tool of the head. The head's tool is then sent exactly as it is stored.

    A stored tool may have other white space and another member order. It may lack `strict`, as it does at
    most hosts.
    """
    return (
        tool.name == known.name
        and tool.description == known.description
        and (tool.strict == known.strict or not known.strict)
        and same_value(tool.schema.encode(), known.schema.encode())
    )


def _described(tool: ToolDef, spec: TurnSpec) -> ToolDef:
    text = dict(spec.descriptions).get(tool.name)
    return tool if text is None else msgspec.structs.replace(tool, description=text)
