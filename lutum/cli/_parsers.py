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
keys:
  claude ANTHROPIC_API_KEY, gemini GOOGLE_API_KEY or GEMINI_API_KEY, openai and
  openai-chat OPENAI_API_KEY, openrouter OPENROUTER_API_KEY. The wire providers
  need none: they are a server inside this process, which repeats what it hears.
"""

_MAIN = """\
examples:
  lutum ask "Name three rivers."      the answer, and nothing else, on stdout
  cat log | lutum ask "What broke?"   the question, then the input
  lutum demo                          what lutum does, in seconds, without a key
  lutum chat -m wire                  try the chat without a key
  lutum chat --session trip.jsonl     talk to Claude, and go on tomorrow
  lutum show trip.jsonl               read it
  lutum smoke --provider openai-chat --base-url http://box:8000/v1 --model m
                                      what your own server can do
`lutum COMMAND --help` says more about each.
"""

_DEMO = """\
Runs a conversation from end to end, over real HTTP, and shows it as it streams:

  1. a turn with thinking           committed only when you say so
  2. three branches of one session  at the same time, in a nursery
  3. a turn that takes too long     the socket is closed, what came is kept
  4. a stream cut in the middle     an error, never half an answer
  5. a budget that refuses          before a byte is sent
  6. dump, and load elsewhere       a second process makes the same request

The provider is a wire server inside this process: no key, no network, no cost.
It speaks Claude's Messages; with --provider wire-openai OpenAI's Responses,
with --provider wire-openai-chat Chat Completions, with --provider wire-gemini
Gemini's generateContent.
With --provider claude it is the real API, at its prices (a few cents), without
scene 4; the key is read from ANTHROPIC_API_KEY.
"""
_DEMO_EXAMPLES = """\
examples:
  lutum demo
  lutum demo --backend asyncio
  lutum demo --provider wire-openai
  ANTHROPIC_API_KEY=... lutum demo --provider claude --model claude-sonnet-4-5

It is in colour on a terminal, unless NO_COLOR is set, with the branches side by
side from 100 columns on; elsewhere plain text. The exit code is 0 when all went
as described, 1 when something did not, 2 for wrong arguments, 130 after Ctrl-C.
"""

_ASK = """\
Asks one question. The answer alone is on standard output; notes, calls of tools
and errors are on standard error. What is piped in goes behind the question.
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
Without -m the model is that of LUTUM_MODEL, else {MODELS["claude"]}.

exit codes:
{_codes()}
"""

_CHAT = """\
Talks to a model, as it streams. Ctrl-C stops the answer and not the program;
the question and what came of the answer stay. With --session every exchange is
in the file before the next prompt is shown. Standard input that is not a
terminal is one message.

  /retry         ask the last question again
  /edit [TEXT]   write in $EDITOR           /attach FILE   an image or document
  /model [NAME]  go on with another model   /effort [LEVEL]  how much it reasons
  /system TEXT   add a system message here  /help          all commands
  /branch NAME   begin a branch here, and go on in it
  /branches      list the branches          /switch NAME   go on in another one
  /undo          take the last exchange back
  /budget        tokens used                /trace         time of the last turn
  /save FILE     the branch as a transcript /quit          end; so does Ctrl-D
"""
_CHAT_EXAMPLES = f"""\
examples:
  lutum chat -m wire
  lutum chat --system "You are a pilot." --session pilot.jsonl
  lutum chat --session pilot.jsonl    the same conversation, another day
  lutum chat --store sqlite:chats.db --branch trip
  echo "Name a river." | lutum chat -m openai:gpt-5.5

{_KEYS}
The file holds all branches and only grows; `lutum show` reads it. The exit code
is 0; 1 when it could not begin, or a turn failed and nobody was there to see.
"""

_SHOW = """\
Prints a transcript, or all branches of a chat: who said what, thinking, tool
calls with their results, and of each turn whether it goes back exactly.
"""
_SHOW_EXAMPLES = """\
examples:
  lutum show pilot.jsonl
  lutum show pilot.jsonl | less
  lutum show sqlite:chats.db          the branches of a store, sizes and cost
  lutum show sqlite:chats.db --branch trip
  lutum show --raw pilot.jsonl > everything.txt

What would steer a terminal is left out; --raw prints it all, at your risk.
"""

_SMOKE = """\
Tries an endpoint, in about ten small requests, and says of each case whether it

  works     it does what is asked
  lacking   the endpoint does not offer it: it refuses, or takes no notice
  broken    it fails in a way that no endpoint should
  not run   the question was never answered: no connection, no key, a rate limit

  text        words, as a stream, and the end     thinking  when it is asked for
  tools       a call, its result, an answer       structured  a value of a type
  replay      a stored turn goes back exactly     cancel    left in mid-stream
  usage       tokens are reported
"""
_SMOKE_EXAMPLES = f"""\
examples:
  lutum smoke --provider openai-chat --base-url http://box:8000/v1 --model m
  lutum smoke -m claude:claude-sonnet-4-5 --only thinking --only replay
  lutum smoke --provider openrouter --model openai/gpt-5 --dump dump/
  lutum smoke -m wire

{_KEYS}
At a --base-url a key is optional. At a cloud's address it is the cloud's:
  Bedrock AWS_BEARER_TOKEN_BEDROCK or AWS credentials, Azure
  ANTHROPIC_FOUNDRY_API_KEY or AZURE_OPENAI_API_KEY, Vertex AI
  GOOGLE_CLOUD_PROJECT and CLOUDSDK_AUTH_ACCESS_TOKEN; what its door is known to
  lack is named.
No case may use more than 20,000 tokens; all together use a few thousand. The
exit code is 0 when nothing is broken and every case was run; with --strict
nothing may be lacking either.
"""

_EVAL = """\
Shows the folder of an evaluation (`lutum.eval.run`, `grid`): the report and its
trials, those of some cases, one trial with its trace, or two runs side by side.
"""
_EVAL_EXAMPLES = """\
examples:
  lutum eval runs/monday                      report and trials
  lutum eval runs/monday --errors             what has no score
  lutum eval runs/monday --below 0.5 --tag maths
  lutum eval runs/monday --trial switzerland  one trial, with its trace
  lutum eval runs/monday --compare runs/tuesday
  lutum eval runs/grid --arm plain --compare please
  lutum eval runs/monday --html monday.html   one page, no network needed

A difference marked with * is more than chance: its interval holds no zero. The
exit code is 0, or 1 when a folder cannot be read or a page cannot be written.
"""

_BUDGET = """\
Shows the ledgers of a Redis server (lutum.redis): limits, what was spent and is
reserved, rates, processes and those that wait. One change at a time:

  --reap PROCESS     take it for dead: charge its sent leases, release the others
  --stop LIMIT       end what runs under that limit, in every process; "*" is all
  --resume LIMIT     let it grant again
  --set-spent LIMIT=FIGURE
                     after a loss of data: set what was spent, and open the ledger
                     again; FIGURE is tokens, $dollars, or both with a comma
"""
_BUDGET_EXAMPLES = """\
examples:
  lutum budget redis://localhost:6379/0
  lutum budget redis://localhost:6379/0 --watch
  lutum budget redis://localhost:6379/0 --name team --json
  lutum budget redis://localhost:6379/0 --name team --stop user/7 --reason abuse
  lutum budget redis://localhost:6379/0 --name team --set-spent 'run=120000,$4.80'

It needs `pip install 'lutum[redis]'`. The exit code is 0, or 1 when the server
or the ledger cannot be read or changed.
"""

_COMPLETION = """\
Prints a script that completes lutum's commands and options in a shell. It is
static: pressing Tab starts no Python. To print it, and only for that, you need
`pip install 'lutum[completion]'`.
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

    _ask(command("ask", "ask one question; the answer alone on stdout", _ASK, _ASK_EXAMPLES))
    _demo(command("demo", "show in seconds what lutum does, without a key", _DEMO, _DEMO_EXAMPLES))
    _chat(command("chat", "talk to a model, with branches and undo", _CHAT, _CHAT_EXAMPLES))
    _show(command("show", "print a transcript, or the branches of a chat", _SHOW, _SHOW_EXAMPLES))
    _trace(
        commands.add_parser(
            "trace",
            help="show a trace that was kept: as text here, or as a page",
            description="Shows a trace of `Trace.dump` or `capture(to=...)`, of a killed process too.",
        )
    )
    _smoke(command("smoke", "try what an endpoint can do", _SMOKE, _SMOKE_EXAMPLES))
    _eval(command("eval", "show an evaluation: trials, traces, comparisons", _EVAL, _EVAL_EXAMPLES))
    _budget(command("budget", "show and steer a budget of many processes", _BUDGET, _BUDGET_EXAMPLES))
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
        help=f"one of {', '.join(WIRE)}: a server inside this process (default: wire), or the real claude",
    )
    demo.add_argument("--model", help=f"a model of the real provider (default: {MODELS['claude']})")


def _ask(ask: argparse.ArgumentParser) -> None:
    ask.add_argument("words", nargs="*", metavar="QUESTION", help="the question; several words are one")
    _endpoint(ask, (*PROVIDERS, *WIRE))
    _turn(ask)
    ask.add_argument(
        "--schema",
        metavar="FILE",
        help="answer with JSON: a schema in FILE.json, or a type as module:name",
    )
    ask.add_argument(
        "--budget", metavar="AMOUNT", help="spend no more: 0.05usd, 5000tokens or redis://SERVER#LEDGER"
    )
    ask.add_argument("--json", action="store_true", help="print text, usage and ids as one line of JSON")
    ask.add_argument(
        "--tools", action="append", default=[], metavar="MODULE:NAME", help="tools that the model may call"
    )
    ask.add_argument(
        "--mcp", action="append", default=[], metavar="COMMAND", help="tools of an MCP server, or its URL"
    )
    ask.add_argument(
        "--max-rounds", type=_positive, default=10, metavar="N", help="rounds of tools at most (default: 10)"
    )
    ask.add_argument("--approve", action="store_true", help="ask on the terminal before each call")
    ask.add_argument(
        "--store", metavar="URL", help="go on in a store, and keep it there: sqlite:FILE or postgresql://..."
    )
    ask.add_argument("--branch", metavar="NAME", help="the branch of the store (default: main)")
    ask.add_argument("--no-stdin", action="store_true", help="do not read standard input")
    ask.add_argument("--raw", action="store_true", help="print the model's text as it is")
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
    parser.add_argument("--max-output-tokens", type=_positive, metavar="N", help="the longest answer")
    parser.add_argument("--effort", choices=EFFORTS, help="how much the model may reason")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _chat(chat: argparse.ArgumentParser) -> None:
    _endpoint(chat, (*PROVIDERS, *WIRE))
    _turn(chat)
    chat.add_argument(
        "--session", metavar="FILE", help="keep the conversation there, and go on from what is there"
    )
    chat.add_argument(
        "--store", metavar="URL", help="keep it in a store instead: sqlite:FILE or postgresql://..."
    )
    chat.add_argument("--branch", metavar="NAME", help="the branch of the store (default: main)")
    chat.add_argument("--plain", action="store_true", help="show Markdown as it is written")
    chat.add_argument("--lines", action="store_true", help="of a pipe, each line is a message or command")
    chat.add_argument("--raw", action="store_true", help="print the model's text as it is")


def _show(show: argparse.ArgumentParser) -> None:
    show.add_argument("file", metavar="FILE", help="a transcript, the session of a chat, or a store's URL")
    show.add_argument("--branch", metavar="NAME", help="one branch of a store, whole")
    show.add_argument("--raw", action="store_true", help="print all text as it is, and whole")


def _trace(trace: argparse.ArgumentParser) -> None:
    trace.add_argument("file", metavar="FILE", help="the trace; - reads it from standard input")
    trace.add_argument(
        "--html", metavar="OUT", help="write a page there instead: one file, no network needed"
    )


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
    shown.add_argument("--html", metavar="OUT", help="write a page there: one file, no network needed")
    shown.add_argument("--json", action="store_true", help="the trials as JSON lines")


def _budget(budget: argparse.ArgumentParser) -> None:
    budget.add_argument("url", metavar="URL", help="the server: redis://, rediss:// or unix://")
    budget.add_argument("--name", metavar="NAME", help="the ledger; all of the server where it is not given")
    shown = budget.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print it as JSON")
    shown.add_argument("--watch", action="store_true", help="show it live, until Ctrl-C")
    budget.add_argument("--reap", metavar="PROCESS", help="take a process for dead")
    budget.add_argument("--stop", metavar="LIMIT", help="end what runs under a limit")
    budget.add_argument("--reason", metavar="TEXT", help="what the ended turns raise")
    budget.add_argument("--resume", metavar="LIMIT", help="let a limit grant again")
    budget.add_argument(
        "--set-spent", action="append", metavar="LIMIT=FIGURE", help="set what was spent under a limit"
    )


def _smoke(smoke: argparse.ArgumentParser) -> None:
    _endpoint(smoke, (*PROVIDERS, "openai-completions", *WIRE))
    smoke.add_argument(
        "--only", action="append", choices=CASES, metavar="CASE", help=f"this case: {', '.join(CASES)}"
    )
    smoke.add_argument("--strict", action="store_true", help="what is lacking is a failure too")
    smoke.add_argument("--json", action="store_true", help="the result as JSON; the table goes to stderr")
    smoke.add_argument("--dump", metavar="DIR", help="keep there what was sent and what came")


def _endpoint(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument(
        "-m", "--model", metavar="PROVIDER:MODEL", help="the model; PROVIDER:MODEL@URL for your own server"
    )
    parser.add_argument(
        "--provider",
        choices=names,
        help=f"one of {', '.join(names)}; --model is then the model's name alone",
        metavar="NAME",
    )
    parser.add_argument(
        "--base-url", metavar="URL", default="", help="another server that speaks the provider's protocol"
    )
