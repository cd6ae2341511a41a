"""OpenAI for lutum: the Responses API, and Chat Completions at OpenAI and at compatible servers.

responses    `OpenAIAdapter` (developers.openai.com/api/reference/resources/responses)
chat         `OpenAIChatAdapter` (developers.openai.com/api/reference/resources/chat)
completions  `OpenAICompletionsAdapter`, for `Lutum(completion=)`
_options     `OpenAIOptions` and `OpenAIHooks`, for all three adapters
_endpoint    the base URL and its credential
_profiles, _hosts   the table of known hosts
_http_adapter, _cloud_adapter   base classes of the adapters
_chunks      the base class of the decoders of Chat and Completions
_errors, _usage, _estimate, _hidden_prompt, _items, _messages   shared helpers; none of them does I/O
"""

from lutum_openai._errors import ERRORS as ERRORS
from lutum_openai._options import OpenAIHooks as OpenAIHooks, OpenAIOptions as OpenAIOptions
from lutum_openai._profiles import Profile as Profile
from lutum_openai.chat._adapter import OpenAIChatAdapter as OpenAIChatAdapter
from lutum_openai.completions._adapter import OpenAICompletionsAdapter as OpenAICompletionsAdapter
from lutum_openai.responses._adapter import OpenAIAdapter as OpenAIAdapter

__all__ = [
    "ERRORS",
    "OpenAIAdapter",
    "OpenAIChatAdapter",
    "OpenAICompletionsAdapter",
    "OpenAIHooks",
    "OpenAIOptions",
    "Profile",
]
