"""The checks of Chat Completions. They follow the provider's rules and share no code with lutum. No I/O.

Each rule raises at the first violation. The signatures of reasoning are not checked here.
"""

import json
import re
from typing import Any, Final

from lutum.testing.wire._error import WireError
from lutum.testing.wire._json import Object, is_array, is_object
from lutum.testing.wire._openai_shape import (
    OpenAIRequestRefused,
    array,
    check_format,
    check_function,
    check_numbers,
    integer,
    missing,
    object_,
    one_of,
    refuse,
    string,
    text_of,
)

__all__ = ["check_openai_chat_request", "check_openai_completions_request"]

_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS: Final = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
}
# guides/reasoning: these models accept only `max_completion_tokens`.
_REASONS: Final = re.compile(r"(o[1-9]|gpt-[5-9])(?!.*chat)")
_CHOSEN: Final = ("function", "custom", "allowed_tools")
_CHOICES: Final = ("none", "auto", "required", "any")  # `any` is Mistral's name for `required`
_MOST_STOPS: Final = 4
_LONGEST_ID: Final = 40


def check_openai_chat_request(
    body: object, *, deployment: str | None = None, own: bool = True
) -> WireError | None:
    """Check a request body, parsed or as bytes. Return None if the API would accept it, else its refusal.

    `deployment` is the model in an Azure URL. If `own` is False, the server is not OpenAI's but a compatible
    server. It accepts additional members and content parts, is as lenient as the recorded servers, and does
    not know OpenAI's models.
    """
    try:
        request = _parsed(body)
        model = deployment or _model(request)
        check_numbers(request)
        messages = array(request, "messages", "messages")
        if not messages:
            _empty("messages")
        for at, message in enumerate(messages):
            _check_message(object_(message, f"messages[{at}]"), f"messages[{at}]", own=own)
        _check_pairing(messages)
        _check_tools(request, own=own)
        _check_limits(request, model, own=own)
        if own and is_object(given := request.get("response_format")):
            check_format(given, "response_format", "".join(text_of(m.get("content")) for m in messages))
    except OpenAIRequestRefused as refused:
        return refused.error
    return None


def check_openai_completions_request(body: object) -> WireError | None:
    """Check a request body of `/completions` in the same way."""
    try:
        request = _parsed(body)
        _model(request)
        check_numbers(request)
        integer(request, "max_tokens", 0)
        if not isinstance(request.get("prompt"), str):
            array(request, "prompt", "prompt")
    except OpenAIRequestRefused as refused:
        return refused.error
    return None


def _parsed(body: object) -> Object:
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except ValueError:
            refuse("We could not parse the JSON body of your request.")
    return object_(body, "body")


def _model(request: Object) -> str:
    if not request.get("model"):
        refuse("you must provide a model parameter", param="model")
    return string(request, "model", "model")


def _empty(path: str) -> None:
    refuse(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array "
        "instead.",
        code="empty_array",
        param=path,
    )


def _check_message(message: Object, path: str, *, own: bool) -> None:
    role = one_of(message.get("role"), f"{path}.role", _ROLES)
    if role == "assistant" and message.get("tool_calls") is not None:
        calls = array(message, "tool_calls", f"{path}.tool_calls")
        if not calls and own:
            _empty(f"{path}.tool_calls")
        _check_calls(calls, f"{path}.tool_calls", longest=_LONGEST_ID if own else None)
    content = message.get("content")
    if is_array(content):
        for at, part in enumerate(content):
            where = f"{path}.content[{at}]"
            kind = object_(part, where).get("type")
            if own and kind == "image_url" and role != "user":
                refuse(
                    f"Invalid '{path}'. Image URLs are only allowed for messages with role 'user', but this "
                    f"message with role '{role}' contains an image URL.",
                    code="invalid_value",
                    param=path,
                )
            if own and role in _PARTS:
                one_of(kind, f"{where}.type", _PARTS[role])
            if kind == "text":
                string(part, "text", f"{where}.text")
    elif content is not None:
        string(message, "content", f"{path}.content")
    elif role != "assistant" or not any(
        message.get(name) for name in ("tool_calls", "function_call", "refusal", "audio")
    ):
        refuse(
            f"Invalid value for 'content' of '{path}': expected a string, got null.", param=f"{path}.content"
        )
    if role == "tool":
        if not message.get("tool_call_id"):
            refuse(
                "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.",
                code="missing_required_parameter",
                param=f"{path}.tool_call_id",
            )
        string(message, "tool_call_id", f"{path}.tool_call_id")


def _check_calls(calls: list[Any], path: str, *, longest: int | None) -> None:
    ids: set[str] = set()
    for at, call in enumerate(calls):
        where = f"{path}[{at}]"
        id = string(object_(call, where), "id", f"{where}.id", longest=longest)
        if id in ids:
            refuse(f"Duplicate value for 'tool_call_id' of '{id}'.", param=f"{where}.id")
        ids.add(id)
        kind = one_of(call.get("type") or "function", f"{where}.type", ("function", "custom"))
        inner = object_(call.get(kind), f"{where}.{kind}")
        string(inner, "name", f"{where}.{kind}.name")
        words = "arguments" if kind == "function" else "input"
        string(inner, words, f"{where}.{kind}.{words}")


def _check_pairing(messages: list[Any]) -> None:
    """Check that the tool messages right after the calls answer each call once."""
    open_calls: list[str] = []
    answered: set[str] = set()
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id in answered:
                refuse(
                    f"Duplicate value for 'tool_call_id' of '{call_id}'.",
                    param=f"messages.[{at}].tool_call_id",
                )
            if call_id not in open_calls:
                # "preceeding" is the API's own spelling.
                refuse(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
                    f"with 'tool_calls'. ('messages.[{at}].role')",
                    param=f"messages.[{at}].role",
                )
            open_calls.remove(call_id)
            answered.add(call_id)
            continue
        _check_answered(open_calls)
        calls: Any = message.get("tool_calls") or []
        open_calls, answered = [call["id"] for call in calls], set()
    _check_answered(open_calls)


def _check_answered(open_calls: list[str]) -> None:
    if open_calls:
        refuse(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(open_calls)}",
            param="messages",
        )


def _check_tools(request: Object, *, own: bool) -> None:
    names: set[str] = set()
    if request.get("tools") is not None:
        tools = array(request, "tools", "tools")
        if not tools and own:
            _empty("tools")
        for at, tool in enumerate(tools):
            names.add(_check_tool(object_(tool, f"tools[{at}]"), f"tools[{at}]", own=own))
    for name in ("tool_choice", "parallel_tool_calls"):
        if own and request.get(name) is not None and not request.get("tools"):
            refuse(f"'{name}' is only allowed when 'tools' are specified.", param=name)
    choice = request.get("tool_choice")
    if isinstance(choice, str):
        one_of(choice, "tool_choice", ("none", "auto", "required") if own else _CHOICES)
    elif choice is not None:
        _check_choice(object_(choice, "tool_choice"), names)


def _check_tool(tool: Object, path: str, *, own: bool) -> str:
    """Check a tool's entry, and return its name."""
    if "type" not in tool and own:
        missing(f"{path}.type")
    kind = tool.get("type") or "function"
    if kind == "custom":
        return string(object_(tool.get(kind), f"{path}.{kind}"), "name", f"{path}.{kind}.name")
    if kind != "function":
        return str(kind)
    return check_function(object_(tool.get(kind), f"{path}.{kind}"), f"{path}.{kind}", own=own)


def _check_choice(choice: Object, names: set[str]) -> None:
    kind = one_of(choice.get("type") or "function", "tool_choice.type", _CHOSEN)
    inner = object_(choice.get(kind), f"tool_choice.{kind}")
    wanted = [choice]
    if kind == "allowed_tools":
        one_of(inner.get("mode"), "tool_choice.allowed_tools.mode", ("auto", "required"))
        given = array(inner, "tools", "tool_choice.allowed_tools.tools")
        wanted = [object_(tool, "tool_choice.allowed_tools.tools") for tool in given]
    for tool in wanted:
        holder: Any = tool.get(str(tool.get("type") or "function"))
        name = string(object_(holder, "tool_choice.function"), "name", "tool_choice.function.name")
        if name not in names:
            refuse(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")


def _check_limits(request: Object, model: str, *, own: bool) -> None:
    for name in ("max_tokens", "max_completion_tokens", "n"):
        integer(request, name, 1)
    if own and request.get("max_tokens") is not None:
        if request.get("max_completion_tokens") is not None:
            refuse(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                param="max_tokens",
            )
        if _REASONS.match(model):
            refuse(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                code="unsupported_parameter",
                param="max_tokens",
            )
    stops = request.get("stop")
    if is_array(stops) and len(stops) > _MOST_STOPS:
        refuse(
            f"Invalid 'stop': array too long. Expected an array with maximum length {_MOST_STOPS}, but got "
            f"an array with length {len(stops)} instead.",
            code="array_above_max_length",
            param="stop",
        )
