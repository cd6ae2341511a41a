"""The refusals of OpenAI's APIs, and the rules that their dialects share. No I/O, no clock, no tasks.

Messages quote the API if its text is known from recorded errors.
"""

import re
from collections.abc import Collection
from typing import Any, Final, NoReturn, final

from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import Object, is_array, is_object

__all__ = [
    "OpenAIRequestRefused",
    "array",
    "check_format",
    "check_function",
    "check_numbers",
    "integer",
    "missing",
    "object_",
    "one_of",
    "refuse",
    "string",
    "text_of",
]

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")


@final
class OpenAIRequestRefused(Exception):
    """The request breaks a rule."""

    def __init__(self, error: WireError) -> None:
        super().__init__(error.message)
        self.error = error


def refuse(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> NoReturn:
    raise OpenAIRequestRefused(WireError(message, status=status, code=code, param=param))


def missing(path: str) -> NoReturn:
    refuse(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def _wrong(path: str, expected: str, value: object) -> NoReturn:
    match value:
        case None:
            got = "null"
        case bool():
            got = "a boolean"
        case int():
            got = "an integer"
        case float():
            got = "a decimal"
        case str():
            got = "a string"
        case list():
            got = "an array"
        case _:
            got = "an object"
    refuse(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        code="invalid_type",
        param=path,
    )


def string(holder: Object, name: str, path: str, *, longest: int | None = None) -> str:
    if name not in holder:
        missing(path)
    value = holder[name]
    if not isinstance(value, str):
        _wrong(path, "a string", value)
    if longest is not None and len(value) > longest:
        refuse(
            f"Invalid '{path}': string too long. Expected a string with maximum length {longest}, but got a "
            f"string with length {len(value)} instead.",
            code="string_above_max_length",
            param=path,
        )
    return value


def array(holder: Object, name: str, path: str) -> list[Any]:
    if name not in holder:
        missing(path)
    value = holder[name]
    if not is_array(value):
        _wrong(path, "an array", value)
    return value


def object_(value: object, path: str) -> Object:
    if not is_object(value):
        _wrong(path, "an object", value)
    return value


def integer(body: Object, name: str, least: int) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(name, "an integer", value)
    if value < least:
        refuse(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} "
            "instead.",
            code="integer_below_min_value",
            param=name,
        )


def one_of(value: object, path: str, allowed: Collection[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        names = [f"'{name}'" for name in allowed]
        listed = ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
        refuse(
            f"Invalid value: '{value}' of '{path}'. Supported values are: {listed}.",
            code="invalid_value",
            param=path,
        )
    return value


def check_numbers(body: Object) -> None:
    """Check the sampling parameters and the streaming options."""
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            _wrong(name, "a decimal", value)
        if value < 0 or value > most:
            side, bound = ("below minimum", ">= 0") if value < 0 else ("above maximum", f"<= {most}")
            refuse(
                f"Invalid '{name}': decimal {side} value. Expected a value {bound}, but got {value} instead.",
                code="decimal_below_min_value" if value < 0 else "decimal_above_max_value",
                param=name,
            )
    for name in ("stream", "store", "parallel_tool_calls"):
        if not isinstance(body.get(name), bool | None):
            _wrong(name, "a boolean", body[name])
    if body.get("stream_options") is not None:
        if not body.get("stream"):
            refuse(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                param="stream_options",
            )
        object_(body["stream_options"], "stream_options")
    if body.get("top_logprobs") is not None:
        integer(body, "top_logprobs", 0)


def check_function(function: Object, path: str, *, own: bool = True) -> str:
    """Check a function's name and, only for OpenAI's own server, its schema; return the name."""
    name = string(function, "name", f"{path}.name")
    if not _NAME.fullmatch(name):
        refuse(
            f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the "
            f"pattern '^{_NAME.pattern}$'.",
            code="invalid_value",
            param=f"{path}.name",
        )
    parameters = function.get("parameters")
    if parameters is not None:
        schema = object_(parameters, f"{path}.parameters")
        if not own:
            return name
        where = f"function '{name}'"
        _check_root(schema, where, f"{path}.parameters", "invalid_function_parameters")
        if function.get("strict"):
            _check_strict(schema, where, (), f"{path}.parameters", "invalid_function_parameters")
    return name


def check_format(given: Object, path: str, text: str) -> None:
    """Check the requested structured output; `text` is all text of the input."""
    kind = one_of(given.get("type"), f"{path}.type", ("text", "json_object", "json_schema"))
    if kind == "json_object" and "json" not in text.lower():
        refuse(
            f"The input must contain the word 'json' in some form, to use '{path}' of type 'json_object'.",
            param=path,
        )
    if kind != "json_schema":
        return
    inner = given if "schema" in given else object_(given.get("json_schema"), f"{path}.json_schema")
    name = string(inner, "name", f"{path}.name", longest=64)
    schema = object_(inner.get("schema"), f"{path}.schema")
    where = f"response_format '{name}'"
    _check_root(schema, where, f"{path}.schema", "invalid_json_schema")
    if inner.get("strict"):
        _check_strict(schema, where, (), f"{path}.schema", "invalid_json_schema")


def _check_root(schema: Object, where: str, param: str, code: str) -> None:
    if schema.get("type") != "object":
        kind = schema.get("type")
        refuse(
            f"Invalid schema for {where}: schema must be a JSON Schema of 'type: \"object\"', got "
            f"'type: \"{kind}\"'.",
            code=code,
            param=param,
        )


def _check_strict(schema: object, where: str, context: tuple[str, ...], param: str, code: str) -> None:
    """Check the subset of JSON Schema of strict mode (guides/structured-outputs, "Supported schemas")."""
    if not is_object(schema):
        return
    properties: Any = schema.get("properties") or {}
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            refuse(
                f"Invalid schema for {where}: In context={context}, 'additionalProperties' is required to be "
                "supplied and to be false.",
                code=code,
                param=param,
            )
        for name in properties:
            if name not in (schema.get("required") or []):
                refuse(
                    f"Invalid schema for {where}: In context={context}, 'required' is required to be "
                    f"supplied and to be an array including every key in properties. Missing '{name}'.",
                    code=code,
                    param=param,
                )
    for holder in ("properties", "$defs", "definitions"):
        inner: Any = schema.get(holder) or {}
        for name, value in inner.items():
            _check_strict(value, where, (*context, holder, name), param, code)
    _check_strict(schema.get("items"), where, (*context, "items"), param, code)
    options: Any = schema.get("anyOf") or []
    for at, option in enumerate(options):
        _check_strict(option, where, (*context, "anyOf", str(at)), param, code)


def text_of(content: object) -> str:
    """Return all text of a content that may be a string, parts, or absent."""
    if isinstance(content, str):
        return content
    parts = content if is_array(content) else []
    return "".join(str(part.get("text", "")) for part in parts if is_object(part))
