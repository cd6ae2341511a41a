"""Check of a hook's signature when it is decorated: can its slot call it? No I/O, no clock, no tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from lutum._values.errors import BadValue

LAST = "last"
"""The name of a first parameter that takes what the hook before answered."""


def signature_of(fn: Callable[..., Any], *, method: bool) -> Signature | None:
    """Return the signature of a hook as it will be called; None if it is unknown."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return None
    return signature.replace(parameters=list(signature.parameters.values())[1:]) if method else signature


def is_threaded(fn: Callable[..., Any], *, method: bool) -> bool:
    """Return whether a hook takes `last`."""
    signature = signature_of(fn, method=method)
    return signature is not None and next(iter(signature.parameters), None) == LAST


def check_hook(
    slot: str, hook: str, expected: Signature, fn: Callable[..., Any], method: bool, threads: bool
) -> None:
    """Check that `fn` takes what the slot's callers give.

    Raises:
      BadValue: it does not; the message has both signatures.
    """
    if not callable(fn):
        raise BadValue(slot, f"{hook} is not a function")
    signature = signature_of(fn, method=method)
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    if LAST in signature.parameters:
        if not threads:
            raise BadValue(slot, f"{hook} asks for `last`, which is only handed on where one answer counts")
        if parameters[0].name != LAST or parameters[0].kind is Parameter.KEYWORD_ONLY:
            raise BadValue(slot, f"{hook}: `last` is the first parameter, and taken by position")
        parameters = parameters[1:]
    if problem := _problem(expected, signature.replace(parameters=parameters)):
        raise BadValue(slot, f"{hook}{_bare(signature)} cannot stand for {_bare(expected)}: {problem}")


def _bare(signature: Signature) -> Signature:
    """The signature without types, which are not what was compared."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in signature.parameters.values()]
    return Signature(bare)


def _problem(expected: Signature, given: Signature) -> str | None:
    """Why what is called as `expected` cannot be called as `given`: by position and by name, with and
    without what has a default."""
    parameters = list(expected.parameters.values())
    kinds = {parameter.kind for parameter in given.parameters.values()}
    for kind, spelt in ((Parameter.VAR_POSITIONAL, "*args"), (Parameter.VAR_KEYWORD, "**kwargs")):
        if any(parameter.kind is kind for parameter in parameters) and kind not in kinds:
            return f"it takes no {spelt}"
    for needed in (parameters, [p for p in parameters if p.default is Parameter.empty]):
        for by_name in (False, True):
            args: list[object] = []
            kwargs: dict[str, object] = {}
            for parameter in needed:
                match parameter.kind:
                    case Parameter.VAR_POSITIONAL | Parameter.VAR_KEYWORD:
                        pass
                    case Parameter.POSITIONAL_ONLY:
                        args.append(None)
                    case Parameter.POSITIONAL_OR_KEYWORD if not by_name:
                        args.append(None)
                    case _:
                        kwargs[parameter.name] = None
            try:
                given.bind(*args, **kwargs)
            except TypeError as exc:
                return str(exc)
    return None
