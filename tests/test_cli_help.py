"""Help that teaches and costs nothing, and completion for shells."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from lutum.cli import _parsers, main

COMMANDS = ["ask", "demo", "chat", "show", "trace", "eval", "smoke", "completion"]
HEAVY = ("lutum_claude", "lutum_openai", "lutum_openrouter", "httpx", "httpcore", "trio", "ssl", "h11")
# Modules of a start that prints help: 325 when this was written, most of them anyio's and asyncio's.
MOST = 335


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What --help prints."""
    with pytest.raises(SystemExit) as ended:
        main([*([command] if command else []), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command has help that fits in 80 columns and shows how it is used."""
    monkeypatch.setenv("COLUMNS", "80")
    text = helped(command, capsys)
    assert max(map(len, text.split("\n"))) <= 80
    assert f"lutum {command}".strip() in text
    if command != "trace":
        assert "examples:\n" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command line that help shows is one."""
    text = helped(command, capsys) + helped("", capsys)
    lines = re.findall(
        rf"^  .*?\blutum ((?:{'|'.join(COMMANDS)}) .*?)(?:   .*| [|>] .*)?$", text, re.MULTILINE
    )
    assert lines
    for line in lines:
        if re.match(r"[a-z]+ (--|wire|bash|zsh|fish|\w+\.jsonl)", line):
            _parsers.parser().parse_args([word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)])


@pytest.mark.parametrize(
    "args", [["--help"], ["smoke", "--help"], ["--version"], ["fly"], ["chat", "--nope"]]
)
def test_a_light_start(args: list[str]) -> None:
    """Help, the version and wrong arguments import no adapter, HTTP client or trio, and not much else."""
    program = (
        "import sys; from lutum.cli import main\n"
        f"try: main({args})\n"
        "except SystemExit: pass\n"
        f"print(len(sys.modules), [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    count, _, heavy = done.stdout.strip().split("\n")[-1].partition(" ")
    assert heavy == "[]"
    assert int(count) < MOST


def test_lists_agree() -> None:
    """What the parser offers without importing it is what is there."""
    from lutum.cli import _providers
    from lutum.cli._smoke_cases import CASES

    assert list(CASES) == list(_parsers.CASES)
    assert list(_providers.PROTOCOLS) == list(_parsers.WIRE)


needs_shtab = pytest.mark.skipif(find_spec("shtab") is None, reason="lutum[completion] is not installed")


@needs_shtab
@pytest.mark.parametrize("shell", _parsers.SHELLS)
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script knows every command and the options; where the shell is there, it can read it."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, "base-url", "session", "wire-openai", "structured"):
        assert word in script
    found = shutil.which(shell)
    if found is not None:
        subprocess.run([found, "-n"], input=script, text=True, check=True)


@needs_shtab
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("lutum s", "show smoke"),
        ("lutum chat --se", "--session"),
        ("lutum chat --provider wire-", "wire-openai wire-openai-chat wire-gemini"),
        ("lutum smoke --only s", "structured"),
        ("lutum completion f", "fish"),
    ],
)
def test_tab_in_bash(typed: str, offered: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tab offers commands, options and choices."""
    assert main(["completion", "bash"]) == 0
    words = typed.split(" ")
    ask = (
        f'\nCOMP_WORDS=({typed})\nCOMP_CWORD={len(words) - 1}\nCOMP_LINE="{typed}"\n'
        'f=$(complete -p lutum | sed -E "s/.*-F ([^ ]+).*/\\1/")\n'
        f'$f lutum "{words[-1]}" "{words[-2]}"\necho "${{COMPREPLY[@]}}"'
    )
    script = capsys.readouterr().out + ask
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True)
    assert done.stdout.split() == offered.split()


def test_without_shtab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where shtab is not installed, it says how to get it."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'lutum[completion]'" in err
