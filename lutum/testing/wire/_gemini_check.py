"""The checks of `generateContent`. They follow the provider's rules and share no code with lutum. No I/O.

The first violation of a rule raises an error. If the API's own message is known, the error quotes it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn, final

from lutum.testing.wire._error import WireError
from lutum.testing.wire._gemini_sign import BYPASS, is_signed_by, signature_of, signed_parts
from lutum.testing.wire._json import Object, is_array, is_object

__all__ = ["check_gemini_request", "generation_of"]

_MEMBERS: Final = frozenset(
    {
        "cachedContent",
        "contents",
        "continuationToken",
        "generationConfig",
        "labels",
        "model",
        "safetySettings",
        "serviceTier",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
_CONFIG: Final = frozenset(
    {
        "candidateCount",
        "enableEnhancedCivicAnswers",
        "frequencyPenalty",
        "imageConfig",
        "logprobs",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseFormat",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "speechConfig",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    }
)
_DATA: Final = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "text",
        "toolCall",
        "toolResponse",
    }
)
_PART: Final = _DATA | {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
_BUILT_IN: Final = frozenset({"googleSearch", "codeExecution", "urlContext", "googleMaps", "fileSearch"})
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_GENERATION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


@final
class GeminiRequestRefused(Exception):
    """The request breaks a rule."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.error = WireError(message, type="INVALID_ARGUMENT")


def generation_of(model: str) -> tuple[int, int]:
    """Return the generation of a model, such as (2, 5). A name without a number is the newest generation."""
    found = _GENERATION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (4, 0)


def check_gemini_request(
    body: bytes, model: str, *, vertex: bool = False, signing: bool = True
) -> WireError | None:
    """Check a request body. Return None if the API would accept it, else the API's error.

    Args:
      vertex: the request is for Vertex AI.
      signing: check the signatures. All of them must be from a `WireServer`.
    """
    try:
        try:
            request = json.loads(body)
        except ValueError:
            _refuse("Invalid JSON payload received.")
        if not is_object(request):
            _refuse("Invalid JSON payload received.")
        _known(request, _MEMBERS, "")
        contents = _contents(request)
        generation = generation_of(model)
        _check_config(request, model, generation)
        names = _check_tools(request, generation, vertex=vertex)
        _check_choice(request, names)
        _check_cache(request)
        _check_turns(contents, generation)
        if signing:
            _check_signatures(signed_parts(body), contents, model, generation)
    except GeminiRequestRefused as refused:
        return refused.error
    return None


def _refuse(message: str) -> NoReturn:
    raise GeminiRequestRefused(message)


def _known(holder: Object, names: frozenset[str], path: str) -> None:
    for name in holder:
        if name not in names:
            where = f" at '{path}'" if path else ""
            _refuse(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def _contents(request: Object) -> list[tuple[str, list[Object]]]:
    given = request.get("contents")
    if not is_array(given) or not given:
        _refuse("* GenerateContentRequest.contents: contents is not specified\n")
    found: list[tuple[str, list[Object]]] = []
    for at, content in enumerate(given):
        path = f"contents[{at}]"
        if not is_object(content):
            _refuse(f"Invalid value at '{path}'")
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            _refuse("Please use a valid role: user, model.")
        found.append((role, _parts(content, path)))
    if is_object(system := request.get("systemInstruction")):
        for part in _parts(system, "system_instruction"):
            if "text" not in part:
                _refuse("system_instruction: only text is supported")
    return found


def _parts(content: Object, path: str) -> list[Object]:
    parts = content.get("parts")
    if not is_array(parts) or not parts:
        _refuse(f"* GenerateContentRequest.{path}.parts: contents.parts must not be empty.\n")
    for at, part in enumerate(parts):
        where = f"{path}.parts[{at}]"
        if not is_object(part):
            _refuse(f"Invalid value at '{where}'")
        _known(part, _PART, where)
        if len(part.keys() & _DATA) != 1:
            _refuse(f"{where}.data: required oneof field 'data' must have one initialized field")
        if "functionCall" in part:
            _check_call(part["functionCall"], where)
        elif "functionResponse" in part:
            _check_response(part["functionResponse"], where)
        elif "inlineData" in part:
            if not is_object(part["inlineData"]) or not part["inlineData"].get("mimeType"):
                _refuse(f"Unable to submit request because it has an empty mimeType parameter at '{where}'.")
        elif "text" in part and not isinstance(part["text"], str):
            _refuse(f"Invalid value at '{where}.text' (TYPE_STRING)")
    return parts


def _check_call(call: Any, where: str) -> None:
    if not is_object(call) or not call.get("name"):
        _refuse(f"{where}.function_call.name: Name cannot be empty.")
    if "args" in call and not is_object(call["args"]):
        _refuse(f"Invalid value at '{where}.function_call.args' (type.googleapis.com/google.protobuf.Struct)")


def _check_response(response: Any, where: str) -> None:
    if not is_object(response) or not response.get("name"):
        _refuse(f"{where}.function_response.name: Name cannot be empty.")
    if not is_object(response.get("response")):
        _refuse(f"Invalid value at '{where}.function_response.response'")


# --- settings ----------------------------------------------------------------------------------


def _check_config(request: Object, model: str, generation: tuple[int, int]) -> None:
    config = request.get("generationConfig")
    if config is None:
        return
    if not is_object(config):
        _refuse("Invalid value at 'generation_config'")
    _known(config, _CONFIG, "generation_config")
    if config.get("maxOutputTokens", 1) < 1:
        _refuse("max_output_tokens must be positive.")
    if not 0 <= config.get("temperature", 1) <= 2:
        _refuse("Temperature must be between 0 and 2.")
    thinking = config.get("thinkingConfig")
    if is_object(thinking):
        _check_thinking(thinking, model, generation)
    is_json = config.get("responseMimeType") in ("application/json", "text/x.enum")
    if not is_json and ("responseJsonSchema" in config or "responseSchema" in config):
        _refuse("Response schema is only supported when response_mime_type is set to application/json.")
    if generation >= (4, 0):
        for name in ("presencePenalty", "frequencyPenalty"):
            if name in config:
                _refuse("Penalties are not supported for this model.")
        if config.get("candidateCount", 1) > 1:
            _refuse("Multiple candidates is not enabled for this model")


def _check_thinking(thinking: Object, model: str, generation: tuple[int, int]) -> None:
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        _refuse("You can only set only one of thinking budget and thinking level.")
    if "thinkingBudget" in thinking and generation >= (4, 0):
        _refuse("Thinking budget is not supported for this model. Use thinking level instead.")
    level = thinking.get("thinkingLevel")
    if level is None:
        return
    if generation < (3, 0):
        _refuse("Thinking level is not supported for this model.")
    if level == "MINIMAL" and (generation >= (3, 7) or "-pro" in model):
        _refuse("Thinking level MINIMAL is not supported for this model.")


def _check_tools(request: Object, generation: tuple[int, int], *, vertex: bool) -> list[str]:
    """Check the tools, and return the names of the functions."""
    names: list[str] = []
    built_in: list[str] = []
    tools = request.get("tools")
    for tool in tools if is_array(tools) else []:
        if not is_object(tool):
            _refuse("Invalid value at 'tools'")
        built_in += [name for name in tool if name in _BUILT_IN]
        for function in tool.get("functionDeclarations", []):
            name = function.get("name", "")
            if not _NAME.fullmatch(name):
                _refuse(
                    f"Invalid function name: {name!r}. Must start with a letter or an underscore. Must be "
                    "alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with "
                    "a maximum length of 128."
                )
            if name in names:
                _refuse(f"Duplicate function declaration found: {name}")
            if "parameters" in function and "parametersJsonSchema" in function:
                _refuse(f"function {name}: parameters and parameters_json_schema are mutually exclusive")
            names.append(name)
    config: Any = request.get("toolConfig") or {}
    if names and built_in:
        shown = config.get("includeServerSideToolInvocations")
        if generation < (3, 0) or (not shown and not vertex):
            _refuse(
                f"Built-in tools ({', '.join(built_in)}) and Function Calling cannot be combined in the same "
                "request."
            )
    generation_config: Any = request.get("generationConfig") or {}
    if names and generation < (3, 0) and generation_config.get("responseMimeType") == "application/json":
        _refuse("Function calling with a response mime type: 'application/json' is unsupported")
    return names


def _check_choice(request: Object, names: Sequence[str]) -> None:
    config: Any = request.get("toolConfig") or {}
    choice: Any = config.get("functionCallingConfig") or {}
    mode, allowed = choice.get("mode", "AUTO"), choice.get("allowedFunctionNames", [])
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED"):
        _refuse(f"Invalid value at 'tool_config.function_calling_config.mode': {mode}")
    if mode == "ANY" and not names:
        _refuse("Function calling config is set without function_declarations.")
    if allowed and mode not in ("ANY", "VALIDATED"):
        _refuse("allowed_function_names can only be set when the function calling mode is ANY or VALIDATED.")
    for name in allowed:
        if name not in names:
            _refuse(f"allowed_function_names contains {name}, which is not a declared function.")


def _check_cache(request: Object) -> None:
    if "cachedContent" in request and request.keys() & {"systemInstruction", "tools", "toolConfig"}:
        _refuse(
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or "
            "tool_config."
        )


# --- turns and signatures ----------------------------------------------------------------------


def _check_turns(contents: list[tuple[str, list[Object]]], generation: tuple[int, int]) -> None:
    for at, (role, parts) in enumerate(contents):
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if calls and role != "model":
            _refuse("Please ensure that function call turns have the role model.")
        if calls:
            following = contents[at + 1] if at + 1 < len(contents) else ("", list[Object]())
            answers = [part["functionResponse"] for part in following[1] if "functionResponse" in part]
            _check_answers(calls, answers)
        if responses:
            before = contents[at - 1] if at else ("", list[Object]())
            if not any("functionCall" in part for part in before[1]):
                _refuse(
                    "Please ensure that function response turn comes immediately after a function call turn."
                )
    if contents[-1][0] == "model" and generation >= (3, 0):
        _refuse("Requests ending with a model turn are not supported.")


def _check_answers(calls: list[Object], answers: list[Object]) -> None:
    if len(calls) != len(answers):
        _refuse(
            "Please ensure that the number of function response parts is equal to the number of function "
            "call parts of the function call turn."
        )
    for call, answer in zip(calls, answers, strict=True):
        if answer.get("id") not in (None, call.get("id")):
            _refuse(f"The id {answer['id']!r} of a function response is not the id of its function call.")
        if answer["name"] != call["name"]:
            _refuse(f"The function response {answer['name']!r} does not match the call of {call['name']!r}.")


def _check_signatures(
    signed: list[tuple[str, list[Object]]],
    contents: list[tuple[str, list[Object]]],
    model: str,
    generation: tuple[int, int],
) -> None:
    last_user = max(
        (
            at
            for at, (role, parts) in enumerate(contents)
            if role == "user" and not any("functionResponse" in part for part in parts)
        ),
        default=-1,
    )
    for at, (role, parts) in enumerate(signed):
        if role != "model":
            continue
        calls = 0
        for i, part in enumerate(parts):
            signature = signature_of(part)
            is_call = "functionCall" in part
            if signature in BYPASS:
                if calls or not is_call:
                    _refuse("Invalid thought signature: the validator may be skipped for a first call only.")
            elif signature is not None and not is_signed_by(model, parts[: i + 1], signature):
                _refuse("Corrupted thought signature.")
            is_first = is_call and not calls
            calls += is_call
            is_image = "-image" in model
            if is_first and signature is None and at > last_user and generation >= (3, 0) and not is_image:
                name = contents[at][1][i]["functionCall"]["name"]
                _refuse(
                    "Function call is missing a thought_signature in functionCall parts. This is required "
                    "for tools to work correctly, and missing thought_signature may lead to degraded model "
                    f"performance. Additional data, function call `default_api:{name}` , position {i + 1}."
                )
