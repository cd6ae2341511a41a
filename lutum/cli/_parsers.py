"""The arguments of the command line, and its help. `--help` and completion import nothing but argparse."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from lutum.cli._exit_codes import MEANINGS

PROVIDERS = ("claude", "gemini", "openai", "openai-chat", "openrouter")
WIRE = ("wire", "wire-openai", "wire-openai-chat", "wire-gemini")
CASES = ("text", "thinking", "tools", "structured", "replay", "cancel", "usage")
EFFORTS = ("none", "low", "medium", "high", "max")
SHELLS = ("bash", "zsh", "fish")

MODELS = {
    "claude": "claude-sonnet-4-5",
    "gemini": "gemini-3.8-flash",
    "openai": "gpt-5.5",
    "openai-chat": "gpt-5.5",
    "openrouter": "anthropic/claude-sonnet-4.5",
    "wire": "claude-sonnet-4-5",
    "wire-openai": "gpt-5.5",
    "wire-openai-chat": "gpt-5.5",
    "wire-gemini": "gemini-3.8-flash",
}
"""The default model of each provider."""


def _codes() -> str:
    lines = list[str]()
    for code, meaning in MEANINGS.items():
        lines += textwrap.wrap(meaning, 72, initial_indent=f"  {code:<5}", subsequent_indent=" " * 7)
    return "\n".join(lines)


_KEYS = """\
keys in the environment:
  claude               ANTHROPIC_API_KEY
  gemini               GOOGLE_API_KEY or GEMINI_API_KEY
  openai, openai-chat  OPENAI_API_KEY
  openrouter           OPENROUTER_API_KEY
The wire providers need no key. They are test servers inside this process, which
repeat your message.
"""

_MAIN = """\
examples:
  lutum ask "Name three rivers."      print the answer, and nothing else
  cat log | lutum ask "What broke?"   ask about piped input
  lutum demo                          see what lutum does, without a key
  lutum chat -m wire                  try the chat without a key
  lutum chat --session trip.jsonl     talk to Claude, and continue tomorrow
  lutum show trip.jsonl               print that conversation
  lutum smoke --provider openai-chat --base-url http://box:8000/v1 --model m
                                      test what your own server can do
`lutum COMMAND --help` explains a command.
"""

_DEMO = """\
Runs a conversation over real HTTP, and shows it as it streams:

  1. a turn with thinking           stored when your code commits it
  2. three branches of one session  at the same time, in a nursery
  3. a turn that takes too long     the socket is closed, the text is kept
  4. a stream cut in the middle     an error; there is no result to commit
  5. a budget that refuses          before anything is sent
  6. dump, and load elsewhere       a second process makes the same request

The provider is a wire server inside this process. It needs no key and no
network, and costs nothing. --provider selects its protocol:

  wire              Claude's Messages
  wire-openai       OpenAI's Responses
  wire-openai-chat  Chat Completions
  wire-gemini       Gemini's generateContent

With --provider claude the demo uses the real API, which costs a few cents, and
leaves out scene 4. The key is read from ANTHROPIC_API_KEY.
"""
_DEMO_EXAMPLES = """\
examples:
  lutum demo
  lutum demo --backend asyncio
  lutum demo --provider wire-openai
  ANTHROPIC_API_KEY=... lutum demo --provider claude --model claude-sonnet-4-5

On a terminal the output has colours, unless NO_COLOR is set, and the branches
are side by side if there are at least 100 columns. Elsewhere it is plain text.
The exit code is 0 if everything happened as described, 1 if something did not,
2 if the arguments are wrong, and 130 after Ctrl-C.
"""

_ASK = """\
Asks one question. Standard output contains only the answer. Notes, tool calls
and errors are on standard error. Piped input is appended to the question.
"""
_ASK_EXAMPLES = f"""\
examples:
  lutum ask "Name three rivers."
  lutum ask -m openai:gpt-5.5 --effort low "Why is the sky blue?"
  lutum ask -m chat:llama3@http://localhost:11434/v1 "Are you there?"
  git diff | lutum ask -s "You review code." "What is wrong here?"
  lutum ask -a plan.pdf -a photo.png "What does the photo add?"
  lutum ask --schema order.json < mail.txt | jq .total
  lutum ask --tools shop:tools --approve "Cancel order 7."
  lutum ask --store sqlite:chats.db --branch trip "And by train?"

{_KEYS}
Without -m the model is the one in the variable LUTUM_MODEL. If that is not set,
it is {MODELS["claude"]}.

exit codes:
{_codes()}
"""

_CHAT = """\
Talks to a model. The answers are streamed. Ctrl-C stops the answer but not the
program; the question and the partial answer are kept. With --session every
exchange is in the file before the next prompt is shown. If standard input is
not a terminal, all of it is one message.

  /retry           send the last question again
  /edit [TEXT]     edit a message in $EDITOR
  /attach FILE     add an image or document to the next message
  /model [NAME]    show the model, or change it
  /system TEXT     add a system message here
  /effort [LEVEL]  show or set how much the model may reason
  /branch NAME     begin a branch here, and switch to it
  /branches        list the branches
  /switch NAME     switch to another branch
  /undo            remove the last exchange
  /budget          show the tokens used
  /trace           show how long each step of the last turn took
  /save FILE       write the branch as a transcript
  /help            list all commands
  /quit            end the chat; Ctrl-D does the same
"""
_CHAT_EXAMPLES = f"""\
examples:
  lutum chat -m wire
  lutum chat --system "You are a pilot." --session pilot.jsonl
  lutum chat --session pilot.jsonl    continue the conversation another day
  lutum chat --store sqlite:chats.db --branch trip
  echo "Name a river." | lutum chat -m openai:gpt-5.5

{_KEYS}
The file contains all branches, and the chat only appends to it. `lutum show`
prints it. The exit code is 0. It is 1 if the chat could not start, or if a turn
failed and the input or output is not a terminal.
"""

_SHOW = """\
Prints a transcript, or all branches of a chat: messages with their roles,
thinking, tool calls with their results, and for each turn whether it is
replayed exactly.
"""
_SHOW_EXAMPLES = """\
examples:
  lutum show pilot.jsonl
  lutum show pilot.jsonl | less
  lutum show sqlite:chats.db          branches of a store, sizes and cost
  lutum show sqlite:chats.db --branch trip
  lutum show --raw pilot.jsonl > everything.txt

Control sequences, which could steer a terminal, are removed. --raw prints them
unchanged; use it only with text that you trust.
"""

_SMOKE = """\
Tests an endpoint with about ten small requests. The verdicts of the cases:

  works     the endpoint does what was requested
  lacking   the endpoint does not have the feature: it refuses or ignores it
  broken    the endpoint fails in a way that no endpoint should
  not run   the case could not be tested: no connection, no key, a rate limit

The cases:

  text        the answer is streamed and ends
  thinking    the model thinks on request
  tools       the model calls a tool and reads the result
  structured  the model returns a value of a type
  replay      a stored turn is sent back exactly
  cancel      a turn is ended in mid-stream, and the next one is answered
  usage       the tokens of a turn are reported
"""
_SMOKE_EXAMPLES = f"""\
examples:
  lutum smoke --provider openai-chat --base-url http://box:8000/v1 --model m
  lutum smoke -m claude:claude-sonnet-4-5 --only thinking --only replay
  lutum smoke --provider openrouter --model openai/gpt-5 --dump dump/
  lutum smoke -m wire

{_KEYS}
With --base-url a key is optional. If the URL belongs to a cloud, the command
reads the credentials of the cloud from the environment, and lists the features
that the cloud is known to lack:
  Bedrock    AWS_BEARER_TOKEN_BEDROCK or AWS credentials
  Azure      ANTHROPIC_FOUNDRY_API_KEY or AZURE_OPENAI_API_KEY
  Vertex AI  GOOGLE_CLOUD_PROJECT and CLOUDSDK_AUTH_ACCESS_TOKEN

Each case may use at most 20,000 tokens; all cases together use a few thousand.
The exit code is 0 if every case was run and none is broken. With --strict, no
case may be lacking either.
"""

_EVAL = """\
Shows the folder of an evaluation (`lutum.eval.run`, `grid`): the report and all
trials, selected trials, one trial with its trace, or a comparison of two runs.
"""
_EVAL_EXAMPLES = """\
examples:
  lutum eval runs/monday                      report and trials
  lutum eval runs/monday --errors             trials without a score
  lutum eval runs/monday --below 0.5 --tag maths
  lutum eval runs/monday --trial switzerland  one trial, with its trace
  lutum eval runs/monday --compare runs/tuesday
  lutum eval runs/grid --arm plain --compare please
  lutum eval runs/monday --html monday.html   one page that needs no network

A change marked with * is significant: its 95 % interval does not contain zero.
The exit code is 0, or 1 if a folder cannot be read or a page cannot be written.
"""

_BUDGET = """\
Shows the ledgers of a Redis server (lutum.redis): limits, spent and reserved
amounts, rates, processes and waiting requests. These options change a ledger:

  --reap PROCESS     declare a process dead: charge its sent leases, and release
                     the others
  --stop LIMIT       end the turns that use the limit, in every process; "*" is
                     the whole ledger
  --resume LIMIT     let a stopped limit grant leases again
  --set-spent LIMIT=FIGURE
                     set the spent amount after a loss of data, and open the
                     ledger again; FIGURE is TOKENS, $DOLLARS, or both with a
                     comma
"""
_BUDGET_EXAMPLES = """\
examples:
  lutum budget redis://localhost:6379/0
  lutum budget redis://localhost:6379/0 --watch
  lutum budget redis://localhost:6379/0 --name team --json
  lutum budget redis://localhost:6379/0 --name team --stop user/7 --reason abuse
  lutum budget redis://localhost:6379/0 --name team --set-spent 'run=120000,$4.80'

The command needs `pip install 'lutum[redis]'`. The exit code is 0, or 1 if the
server or the ledger cannot be read or changed.
"""

_COMPLETION = """\
Prints a script that completes lutum's commands and options in a shell. The
script is static: pressing Tab does not start Python. Only printing the script
needs `pip install 'lutum[completion]'`.
"""
_COMPLETION_EXAMPLES = """\
examples:
  lutum completion bash > ~/.local/share/bash-completion/completions/lutum
  lutum completion zsh > ~/.zfunc/_lutum        with ~/.zfunc in $fpath
  lutum completion fish > ~/.config/fish/completions/lutum.fish
"""


class _Version(argparse.Action):
    """`--version`, which reads the version only when it is used."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from lutum.cli._version import installed_version

        print(f"lutum {installed_version()}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="lutum",
        description="A streaming LLM toolkit in which your code owns the loop.",
        epilog=_MAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = top.add_subparsers(dest="command", metavar="command", title="commands")

    def command(name: str, help: str, about: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help,
            description=about,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _ask(command("ask", "ask one question; print only the answer", _ASK, _ASK_EXAMPLES))
    _demo(command("demo", "show in seconds what lutum does, without a key", _DEMO, _DEMO_EXAMPLES))
    _chat(command("chat", "talk to a model, with branches and undo", _CHAT, _CHAT_EXAMPLES))
    _show(command("show", "print a transcript, or the branches of a chat", _SHOW, _SHOW_EXAMPLES))
    _trace(
        commands.add_parser(
            "trace",
            help="show a stored trace, as text or as a page",
            description="Shows a trace from `Trace.dump` or `capture(to=...)`, even of a killed process.",
        )
    )
    _smoke(command("smoke", "test what an endpoint can do", _SMOKE, _SMOKE_EXAMPLES))
    _eval(command("eval", "show an evaluation: trials, traces, comparisons", _EVAL, _EVAL_EXAMPLES))
    _budget(command("budget", "show and change a budget of many processes", _BUDGET, _BUDGET_EXAMPLES))
    completion = command(
        "completion", "print a script for the shell's Tab key", _COMPLETION, _COMPLETION_EXAMPLES
    )
    completion.add_argument("shell", choices=SHELLS)
    return top


def _demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--backend", choices=("trio", "asyncio"), default="trio", help="the event loop (default: trio)"
    )
    demo.add_argument(
        "--provider",
        choices=(*WIRE, "claude"),
        default="wire",
        metavar="NAME",
        help=f"{', '.join(WIRE)} (inside this process), or claude, the real API (default: wire)",
    )
    demo.add_argument("--model", help=f"a model of the real provider (default: {MODELS['claude']})")


def _ask(ask: argparse.ArgumentParser) -> None:
    ask.add_argument(
        "words", nargs="*", metavar="QUESTION", help="the question; several arguments are joined"
    )
    _endpoint(ask, (*PROVIDERS, *WIRE))
    _turn(ask)
    ask.add_argument(
        "--schema",
        metavar="FILE",
        help="answer with JSON: FILE.json is a JSON schema, module:name is a type",
    )
    ask.add_argument(
        "--budget", metavar="AMOUNT", help="the most to spend: 0.05usd, 5000tokens or redis://SERVER#LEDGER"
    )
    ask.add_argument("--json", action="store_true", help="print text, usage and ids as one line of JSON")
    ask.add_argument(
        "--tools", action="append", default=[], metavar="MODULE:NAME", help="tools that the model may call"
    )
    ask.add_argument(
        "--mcp", action="append", default=[], metavar="COMMAND", help="tools of an MCP server, or its URL"
    )
    ask.add_argument(
        "--max-rounds",
        type=_positive,
        default=10,
        metavar="N",
        help="the most rounds of tool calls (default: 10)",
    )
    ask.add_argument("--approve", action="store_true", help="ask you on the terminal before each tool call")
    ask.add_argument(
        "--store",
        metavar="URL",
        help="continue a branch of a store, and save it: sqlite:FILE or postgresql://...",
    )
    ask.add_argument("--branch", metavar="NAME", help="the branch of the store (default: main)")
    ask.add_argument("--no-stdin", action="store_true", help="do not read standard input")
    ask.add_argument(
        "--raw", action="store_true", help="print the model's text unchanged, with its control sequences"
    )
    ask.add_argument("-v", "--verbose", action="store_true", help="show reasoning and usage on stderr")


def _turn(parser: argparse.ArgumentParser) -> None:
    """Settings of a turn, for ask and chat."""
    parser.add_argument("-s", "--system", metavar="TEXT", help="the system prompt")
    parser.add_argument(
        "-a", "--attach", action="append", default=[], metavar="FILE", help="an image or document, or its URL"
    )
    parser.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the provider, or temperature, top_p, seed, stop",
    )
    parser.add_argument(
        "--max-output-tokens", type=_positive, metavar="N", help="the output limit of a turn, in tokens"
    )
    parser.add_argument("--effort", choices=EFFORTS, help="how much the model may reason")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _chat(chat: argparse.ArgumentParser) -> None:
    _endpoint(chat, (*PROVIDERS, *WIRE))
    _turn(chat)
    chat.add_argument("--session", metavar="FILE", help="keep the conversation in this file, and continue it")
    chat.add_argument(
        "--store", metavar="URL", help="keep the conversation in a store: sqlite:FILE or postgresql://..."
    )
    chat.add_argument("--branch", metavar="NAME", help="the branch of the store (default: main)")
    chat.add_argument("--plain", action="store_true", help="do not format Markdown")
    chat.add_argument(
        "--lines", action="store_true", help="in piped input, each line is a message or command"
    )
    chat.add_argument(
        "--raw", action="store_true", help="print the model's text unchanged, with its control sequences"
    )


def _show(show: argparse.ArgumentParser) -> None:
    show.add_argument("file", metavar="FILE", help="a transcript, the session of a chat, or a store's URL")
    show.add_argument("--branch", metavar="NAME", help="print one branch of a store")
    show.add_argument("--raw", action="store_true", help="print all text unchanged and in full")


def _trace(trace: argparse.ArgumentParser) -> None:
    trace.add_argument("file", metavar="FILE", help="the trace; - reads it from standard input")
    trace.add_argument("--html", metavar="OUT", help="write a page to this file instead; it needs no network")


def _eval(evaluation: argparse.ArgumentParser) -> None:
    evaluation.add_argument("run", metavar="RUN", help="the folder of a run or of a grid")
    evaluation.add_argument("--arm", metavar="NAME", help="an arm of a grid")
    evaluation.add_argument("--case", metavar="PATTERN", help="cases whose id matches, such as 'q1*'")
    evaluation.add_argument("--tag", metavar="TAG", help="cases with this tag")
    evaluation.add_argument("--errors", action="store_true", help="trials that ended in an error")
    evaluation.add_argument("--failed", action="store_true", help="trials below the run's threshold")
    evaluation.add_argument("--below", metavar="SCORE", type=float, help="trials with a lower score")
    evaluation.add_argument("--score", metavar="NAME", help="one of several named scores")
    shown = evaluation.add_mutually_exclusive_group()
    shown.add_argument("--trial", metavar="CASE[:N]", help="one trial, with its trace")
    shown.add_argument("--compare", metavar="OTHER", help="another run, or another arm of the grid")
    shown.add_argument("--html", metavar="OUT", help="write a page to this file; it needs no network")
    shown.add_argument("--json", action="store_true", help="print the trials as JSON lines")


def _budget(budget: argparse.ArgumentParser) -> None:
    budget.add_argument("url", metavar="URL", help="the server: redis://, rediss:// or unix://")
    budget.add_argument("--name", metavar="NAME", help="the ledger (default: all ledgers of the server)")
    shown = budget.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print it as JSON")
    shown.add_argument("--watch", action="store_true", help="show it live, until Ctrl-C")
    budget.add_argument("--reap", metavar="PROCESS", help="declare a process dead")
    budget.add_argument("--stop", metavar="LIMIT", help="end the turns that use a limit")
    budget.add_argument("--reason", metavar="TEXT", help="the reason in the error of the ended turns")
    budget.add_argument("--resume", metavar="LIMIT", help="let a stopped limit grant leases again")
    budget.add_argument(
        "--set-spent", action="append", metavar="LIMIT=FIGURE", help="set the spent amount of a limit"
    )


def _smoke(smoke: argparse.ArgumentParser) -> None:
    _endpoint(smoke, (*PROVIDERS, "openai-completions", *WIRE))
    smoke.add_argument(
        "--only", action="append", choices=CASES, metavar="CASE", help=f"run this case: {', '.join(CASES)}"
    )
    smoke.add_argument("--strict", action="store_true", help="treat a lacking feature as a failure")
    smoke.add_argument(
        "--json", action="store_true", help="print the result as JSON, and the table on stderr"
    )
    smoke.add_argument("--dump", metavar="DIR", help="keep what was sent and received in this folder")


def _endpoint(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument(
        "-m", "--model", metavar="PROVIDER:MODEL", help="the model; PROVIDER:MODEL@URL for your own server"
    )
    parser.add_argument(
        "--provider",
        choices=names,
        help=f"one of {', '.join(names)}; --model is then only the model's name",
        metavar="NAME",
    )
    parser.add_argument(
        "--base-url", metavar="URL", default="", help="the URL of another server with the provider's protocol"
    )
