"""The check, when a hook is decorated, that its slot can call it. No I/O, no clock, no tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from lutum._values.errors import BadValue

LAST = "last"
"""The name of a hook's first parameter, if the hook takes the previous answer."""


def signature_of(fn: Callable[..., Any], *, method: bool) -> Signature | None:
    """Return the signature of a hook, without the `self` of a method; None if it is unknown."""
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
    """Check that `fn` accepts the arguments of the slot's callers.

    Raises:
      BadValue: it does not accept them; the message contains both signatures.
    """
    if not callable(fn):
        raise BadValue(slot, f"{hook} is not a function")
    signature = signature_of(fn, method=method)
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    if LAST in signature.parameters:
        if not threads:
            raise BadValue(slot, f"{hook} takes `last`, which the hooks of this slot do not receive")
        if parameters[0].name != LAST or parameters[0].kind is Parameter.KEYWORD_ONLY:
            raise BadValue(slot, f"{hook}: `last` must be the first parameter, and not keyword-only")
        parameters = parameters[1:]
    if problem := _problem(expected, signature.replace(parameters=parameters)):
        raise BadValue(
            slot, f"{hook}{_bare(signature)} does not take the slot's arguments {_bare(expected)}: {problem}"
        )


def _bare(signature: Signature) -> Signature:
    """Return the signature without types, because types are not compared."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in signature.parameters.values()]
    return Signature(bare)


def _problem(expected: Signature, given: Signature) -> str | None:
    """Return the reason why a call that fits `expected` does not fit `given`; None if each call fits.

    The calls are tried by position and by name, with and without the parameters that have a default.
    """
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
