"""`lutum demo` as a person meets it: its screen in a pseudo-terminal, its plain output, its exit codes."""

import os
import re
import select
import struct
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest

import lutum
from lutum.cli import _replay, _scripts, main
from lutum.testing.wire import Answer, Reply, Say, Status, Think, WireRequest, WireServer

fcntl = pytest.importorskip("fcntl", reason="pseudo-terminals are POSIX")
pyte = pytest.importorskip("pyte")
import termios  # noqa: E402  # behind the skip

SCENES = [
    "1. A turn, as it streams",
    "2. Three branches of one session, in a nursery",
    "3. A turn that takes too long",
    "4. A stream cut in the middle",
    "5. A budget that refuses",
    "6. Dump, load in a second process, replay",
    "What was shown, and what it cost",
]
KEY = "sk-ant-not-to-be-shown"
# Of a run that takes five; a busy machine may need more than the ten that a person would wait.
SECONDS = 60

# Ctrl-C reaches the processes of a terminal's session, so the program has to be in one.
# A shell's background job ignores Ctrl-C, and so would what it starts.
LOGIN = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
)


def command(*args: str) -> list[str]:
    """-P: what lies in the current directory is not ours."""
    return [sys.executable, "-P", "-W", "error", "-m", "lutum.cli", "demo", *args]


def environment(**more: str) -> dict[str, str]:
    """Of a shell in which somebody has a key and a proxy, which the demo needs neither of."""
    unwanted = ("NO_COLOR", "COLUMNS", "LINES", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")
    ours = {name: value for name, value in os.environ.items() if name not in unwanted}
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "nonsense://"}
    return {**ours, "TERM": "xterm-256color", "ANTHROPIC_API_KEY": KEY, **proxy, **more}


@dataclass(frozen=True)
class Run:
    """A run that is over: its exit code, what it wrote, and how wide its terminal was."""

    code: int
    written: str
    columns: int

    @property
    def screen(self) -> list[str]:
        """What a person sees, in a terminal high enough for everything."""
        return self.look(self.columns)

    def look(self, columns: int) -> list[str]:
        """The rows as a terminal of that width would show them."""
        screen = pyte.Screen(columns, 300)
        pyte.Stream(screen).feed(self.written.replace("\r\n", "\n").replace("\n", "\r\n"))
        return [row.rstrip() for row in screen.display]

    @property
    def text(self) -> str:
        """All words of the screen, however its lines were broken."""
        return " ".join(" ".join(self.screen).split())

    def scene(self, number: int) -> list[str]:
        """The rows between one title and the next."""
        rows = self.screen
        starts = [next(i for i, row in enumerate(rows) if title.startswith(row) and row) for title in SCENES]
        return rows[starts[number - 1] : starts[number]]


def in_a_terminal(
    args: list[str], columns: int, environ: Mapping[str, str], press_at: bytes | None = None
) -> Run:
    """Run a program in a terminal; Ctrl-C is pressed once `press_at` was written."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 300, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", LOGIN, *args], stdin=theirs, env=environ) as program:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], SECONDS)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            written += piece
            if press_at is not None and press_at in written:
                os.write(ours, b"\x03")
                press_at = None
        else:
            program.kill()
        os.close(ours)
        code = program.wait(SECONDS)
    return Run(code, written.decode(), columns)


def in_a_pipe(args: list[str], folder: Path) -> Run:
    """Run a program as `| cat` does."""
    done = subprocess.run(
        args, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
    )
    assert done.stderr == b""
    return Run(done.returncode, done.stdout.decode(), 80)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One run of each kind, all at the same time: most of it is waiting, so that a person can read."""
    folder = tmp_path_factory.mktemp("decoy")
    for package in ("lutum", "lutum_claude"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("raise SystemExit('not that one')")
    kinds = {
        "80": partial(in_a_terminal, command(), 80, environment()),
        "200": partial(in_a_terminal, command("--backend", "asyncio"), 200, environment()),
        "40": partial(in_a_terminal, command("--backend", "asyncio"), 40, environment()),
        "no colour": partial(in_a_terminal, command(), 120, environment(NO_COLOR="1")),
        "pipe": partial(in_a_pipe, command(), folder),
    }
    with ThreadPoolExecutor(len(kinds)) as pool:
        started = {kind: pool.submit(run) for kind, run in kinds.items()}
        return {kind: run.result() for kind, run in started.items()}


EACH = pytest.mark.parametrize("kind", ["80", "200", "40", "no colour", "pipe"])


@pytest.mark.slow
@EACH
def test_it_goes_well(kind: str, runs: dict[str, Run]) -> None:
    """The exit code is 0 and no warning, traceback or key is to be seen."""
    assert runs[kind].code == 0
    for unwanted in ("Warning", "Traceback", "bytes, different", "failed", KEY):
        assert unwanted not in runs[kind].text


@EACH
def test_the_scenes_come_in_order(kind: str, runs: dict[str, Run]) -> None:
    """Every scene is there, by its title, and then the summary."""
    places = [runs[kind].text.find(title) for title in SCENES]
    assert -1 not in places
    assert places == sorted(places)


@EACH
def test_nothing_overflows(kind: str, runs: dict[str, Run]) -> None:
    """Seen in a terminal twice as wide, every line still ends before the edge of the narrow one."""
    assert max(map(len, runs[kind].look(2 * runs[kind].columns))) < runs[kind].columns


@EACH
def test_no_stray_escape(kind: str, runs: dict[str, Run]) -> None:
    """What is written besides text is style, cursor up, cursor to a column, and erase line."""
    rest = re.sub(r"\x1b\[(\d+m|\d+A|\d+G|2K)", "", runs[kind].written)
    assert re.findall(r"[^\n\r -~]", rest) == []
    assert not re.search(r"\[\d*[A-Za-z]", rest)


def test_no_escape_outside_a_terminal(runs: dict[str, Run]) -> None:
    """In a pipe there is no escape, no redrawing and no colour."""
    assert "\x1b" not in runs["pipe"].written
    assert "\r" not in runs["pipe"].written


def test_no_colour(runs: dict[str, Run]) -> None:
    """With NO_COLOR the cursor still moves, for the columns, but no style is set."""
    assert re.search(r"\x1b\[\d+A", runs["no colour"].written)
    assert not re.search(r"\x1b\[[\d;]*m", runs["no colour"].written)
    assert re.search(r"\x1b\[3\dm", runs["200"].written)


@EACH
def test_thinking_and_answer_are_apart(kind: str, runs: dict[str, Run]) -> None:
    """An empty line stands between the question, the reasoning and the answer."""
    paragraphs = [" ".join(p.split()) for p in "\n".join(runs[kind].scene(1)).split("\n\n")]
    assert paragraphs[1:4] == [
        "> Name three rivers.",
        "(thinking) Three well known ones, on different continents, so that they differ.",
        "The Danube, the Nile and the Mekong.",
    ]


@pytest.mark.parametrize("kind", ["200", "no colour"])
def test_branches_side_by_side(kind: str, runs: dict[str, Run]) -> None:
    """In a wide terminal each branch has its column, and says all it has to say there."""
    rows = runs[kind].scene(2)
    top = next(i for i, row in enumerate(rows) if row.split() == list(_scripts.VOICES))
    starts = [rows[top].index(voice) for voice in _scripts.VOICES]
    for start, end, text in zip(starts, [*starts[1:], None], _scripts.VOICES.values(), strict=True):
        assert " ".join(" ".join(row[start:end] for row in rows[top + 1 :]).split()) == text


@pytest.mark.parametrize("kind", ["80", "40", "pipe"])
def test_branches_with_labels(kind: str, runs: dict[str, Run]) -> None:
    """Elsewhere the branches take turns, and each line says whose it is."""
    lines = [row.partition(" | ") for row in runs[kind].scene(2) if " | " in row]
    labels = [label.strip() for label, _, _ in lines]
    for voice, text in _scripts.VOICES.items():
        assert " ".join(line for label, _, line in lines if label.strip() == voice) == text
    # Interleaved: no branch waits for another one to end.
    assert max(map(labels.index, _scripts.VOICES)) < min(len(labels) - labels[::-1].index(v) for v in labels)


@EACH
def test_failures_say_what_they_are(kind: str, runs: dict[str, Run]) -> None:
    """Each failing scene names its error, what was kept of the answer, and what is charged for it."""
    late, cut, refused = (" ".join(" ".join(runs[kind].scene(n)).split()) for n in (3, 4, 5))
    assert re.search(
        r"> Count .* 1, .* TurnTimeout: total .* Kept: \d+ .* Charged: \d+ tokens, estimated\.", late
    )
    assert re.search(r"meet near Interrupted: .* Kept: \d+ .* Charged: \d+ tokens, estimated\.", cut)
    assert cut.endswith("fork.commit_text(turn.result) raises the same error.")
    assert "BudgetExceeded: " in refused
    assert refused.endswith("Requests that reached the server: 0.")


@EACH
def test_the_replay_is_exact(kind: str, runs: dict[str, Run]) -> None:
    """Both processes and the server agree on the request, by all its bytes."""
    text = " ".join(" ".join(runs[kind].scene(6)).split())
    assert "Committed turn replayed: exact." in text
    found = re.search(r"at the server: (\d+) / (\d+) / (\d+) bytes, equal\.", text)
    assert found is not None
    assert len(set(found.groups())) == 1


@EACH
def test_the_summary_adds_up(kind: str, runs: dict[str, Run]) -> None:
    """The scenes' tokens sum up to what the ledger says, nothing stays reserved, and labels are honest."""
    text = runs[kind].text.partition(SCENES[-1])[2]
    if kind == "40":
        found = re.findall(r"tokens in ([\d,]+), out ([\d,]+), (\w+)", text)
    else:
        found = re.findall(r"(?<= )([\d,]+) +([\d,]+) +(exact|estimated)(?= )", text)
    figures = [(int(a.replace(",", "")), int(b.replace(",", "")), known) for a, b, known in found]
    *scenes, ledger = figures
    assert [known for *_, known in scenes] == ["exact", "exact", "estimated", "estimated", "exact", "exact"]
    assert ledger == (sum(a for a, _, _ in scenes), sum(b for _, b, _ in scenes), "estimated")
    assert scenes[4][:2] == (0, 0)
    assert "Still reserved: 0 tokens. Exact replay" in text


@pytest.mark.parametrize(
    ("backend", "columns", "where"),
    [
        ("trio", 80, b"lutum "),
        ("trio", 80, b"Describe"),
        ("trio", 80, b"meet near"),
        ("asyncio", 120, b"lutum "),
        ("asyncio", 120, b"parties"),
    ],
)
def test_ctrl_c(backend: str, columns: int, where: bytes) -> None:
    """Ctrl-C ends it at once: exit code 130, no traceback, and the cursor at the start of a line."""
    run = in_a_terminal(command("--backend", backend), columns, environment(), press_at=where)
    assert run.code == 130
    assert "Traceback" not in run.text
    assert "Warning" not in run.text
    assert SCENES[-1] not in run.text
    assert run.written.endswith("\n")


def test_a_reader_that_leaves() -> None:
    """`lutum demo | head -1` ends as a program does that writes into a closed pipe, and says nothing."""
    with subprocess.Popen(command(), stdout=PIPE, stderr=PIPE, env=environment()) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith(b"lutum ")
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(SECONDS) == 141


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`lutum` alone prints its help, as an error."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "lutum demo" in err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--version"], 0, "lutum "),
        (["demo", "--help"], 0, "ANTHROPIC_API_KEY"),
        (["demo", "--backend", "curio"], 2, "'trio', 'asyncio'"),
        (["demo", "--model", "x"], 2, "--provider claude"),
        (["fly"], 2, "demo"),
    ],
)
def test_arguments(args: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help teaches, and wrong arguments are refused with the right ones."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert says.replace("'", "") in (err if code else out).replace("'", "")
    assert (out if code else err) == ""


def test_help_is_light() -> None:
    """Help does not wait for an HTTP client to be imported."""
    program = "import sys; from lutum.cli import main\ntry: main(['demo', '-h'])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('httpx', 'trio') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", program], stdout=PIPE, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("variables", "args", "says"),
    [
        ({}, [], "lutum demo: BadValue: api_key: api.anthropic.com needs one: give api_key=, or set"),
        ({"ANTHROPIC_BASE_URL": "nonsense"}, [], None),
        ({"ANTHROPIC_API_KEY": KEY, "HTTPS_PROXY": "nonsense://"}, [], None),
        ({"ANTHROPIC_API_KEY": KEY}, ["--model", " "], "lutum demo: BadValue: model: is blank\n"),
    ],
)
def test_what_keeps_it_from_starting_in_demo(
    variables: dict[str, str],
    args: list[str],
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A missing key, or a setting that cannot be right, is an error in three lines, and no scene begins."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["demo", "--provider", "claude", *args]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(says or "lutum demo: BadValue: ")
    assert err.count("\n") == 3


async def real(server: WireServer, model: str, backend: str) -> subprocess.CompletedProcess[bytes]:
    """The demo with a real provider, which is a wire server all the same."""
    with anyio.fail_after(SECONDS):
        args = command("--provider", "claude", "--model", model, "--backend", backend)
        urls = environment(ANTHROPIC_BASE_URL=server.url, HTTP_PROXY="", ALL_PROXY="")
        return await anyio.run_process(args, env=urls, check=False)


@pytest.mark.parametrize(
    ("anyio_backend", "model", "thinking"),
    [
        ("trio", "claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 1024}),
        ("asyncio", "claude-opus-5-5", {"type": "adaptive", "display": "summarized"}),
    ],
)
async def test_a_real_provider(anyio_backend_name: str, model: str, thinking: object) -> None:
    """The same scenes run on the API, with the model's own form of thinking, and no stream is cut."""
    async with WireServer(default=Reply(Think("Hm."), Say("A river."))) as server:
        done = await real(server, model, anyio_backend_name)
    out = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line for line in out.split("\n") if re.match(r"\d\. ", line)] == [
        f"{number}. {title[3:]}" for number, title in enumerate(SCENES[:3] + SCENES[4:6], 1)
    ]
    assert f"{model} at 127.0.0.1" in out
    assert re.search(r"there and here: (\d+) / \1 bytes, equal\.", out)
    assert [request.outcome for request in server.requests] == ["completed"] * 6
    assert server.requests[0].json["thinking"] == server.requests[-1].json["thinking"] == thinking
    assert server.requests[-1].headers["x-api-key"] == KEY


async def test_one_branch_fails(anyio_backend_name: str) -> None:
    """A provider's error in a nursery is three lines with its reason, not a group and not a traceback."""

    def answer(request: WireRequest) -> Answer:
        if "poet" in request.body.decode():
            return Status(429, error_type="rate_limit_error", message="Slow\x1b[2J down.")
        return Reply("A river.")

    async with WireServer(answer) as server:
        done = await real(server, "claude-sonnet-4-5", anyio_backend_name)
    assert done.returncode == 1
    assert re.match(r"lutum demo: ProviderError: 429 .*Slow down\..*\n", done.stderr.decode())
    assert done.stderr.count(b"\n") == 3


async def test_the_second_process_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process that cannot start, or cannot load, says why in its own last words."""
    url, model = "http://127.0.0.1:9", "claude-sonnet-4-5"
    found = await _replay.next_request(url, model, b"no transcript")
    assert isinstance(found, str)
    assert re.fullmatch("it ended with exit code 1: TranscriptError: .+", found)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = await _replay.next_request(url, model, lutum.Transcript().dump())
    assert isinstance(found, str)
    assert found.startswith("it did not start: ")
    assert "/nowhere/python" in found
