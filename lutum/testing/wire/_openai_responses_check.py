"""The checks of the Responses API. They follow the provider's rules and share no code with lutum. No I/O.

Each rule raises at the first violation. Sealed reasoning and references to stored items are not checked here,
because only the server that made them can check them.
"""

import json
from collections.abc import Collection
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

__all__ = ["check_openai_responses_request"]

# api/reference, "Create a response".
_PARAMETERS: Final = frozenset(
    {
        "background",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
_INCLUDE: Final = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_PARTS: Final = {
    "user": ("input_text", "input_image", "input_file", "input_audio"),
    "system": ("input_text", "input_image", "input_file"),
    "developer": ("input_text", "input_image", "input_file"),
    "assistant": ("output_text", "refusal"),
}
_OUTPUT_PARTS: Final = ("input_text", "input_image", "input_file")

# By call: the item that must answer it, and the API's own words for the call.
_PAIRS: Final = {
    "function_call": ("function_call_output", "function call"),
    "custom_tool_call": ("custom_tool_call_output", "custom tool call"),
    "computer_call": ("computer_call_output", "computer call"),
    "apply_patch_call": ("apply_patch_call_output", "apply patch call"),
}
_ANSWERS: Final = {output: (call, words) for call, (output, words) in _PAIRS.items()}
_KINDS: Final = (
    "message",
    *_PAIRS,
    *_ANSWERS,
    "reasoning",
    "item_reference",
    "additional_tools",
    "file_search_call",
    "web_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "tool_search_call",
    "tool_search_output",
    "compaction",
    "compaction_trigger",
)
_LONGEST_ID: Final = 64
_LEAST_OUTPUT: Final = 16


def check_openai_responses_request(
    body: object, *, known_calls: Collection[str] = (), extras: bool = False
) -> WireError | None:
    """Check a request body, parsed or as bytes. Return None if the API would accept it, else its refusal.

    `known_calls` are the ids of calls in the responses that this request continues. `extras` allows members
    that the API does not have, and other deviations that gateways accept.
    """
    try:
        if isinstance(body, bytes | str):
            try:
                body = json.loads(body)
            except ValueError:
                refuse("We could not parse the JSON body of your request.")
        request = object_(body, "body")
        unknown = [name for name in request if name not in _PARAMETERS]
        if unknown and not extras:
            refuse(f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter", param=unknown[0])
        _check_parameters(request, own=not extras)
        items = _input(request)
        names = _check_tools(request, items)
        _check_items(items, own=not extras)
        _check_pairing(items, known_calls, stored=request.get("previous_response_id") is not None)
        _check_choice(request, names)
        if is_object(text := request.get("text")) and is_object(given := text.get("format")):
            said = str(request.get("instructions") or "")
            for item in items:
                said += text_of(item.get("content")) + text_of(item.get("output"))
            check_format(given, "text.format", said)
    except OpenAIRequestRefused as refused:
        return refused.error
    return None


def _check_parameters(request: Object, *, own: bool) -> None:
    if request.get("prompt") is None:  # a stored prompt may contain its model
        string(request, "model", "model")
    check_numbers(request)
    integer(request, "max_output_tokens", _LEAST_OUTPUT if own else 1)
    if request.get("include") is not None:
        for at, value in enumerate(array(request, "include", "include")):
            one_of(value, f"include[{at}]", _INCLUDE)
    if request.get("truncation") is not None:
        one_of(request["truncation"], "truncation", ("auto", "disabled"))
    for name in ("reasoning", "text", "metadata"):
        if request.get(name) is not None:
            object_(request[name], name)


def _input(request: Object) -> list[Object]:
    """Return the items of the input. A string becomes one message."""
    if "input" not in request:
        if any(request.get(name) for name in ("previous_response_id", "prompt", "conversation")):
            return []
        missing("input")
    given = request["input"]
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [object_(item, f"input[{at}]") for at, item in enumerate(array(request, "input", "input"))]


def _kind(item: Object) -> str:
    return str(item.get("type") or ("message" if "role" in item else ""))


def _check_items(items: list[Object], *, own: bool) -> None:
    ids: set[str] = set()
    for at, item in enumerate(items):
        path = f"input[{at}]"
        kind = one_of(_kind(item), f"{path}.type", _KINDS)
        _check_item(item, kind, path)
        given: Any = item.get("id")
        if isinstance(given, str) and kind != "item_reference":
            if given in ids:
                refuse(
                    f"Duplicate item found with id {given}. Remove duplicate items from your input.",
                    param="input",
                )
            ids.add(given)
        # Reasoning without an id is allowed anywhere. In recorded exchanges it precedes a user message.
        if kind == "reasoning" and given is not None and not _follows(items[at + 1 : at + 2], own=own):
            refuse(
                f"Item '{given}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )


def _follows(behind: list[Object], *, own: bool) -> bool:
    """Return whether the next item is from the model. OpenAI recognizes the model's messages by their id."""
    for item in behind:
        kind = _kind(item)
        if kind == "message":
            return item.get("role") == "assistant" and ("id" in item or not own)
        return kind not in _ANSWERS
    return False


def _check_item(item: Object, kind: str, path: str) -> None:
    match kind:
        case "message":
            role = one_of(item.get("role"), f"{path}.role", tuple(_PARTS))
            if "content" not in item:
                missing(f"{path}.content")
            if not isinstance(item["content"], str):
                _check_parts(array(item, "content", f"{path}.content"), _PARTS[role], f"{path}.content")
        case "function_call":
            string(item, "call_id", f"{path}.call_id", longest=_LONGEST_ID)
            string(item, "name", f"{path}.name")
            string(item, "arguments", f"{path}.arguments")
        case "custom_tool_call":
            string(item, "call_id", f"{path}.call_id", longest=_LONGEST_ID)
            string(item, "name", f"{path}.name")
            string(item, "input", f"{path}.input")
        case "function_call_output" | "custom_tool_call_output":
            string(item, "call_id", f"{path}.call_id", longest=_LONGEST_ID)
            if "output" not in item:
                missing(f"{path}.output")
            if not isinstance(item["output"], str):
                _check_parts(array(item, "output", f"{path}.output"), _OUTPUT_PARTS, f"{path}.output")
        case "reasoning":
            array(item, "summary", f"{path}.summary")
        case "item_reference":
            string(item, "id", f"{path}.id")
        case "additional_tools":
            array(item, "tools", f"{path}.tools")
        case _:
            pass


def _check_parts(parts: list[Any], allowed: tuple[str, ...], path: str) -> None:
    for at, part in enumerate(parts):
        where = f"{path}[{at}]"
        kind = one_of(object_(part, where).get("type"), f"{where}.type", allowed)
        if kind in ("input_text", "output_text"):
            string(part, "text", f"{where}.text")


def _check_pairing(items: list[Object], known: Collection[str], *, stored: bool) -> None:
    calls: dict[tuple[str, str], bool] = {}
    for item in items:
        kind, call_id = _kind(item), str(item.get("call_id"))
        if kind in _PAIRS:
            if (kind, call_id) in calls:
                refuse(f"Duplicate {_PAIRS[kind][1]} found with call_id {call_id}.", param="input")
            calls[kind, call_id] = False
        elif kind in _ANSWERS:
            call, words = _ANSWERS[kind]
            if (call, call_id) in calls:
                if calls[call, call_id]:
                    refuse(f"Duplicate output found for {words} with call_id {call_id}.", param="input")
                calls[call, call_id] = True
            elif call_id not in known:
                refuse(f"No tool call found for {words} output with call_id {call_id}.", param="input")
    for (kind, call_id), answered in calls.items():
        if not answered:
            refuse(f"No tool output found for {_PAIRS[kind][1]} {call_id}.", param="input")
    if stored:
        answers = {str(item.get("call_id")) for item in items if _kind(item) in _ANSWERS}
        for call_id in known:
            if call_id not in answers:
                refuse(f"No tool output found for function call {call_id}.", param="input")


def _check_tools(request: Object, items: list[Object]) -> dict[str, str]:
    """Return the type of every tool, by the tool's name. A tool without a name is listed by its type."""
    names: dict[str, str] = {}
    places = [("tools", request.get("tools"))]
    places += [
        (f"input[{at}].tools", item["tools"])
        for at, item in enumerate(items)
        if _kind(item) == "additional_tools" and "tools" in item
    ]
    for path, tools in places:
        for at, tool in enumerate(tools if is_array(tools) else []):
            where = f"{path}[{at}]"
            kind = string(object_(tool, where), "type", f"{where}.type")
            name = kind
            if kind == "function":
                name = check_function(tool, where)
            elif kind == "custom":
                name = string(tool, "name", f"{where}.name")
            names[name] = kind
    return names


def _check_choice(request: Object, names: dict[str, str]) -> None:
    choice = request.get("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return
    if not names:
        shown = choice if isinstance(choice, str) else object_(choice, "tool_choice").get("type")
        refuse(f"Tool choice '{shown}' must be specified with 'tools' parameter.", param="tool_choice")
    if isinstance(choice, str):
        one_of(choice, "tool_choice", ("none", "auto", "required"))
        return
    chosen = object_(choice, "tool_choice")
    wanted = [chosen]
    if chosen.get("type") == "allowed_tools":
        one_of(chosen.get("mode"), "tool_choice.mode", ("auto", "required"))
        given = array(chosen, "tools", "tool_choice.tools")
        wanted = [object_(tool, "tool_choice.tools") for tool in given]
    for tool in wanted:
        kind = string(tool, "type", "tool_choice.type")
        name = tool.get("name") if kind in ("function", "custom") else kind
        if names.get(str(name)) != kind:
            refuse(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
