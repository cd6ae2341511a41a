"""lutum: a streaming LLM toolkit in which your code owns the loop.

The modules of the core are private, and this module exports their public names. The public modules are
`abc`, `dialect`, `eval`, `mcp`, `redis`, `rollout`, `sse`, `store`, `testing`, `trace` and `transport`.

The adapters are separate packages (`lutum_claude`, ...). Their public names can be imported from here too.
They load on first use, so `import lutum` loads no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lutum._budget.amounts import UNLIMITED as UNLIMITED
from lutum._budget.budget import (
    Available as Available,
    Budget as Budget,
    BudgetStatistics as BudgetStatistics,
)
from lutum._budget.lease import BudgetLease as BudgetLease
from lutum._budget.limit import Limit as Limit
from lutum._budget.pricing import Price as Price, Pricing as Pricing
from lutum._budget.scope import BudgetScope as BudgetScope
from lutum._hooks.define import first_success as first_success, hook as hook
from lutum._hooks.hook_set import HookSet as HookSet, nested_hooks as nested_hooks
from lutum._hooks.slots import (
    Hook as Hook,
    HookMethod as HookMethod,
    Registration as Registration,
    Slot as Slot,
    Stateful as Stateful,
)
from lutum._lutum import Lutum as Lutum
from lutum._publish import publish
from lutum._run import run as run
from lutum._schema.lenient import decode as decode
from lutum._schema.partial import Partial as Partial
from lutum._session import Session as Session
from lutum._tools.call import (
    Approved as Approved,
    CallIssue as CallIssue,
    Started as Started,
    ToolCall as ToolCall,
)
from lutum._tools.function import (
    Arguments as Arguments,
    FunctionTool as FunctionTool,
    Injected as Injected,
    tool as tool,
)
from lutum._tools.hooks import ToolHooks as ToolHooks
from lutum._tools.journal import RestartDecision as RestartDecision, RoundJournal as RoundJournal
from lutum._tools.round import (
    Finished as Finished,
    NeedsTools as NeedsTools,
    RoundPlan as RoundPlan,
    ToolHook as ToolHook,
    ToolRound as ToolRound,
)
from lutum._tools.tool import (
    InputTool as InputTool,
    RawTool as RawTool,
    Tool as Tool,
    raw_tool as raw_tool,
    tool_input as tool_input,
)
from lutum._tools.toolset import Selector as Selector, Toolset as Toolset, off as off
from lutum._turn.builder import (
    STOP as STOP,
    Handler as Handler,
    Stop as Stop,
    StructuredTurn as StructuredTurn,
    TextTurn as TextTurn,
    Turn as Turn,
    View as View,
)
from lutum._turn.completion import (
    Completion as Completion,
    CompletionResult as CompletionResult,
    StructuredCompletion as StructuredCompletion,
    StructuredCompletionResult as StructuredCompletionResult,
)
from lutum._turn.from_body import result_from_body as result_from_body
from lutum._turn.gate import PrefixGate as PrefixGate
from lutum._turn.prepare import (
    Estimator as Estimator,
    LutumHooks as LutumHooks,
    exact_estimate as exact_estimate,
)
from lutum._turn.preview import Preview as Preview
from lutum._turn.stream import Stream as Stream
from lutum._values.errors import (
    BadValue as BadValue,
    BranchExists as BranchExists,
    BrokenPrefix as BrokenPrefix,
    BudgetExceeded as BudgetExceeded,
    CallTaken as CallTaken,
    ContractViolation as ContractViolation,
    ErrorKind as ErrorKind,
    EstimateRequired as EstimateRequired,
    HookBusy as HookBusy,
    Interrupted as Interrupted,
    LedgerError as LedgerError,
    LedgerLost as LedgerLost,
    LutumError as LutumError,
    NetworkError as NetworkError,
    NoSuchBranch as NoSuchBranch,
    NoSuchName as NoSuchName,
    OutputInvalid as OutputInvalid,
    OutputLimitExceeded as OutputLimitExceeded,
    ProviderError as ProviderError,
    Refused as Refused,
    RoundOpen as RoundOpen,
    StaleBranch as StaleBranch,
    StaleCommit as StaleCommit,
    Stopped as Stopped,
    StoreBusy as StoreBusy,
    StoreCorrupt as StoreCorrupt,
    StoreError as StoreError,
    StoreFormat as StoreFormat,
    StoreValue as StoreValue,
    ToolError as ToolError,
    TranscriptError as TranscriptError,
    TurnError as TurnError,
    TurnNotFinished as TurnNotFinished,
    TurnTimeout as TurnTimeout,
    UnpricedModel as UnpricedModel,
    UsageError as UsageError,
)
from lutum._values.events import (
    CitationAdded as CitationAdded,
    Completed as Completed,
    Event as Event,
    ProviderEvent as ProviderEvent,
    ReasoningDelta as ReasoningDelta,
    RefusalDelta as RefusalDelta,
    StructuredDelta as StructuredDelta,
    StructuredReady as StructuredReady,
    TextDelta as TextDelta,
    ToolCallDelta as ToolCallDelta,
    ToolCallIssue as ToolCallIssue,
    ToolCallReady as ToolCallReady,
    TurnStarted as TurnStarted,
    UsageUpdate as UsageUpdate,
    WillRetry as WillRetry,
    decode_frame as decode_frame,
    encode_frame as encode_frame,
)
from lutum._values.items import (
    Content as Content,
    Document as Document,
    Image as Image,
    Item as Item,
    Message as Message,
    Part as Part,
    Raw as Raw,
    Text as Text,
    ToolResult as ToolResult,
)
from lutum._values.model_input import ModelInput as ModelInput
from lutum._values.results import (
    Attempt as Attempt,
    Citation as Citation,
    CommittedTurn as CommittedTurn,
    Estimate as Estimate,
    FinishReason as FinishReason,
    PartialResult as PartialResult,
    ReasoningItem as ReasoningItem,
    RefusalItem as RefusalItem,
    Response as Response,
    StructuredResult as StructuredResult,
    TextItem as TextItem,
    TextResult as TextResult,
    TokenChoice as TokenChoice,
    Tokens as Tokens,
    ToolCallItem as ToolCallItem,
    ToolDef as ToolDef,
    Usage as Usage,
    ViewItem as ViewItem,
)
from lutum._values.settings import (
    Effort as Effort,
    RequestBudget as RequestBudget,
    RetryPolicy as RetryPolicy,
    Settings as Settings,
    Timeouts as Timeouts,
)
from lutum._values.transcript import Head as Head, Transcript as Transcript

if TYPE_CHECKING:
    from lutum import (
        abc as abc,
        dialect as dialect,
        eval as eval,
        mcp as mcp,
        redis as redis,
        rollout as rollout,
        sse as sse,
        store as store,
        testing as testing,
        trace as trace,
        transport as transport,
    )
    from lutum._adapter_by_name import adapter as adapter
    from lutum._explain import explain as explain
    from lutum_claude import (
        ClaudeAdapter as ClaudeAdapter,
        ClaudeHooks as ClaudeHooks,
        ClaudeOptions as ClaudeOptions,
    )
    from lutum_clouds import AwsCredentials as AwsCredentials
    from lutum_gemini import (
        GeminiAdapter as GeminiAdapter,
        GeminiHooks as GeminiHooks,
        GeminiOptions as GeminiOptions,
    )
    from lutum_openai import (
        OpenAIAdapter as OpenAIAdapter,
        OpenAIChatAdapter as OpenAIChatAdapter,
        OpenAICompletionsAdapter as OpenAICompletionsAdapter,
        OpenAIHooks as OpenAIHooks,
        OpenAIOptions as OpenAIOptions,
    )
    from lutum_openrouter import (
        OpenRouterAdapter as OpenRouterAdapter,
        OpenRouterHooks as OpenRouterHooks,
        OpenRouterOptions as OpenRouterOptions,
    )

_LAZY = {
    "AwsCredentials": "lutum_clouds",
    "ClaudeAdapter": "lutum_claude",
    "ClaudeHooks": "lutum_claude",
    "ClaudeOptions": "lutum_claude",
    "GeminiAdapter": "lutum_gemini",
    "GeminiHooks": "lutum_gemini",
    "GeminiOptions": "lutum_gemini",
    "OpenAIAdapter": "lutum_openai",
    "OpenAIChatAdapter": "lutum_openai",
    "OpenAICompletionsAdapter": "lutum_openai",
    "OpenAIHooks": "lutum_openai",
    "OpenAIOptions": "lutum_openai",
    "OpenRouterAdapter": "lutum_openrouter",
    "OpenRouterHooks": "lutum_openrouter",
    "OpenRouterOptions": "lutum_openrouter",
    "adapter": "lutum._adapter_by_name",
    "explain": "lutum._explain",
}

_MODULES = frozenset(
    {"abc", "dialect", "eval", "mcp", "redis", "rollout", "sse", "store", "testing", "trace", "transport"}
)

__all__ = [
    "STOP",
    "UNLIMITED",
    "Approved",
    "Arguments",
    "Attempt",
    "Available",
    "AwsCredentials",
    "BadValue",
    "BranchExists",
    "BrokenPrefix",
    "Budget",
    "BudgetExceeded",
    "BudgetLease",
    "BudgetScope",
    "BudgetStatistics",
    "CallIssue",
    "CallTaken",
    "Citation",
    "CitationAdded",
    "ClaudeAdapter",
    "ClaudeHooks",
    "ClaudeOptions",
    "CommittedTurn",
    "Completed",
    "Completion",
    "CompletionResult",
    "Content",
    "ContractViolation",
    "Document",
    "Effort",
    "ErrorKind",
    "Estimate",
    "EstimateRequired",
    "Estimator",
    "Event",
    "FinishReason",
    "Finished",
    "FunctionTool",
    "GeminiAdapter",
    "GeminiHooks",
    "GeminiOptions",
    "Handler",
    "Head",
    "Hook",
    "HookBusy",
    "HookMethod",
    "HookSet",
    "Image",
    "Injected",
    "InputTool",
    "Interrupted",
    "Item",
    "LedgerError",
    "LedgerLost",
    "Limit",
    "Lutum",
    "LutumError",
    "LutumHooks",
    "Message",
    "ModelInput",
    "NeedsTools",
    "NetworkError",
    "NoSuchBranch",
    "NoSuchName",
    "OpenAIAdapter",
    "OpenAIChatAdapter",
    "OpenAICompletionsAdapter",
    "OpenAIHooks",
    "OpenAIOptions",
    "OpenRouterAdapter",
    "OpenRouterHooks",
    "OpenRouterOptions",
    "OutputInvalid",
    "OutputLimitExceeded",
    "Part",
    "Partial",
    "PartialResult",
    "PrefixGate",
    "Preview",
    "Price",
    "Pricing",
    "ProviderError",
    "ProviderEvent",
    "Raw",
    "RawTool",
    "ReasoningDelta",
    "ReasoningItem",
    "RefusalDelta",
    "RefusalItem",
    "Refused",
    "Registration",
    "RequestBudget",
    "Response",
    "RestartDecision",
    "RetryPolicy",
    "RoundJournal",
    "RoundOpen",
    "RoundPlan",
    "Selector",
    "Session",
    "Settings",
    "Slot",
    "StaleBranch",
    "StaleCommit",
    "Started",
    "Stateful",
    "Stop",
    "Stopped",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreFormat",
    "StoreValue",
    "Stream",
    "StructuredCompletion",
    "StructuredCompletionResult",
    "StructuredDelta",
    "StructuredReady",
    "StructuredResult",
    "StructuredTurn",
    "Text",
    "TextDelta",
    "TextItem",
    "TextResult",
    "TextTurn",
    "Timeouts",
    "TokenChoice",
    "Tokens",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallIssue",
    "ToolCallItem",
    "ToolCallReady",
    "ToolDef",
    "ToolError",
    "ToolHook",
    "ToolHooks",
    "ToolResult",
    "ToolRound",
    "Toolset",
    "Transcript",
    "TranscriptError",
    "Turn",
    "TurnError",
    "TurnNotFinished",
    "TurnStarted",
    "TurnTimeout",
    "UnpricedModel",
    "Usage",
    "UsageError",
    "UsageUpdate",
    "View",
    "ViewItem",
    "WillRetry",
    "abc",
    "adapter",
    "decode",
    "decode_frame",
    "dialect",
    "encode_frame",
    "eval",
    "exact_estimate",
    "explain",
    "first_success",
    "hook",
    "mcp",
    "nested_hooks",
    "off",
    "raw_tool",
    "redis",
    "result_from_body",
    "rollout",
    "run",
    "sse",
    "store",
    "testing",
    "tool",
    "tool_input",
    "trace",
    "transport",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a type checker that sees `__getattr__` would accept every name

    def __getattr__(name: str) -> object:
        import importlib

        if name in _MODULES:
            return importlib.import_module(f"lutum.{name}")
        if name not in _LAZY:
            import difflib

            near = difflib.get_close_matches(name, __all__, 3)
            hint = f"; did you mean {' or '.join(f'lutum.{one}' for one in near)}?" if near else ""
            raise AttributeError(f"module 'lutum' has no attribute {name!r}{hint}")
        return getattr(importlib.import_module(_LAZY[name]), name)


publish(__name__, (globals().get(name) for name in __all__))
