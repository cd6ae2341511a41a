"""An error in three lines: what happened, whose fault it is, what to do next. PURE."""

from __future__ import annotations

from typing import Final

from lutum._values.errors import (
    BadValue,
    BranchExists,
    BudgetExceeded,
    CallTaken,
    ContractViolation,
    ErrorKind,
    EstimateRequired,
    HookBusy,
    Interrupted,
    NetworkError,
    NoSuchBranch,
    OutputInvalid,
    OutputLimitExceeded,
    ProviderError,
    Refused,
    RoundOpen,
    StaleBranch,
    StaleCommit,
    Stopped,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFormat,
    StoreValue,
    ToolError,
    TranscriptError,
    TurnError,
    TurnNotFinished,
    TurnTimeout,
    UnpricedModel,
    UsageError,
)

_KINDS: Final[dict[ErrorKind, tuple[str, str]]] = {
    "invalid_request": (
        "the request's: the provider does not take it as it is",
        "change what its words above name; turn.preview() shows what is sent",
    ),
    "authentication": (
        "the key's, so yours: the provider does not know it",
        "give a key of this provider and this account, and look for spaces around it",
    ),
    "permission": (
        "the key's, so yours: it may not do this",
        "ask who manages the account, or use another model or key",
    ),
    "billing": ("the account's: the provider wants to be paid first", "add credit, or raise its limit"),
    "not_found": (
        "the request's: there is no such model or address at this provider",
        "check the model's name and base_url=, with or without /v1 at its end",
    ),
    "too_large": ("the request's: it is too big for the provider", "send less: fewer or smaller items"),
    "context_length": (
        "the request's: it is longer than the model's context",
        "send less of the conversation, or use a model with a longer context",
    ),
    "rate_limit": (
        "your account's rate at the provider",
        "ask more slowly: retry=RetryPolicy() waits, Budget(follow_rate_limits=True) keeps many below it",
    ),
    "timeout": ("the provider's: it took too long", "ask again, or give retry=RetryPolicy()"),
    "overloaded": ("the provider's: it has too much to do", "ask again later, or give retry=RetryPolicy()"),
    "server": (
        "the provider's: it failed",
        "ask again, or give retry=RetryPolicy(); tell the provider if it stays so",
    ),
    "malformed": (
        "the provider's, or of a proxy before it: that is not its protocol",
        "check base_url=; error.body has what came",
    ),
    "unknown": ("the provider's: it says no more", "error.body has all it said"),
}


def explain(error: BaseException) -> str:
    """What happened, whose fault it is and what to do next, in three lines.

    The first is the class and the message, on one line: it may hold the provider's or the model's words.
    """
    name = type(error).__name__
    what = " ".join(f"{name}: {error}".split())
    whose, todo = _judged(error)
    if isinstance(error, TurnError) and not isinstance(error, Refused):  # which knows no usage
        whose = f"{whose}; {_charged(error)}"
    return f"{what}\nWhose fault: {whose}.\nWhat to do: {todo}."


def _charged(error: TurnError) -> str:
    usage = error.usage
    if not usage.total_tokens and not usage.cost_usd:
        return "nothing is charged"
    cost = "" if usage.cost_usd is None else f" (${usage.cost_usd})"
    return f"charged are {usage.total_tokens:,} tokens{cost}, {usage.known}"


def _judged(error: BaseException) -> tuple[str, str]:
    match error:
        case ProviderError():
            whose, todo = _KINDS[error.kind]
            if error.retry_after is not None:
                todo = f"wait {error.retry_after:g} s, as the provider asks; {todo}"
            return whose, f"{todo}; its request id is {error.request_id}" if error.request_id else todo
        case TurnError():
            return _turn(error)
        case StoreError():
            return _store(error)
        case UsageError():
            return _usage(error)
        case CallTaken():
            return (
                "nobody's: another run has the call, or a run that ended may have run it",
                "wait for that run, or choose with restarted= what to do with a call that may have happened",
            )
        case ToolError():
            return "the tool's, on purpose", "nothing: the model is told these words"
        case OSError():
            return "of the file or the system", "check the path, and that you may read and write there"
        case _:
            return "most likely lutum's", "report it, with the traceback"


def _turn(error: TurnError) -> tuple[str, str]:
    match error:
        case NetworkError():
            return (
                "the network's, or an address that is wrong",
                "check base_url=, the proxy variables and the connection; retry=RetryPolicy() asks again",
            )
        case Interrupted():
            return (
                "the provider's or the network's: half an answer is no result",
                "ask again; error.partial has what came",
            )
        case TurnTimeout(reason="connect"):
            return "the network's, or an address that is wrong", "check base_url= and the connection"
        case TurnTimeout(reason=reason):
            return (
                f"the provider's, or of a limit that is too short: {reason}={error.seconds:g}",
                f"ask again, or allow more with .timeout({reason}=...); error.partial has what came",
            )
        case BudgetExceeded(started=True):
            return (
                "the limit's, which is yours: the answer was longer than was reserved and left",
                "raise the limit, or bound the answer with .max_output_tokens(); error.partial has what came",
            )
        case BudgetExceeded():
            return (
                "the limit's, which is yours: nothing was sent",
                "raise it, ask for less with .max_output_tokens(), or wait: on_exhausted='wait'",
            )
        case OutputLimitExceeded():
            return (
                "of .max_output_tokens(), which is too small for the value",
                "raise it; error.partial.json has what came",
            )
        case OutputInvalid():
            return (
                "the model's: that is no value of the type",
                "ask again and quote the reason; error.raw has what it said",
            )
        case ContractViolation():
            return (
                "the model's: the request ruled that out",
                "ask again; if it calls tools, offer them with .tools()",
            )
        case Stopped():
            return "nobody's: your handler said so", "nothing; error.partial has what came"
        case Refused():
            return "the model's decision", "ask in another way, or look at result.refusal before result.value"
        case _:
            return "not known", "error.partial has what came"


def _store(error: StoreError) -> tuple[str, str]:
    match error:
        case StoreValue():
            return "yours: nothing was stored", "give another value, as the message says"
        case StaleBranch():
            return (
                "nobody's: another program moved the branch first, and nothing was stored",
                "read the new head with branch.pull(), or store this session in a fork",
            )
        case NoSuchBranch():
            return "yours: nothing was stored", "check the name, or create the branch"
        case BranchExists():
            return "yours: nothing was stored", "use another name, or open the branch that is there"
        case RoundOpen():
            return (
                "nobody's: the branch waits for the calls of a round, and nothing was stored",
                "commit the round of branch.held(), or drop it with branch.discard()",
            )
        case StoreBusy():
            return "the database's: others keep it locked", "try again, or give connect() a larger timeout="
        case StoreFormat():
            return "the file's or the database's: it is not a store that this version reads", (
                "check the URL, or update lutum"
            )
        case StoreCorrupt():
            return "the database's: a row is damaged", "restore a backup; items before it can still be read"
        case _:
            return "the database's: nothing was stored", "check the URL, the server and the disk"


def _usage(error: UsageError) -> tuple[str, str]:
    yours = "yours: nothing was sent and nothing is charged"
    match error:
        case BadValue(field="api_key" | "auth_token"):
            return yours, "set the variable in the shell that starts the program, or give api_key="
        case BadValue():
            return yours, "give another value there, as the message says"
        case StaleCommit():
            return (
                "yours: the session moved on after the turn was built",
                "commit before you push, or place the turn on purpose with session.push_turn(result.turn)",
            )
        case TurnNotFinished():
            return (
                "yours: a result is there when `async for` has come to its end",
                "read the stream to its end inside the block, or use turn.partial",
            )
        case EstimateRequired():
            return yours, "say how much to reserve, count with estimate=exact_estimate, or set no limit"
        case UnpricedModel():
            return yours, "give its price, or limit tokens instead of dollars"
        case HookBusy():
            return (
                "yours: the hook asked, directly or not, for what it answers",
                "ask before, or take it out of Stateful",
            )
        case TranscriptError():
            return (
                "of whoever made the items or wrote the file; nothing was changed",
                "mend what the message names: a backup, or the lines before it, still load",
            )
        case _:
            return yours, "change the call as the message says"
