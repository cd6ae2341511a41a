"""The meaning of error codes, statuses and messages: at most providers, and at single hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lutum._values.errors import ErrorKind

__all__ = ["CODES", "HOST_CODES", "STATUSES", "TEXTS", "VAGUE_TEXTS", "kind_of_text"]

Meaning = tuple[ErrorKind, int]
"""A kind of error, and the equivalent HTTP status."""

STATUSES: Final[Mapping[int, ErrorKind]] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    405: "invalid_request",
    408: "timeout",
    409: "invalid_request",
    413: "too_large",
    415: "invalid_request",
    422: "invalid_request",
    424: "server",  # a dependency of the host failed (Bedrock's ModelErrorException)
    425: "overloaded",
    429: "rate_limit",
    498: "overloaded",  # Groq: "Flex Tier Capacity Exceeded" (console.groq.com/docs/errors)
    499: "timeout",  # Google: CANCELLED
    503: "overloaded",
    504: "timeout",
    522: "timeout",  # Cloudflare: the origin did not answer in time
    524: "timeout",
    529: "overloaded",  # Anthropic
}
"""The meaning of HTTP statuses at most providers (RFC 9110, 15)."""

_BAD: Final[Meaning] = ("invalid_request", 400)
_LONG: Final[Meaning] = ("context_length", 400)
_AUTH: Final[Meaning] = ("authentication", 401)
_REFUSED_KEY: Final[Meaning] = ("authentication", 403)
_BILLING: Final[Meaning] = ("billing", 402)
_DENIED: Final[Meaning] = ("permission", 403)
_MISSING: Final[Meaning] = ("not_found", 404)
_LIMIT: Final[Meaning] = ("rate_limit", 429)
_SERVER: Final[Meaning] = ("server", 500)
_BUSY: Final[Meaning] = ("overloaded", 503)
_LATE: Final[Meaning] = ("timeout", 504)

CODES: Final[Mapping[str, Meaning]] = {
    # https://cloud.google.com/apis/design/errors, "Handling errors"
    "invalid_argument": _BAD,
    "failed_precondition": _BAD,
    "out_of_range": _BAD,
    "unauthenticated": _AUTH,
    "permission_denied": _DENIED,
    "resource_exhausted": _LIMIT,
    "internal": _SERVER,
    "data_loss": _SERVER,
    "unavailable": _BUSY,
    "deadline_exceeded": _LATE,
    # AWS, in `__type` and x-amzn-errortype
    "throttlingexception": _LIMIT,
    "toomanyrequestsexception": _LIMIT,
    "servicequotaexceededexception": _LIMIT,
    "validationexception": _BAD,
    "accessdeniedexception": _DENIED,
    "unrecognizedclientexception": _REFUSED_KEY,
    "invalidsignatureexception": _REFUSED_KEY,
    "signaturedoesnotmatch": _REFUSED_KEY,
    "incompletesignature": _REFUSED_KEY,
    "incompletesignatureexception": _REFUSED_KEY,
    "missingauthenticationtoken": _REFUSED_KEY,
    "missingauthenticationtokenexception": _REFUSED_KEY,
    "invalidclienttokenid": _REFUSED_KEY,
    "expiredtokenexception": _REFUSED_KEY,
    "expiredtoken": _REFUSED_KEY,
    "requestexpired": _REFUSED_KEY,
    "requesttimetooskewed": _REFUSED_KEY,
    "resourcenotfoundexception": _MISSING,
    "modelnotreadyexception": _BUSY,
    "modeltimeoutexception": _LATE,
    "modelerrorexception": _SERVER,
    "modelstreamerrorexception": _SERVER,
    "internalserverexception": _SERVER,
    "serviceunavailableexception": _BUSY,
    # DashScope: help.aliyun.com, "Error codes"
    "invalidapikey": _AUTH,
    "arrearage": _BILLING,
    "throttling": _LIMIT,
    "throttling.ratequota": _LIMIT,
    "throttling.burstrate": _LIMIT,
    "throttling.allocationquota": _LIMIT,
    "datainspectionfailed": _BAD,
    # llama.cpp's `type`, Copilot's and LiteLLM's codes for a prompt that is too long
    "exceed_context_size_error": _LONG,
    "model_max_prompt_tokens_exceeded": _LONG,
    "contextwindowexceedederror": _LONG,
    "context_window_exceeded": _LONG,
    "context_length_exceeded": _LONG,
    # Groq's flex tier
    "capacity_exceeded": _BUSY,
}
"""Codes and types that have the same meaning at all providers, in lower case."""

HOST_CODES: Final[Mapping[str, Mapping[str, Meaning]]] = {
    # platform.minimax.io, "Error code reference"
    "minimax": {
        "1000": _SERVER,
        "1001": _LATE,
        "1002": _LIMIT,
        "1004": _AUTH,
        "1008": _BILLING,
        "1013": _SERVER,
        "1024": _SERVER,
        "1026": _BAD,
        "1027": _BAD,
        "1033": _SERVER,
        "1039": _LIMIT,
        "1041": _LIMIT,
        "1042": _BAD,
        "2013": _BAD,
        "2045": _LIMIT,
        "2049": _AUTH,
        "2056": _LIMIT,
    },
    # docs.bigmodel.cn and docs.z.ai, "Error codes"
    "zhipu": {
        "1000": _AUTH,
        "1001": _AUTH,
        "1002": _AUTH,
        "1003": _AUTH,
        "1004": _AUTH,
        "1110": _BILLING,
        "1111": _BILLING,
        "1112": _BILLING,
        "1113": _BILLING,
        "1120": _SERVER,
        "1121": _DENIED,
        "1210": _BAD,
        "1211": _MISSING,
        "1212": _BAD,
        "1213": _BAD,
        "1214": _BAD,
        "1215": _BAD,
        "1220": _DENIED,
        "1221": _MISSING,
        "1222": _MISSING,
        "1230": _SERVER,
        "1231": _BAD,
        "1234": _SERVER,
        "1261": _LONG,
        "1300": _DENIED,
        "1301": _BAD,
        "1302": _LIMIT,
        "1303": _LIMIT,
        "1304": _LIMIT,
        "1305": _BUSY,
        "1308": _LIMIT,
        "1309": _BILLING,
        "1310": _LIMIT,
        "1311": _DENIED,
        "1312": _BUSY,
        "1313": _DENIED,
    },
    # cloud.baidu.com, Qianfan, "Error codes"
    "baidu": {
        "1": _SERVER,
        "2": _BUSY,
        "4": _LIMIT,
        "6": _DENIED,
        "13": _AUTH,
        "14": _AUTH,
        "15": _AUTH,
        "17": _LIMIT,
        "18": _LIMIT,
        "19": _LIMIT,
        "110": _AUTH,
        "111": _AUTH,
        "336000": _SERVER,
        "336001": _BAD,
        "336002": _BAD,
        "336003": _BAD,
        "336005": _DENIED,
        "336007": _LONG,
        "336100": _BUSY,
        "336501": _LIMIT,
        "336502": _LIMIT,
        "336503": _LIMIT,
        "336504": _LIMIT,
    },
}
"""Numeric codes that have a meaning only in the error shape of one host."""

_REFUSED: Final = (None, 400, 402, 403, 413, 422, 429, 500)

TEXTS: Final[tuple[tuple[str, ErrorKind], ...]] = (
    ("maximum context length", "context_length"),  # OpenAI, vLLM, DeepSeek, Mistral, Fireworks
    ("context length exceeded", "context_length"),
    ("exceeds the model's context", "context_length"),
    ("longer than the model's context length", "context_length"),  # SGLang
    ("greater than the context length", "context_length"),  # LM Studio
    ("exceeds the available context size", "context_length"),  # llama.cpp
    ("exceeds the context window", "context_length"),  # OpenAI Responses
    ("exceeds context window", "context_length"),
    ("context window exceeds limit", "context_length"),  # MiniMax
    ("exceed context limit", "context_length"),  # Claude: input and max_tokens together
    ("prompt is too long", "context_length"),  # Claude
    ("input is too long", "context_length"),  # Bedrock
    ("too many input tokens", "context_length"),  # Bedrock
    ("exceeds the maximum number of tokens allowed", "context_length"),  # Gemini
    ("maximum prompt length", "context_length"),  # xAI
    ("reduce the length of the messages", "context_length"),  # Groq, Cerebras
    ("tokens exceed the configured limit", "context_length"),  # OpenAI
    ("prompt exceeds max length", "context_length"),  # Zhipu
    ("exceeded model token limit", "context_length"),  # Moonshot
    ("range of input length should be", "context_length"),  # DashScope
    ("`inputs` tokens + `max_new_tokens` must be", "context_length"),  # TGI
    ("`inputs` must have less than", "context_length"),  # TGI
    ("prompt token count of", "context_length"),  # GitHub Copilot
    ("cannot exceed the total tokens limit", "context_length"),  # watsonx
    ("exceeds maximum context", "context_length"),  # Databricks
    ("credit balance is too low", "billing"),  # Claude
    ("used all available credits", "billing"),  # xAI
    ("monthly spending limit", "billing"),  # xAI
    ("insufficient balance", "billing"),  # DeepSeek, MiniMax, Moonshot
    ("insufficient credits", "billing"),  # OpenRouter
    ("insufficient funds", "billing"),
    ("requires more credits", "billing"),  # OpenRouter
    ("not enough credits", "billing"),
    ("out of credits", "billing"),
    ("monthly included credits", "billing"),  # Hugging Face
    ("billing hard limit", "billing"),
    ("please recharge", "billing"),  # Zhipu
    ("account is in good standing", "billing"),  # DashScope
    ("overdue balance", "billing"),  # Volcengine
    ("余额不足", "billing"),
    ("欠费", "billing"),
)
"""Parts of messages, in lower case, that are more exact than the status and the code."""

VAGUE_TEXTS: Final[tuple[tuple[str, Meaning], ...]] = (
    ("rate limit", _LIMIT),
    ("rate-limit", _LIMIT),
    ("too many requests", _LIMIT),
    ("quota exceeded", _LIMIT),
    ("overloaded", _BUSY),
    ("over capacity", _BUSY),
    ("capacity exceeded", _BUSY),
    ("no available", _BUSY),
    ("temporarily unavailable", _BUSY),
    ("service unavailable", _BUSY),
    ("timed out", _LATE),
    ("timeout", _LATE),
    ("unauthorized", _AUTH),
    ("invalid api key", _AUTH),
    ("internal server error", _SERVER),
    ("internal error", _SERVER),
    ("connection reset", _SERVER),
    ("bad gateway", _SERVER),
)
"""Parts of messages that show the kind of an error in a stream, if the error has neither a code nor a
type."""


def kind_of_text(message: str, status: int | None) -> ErrorKind | None:
    """Return the kind of an error that its message shows; None if the message is not more exact than the
    status."""
    if status not in _REFUSED:
        return None
    lower = message.lower()
    return next((kind for part, kind in TEXTS if part in lower), None)
