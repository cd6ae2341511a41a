"""OpenAI for lutum: the Responses API, and Chat Completions with all that speak it.

_options   `OpenAIOptions`, for both; _hooks: `OpenAIHooks`
_common    PURE: errors, usage, hosts and token counts, for both
responses  `OpenAIAdapter` (developers.openai.com/api/reference/resources/responses)
completions  `OpenAICompletionsAdapter`, for `Lutum(completion=)`
chat       `OpenAIChatAdapter` (developers.openai.com/api/reference/resources/chat)
"""

from lutum_openai._hooks import OpenAIHooks as OpenAIHooks
from lutum_openai._options import OpenAIOptions as OpenAIOptions
from lutum_openai._profiles import Profile as Profile
from lutum_openai.chat._adapter import OpenAIChatAdapter as OpenAIChatAdapter
from lutum_openai.completions._adapter import OpenAICompletionsAdapter as OpenAICompletionsAdapter
from lutum_openai.responses._adapter import OpenAIAdapter as OpenAIAdapter

__all__ = [
    "OpenAIAdapter",
    "OpenAIChatAdapter",
    "OpenAICompletionsAdapter",
    "OpenAIHooks",
    "OpenAIOptions",
    "Profile",
]
