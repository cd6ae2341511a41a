"""Every Python block of the README and of docs/ runs, and parity.md decides every row of the ancestor.

How a page is read:

- The ```python blocks of a page are one program, run in order in one namespace.
- A block may `await` at its top level, as in a notebook: it is then the body of an async function.
- Functions named `test_*` that a block defines are called, with the page's fixtures.
- A ```text block right behind a ```python block is what that block prints.
- `my_app` is the reader's own module; here it keeps transcripts in memory.
- Pages import the examples that are packages.

Nothing leaves the machine: `ANTHROPIC_BASE_URL` names a wire server on the loopback.
"""

import ast
import builtins
import contextlib
import inspect
import io
import re
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anyio.from_thread import start_blocking_portal
from docs_provider import answer
from hypothesis import settings

import lutum
from lutum.store import Store
from lutum.testing.wire import WireServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def id_of(page: Path) -> str:
    """The path of a page in the repository."""
    return str(page.relative_to(ROOT)).removeprefix("docs/")


class Block(NamedTuple):
    """A fenced block: its language, the line of its first line of code, and its code."""

    language: str
    line: int
    code: str


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order; other text between two makes an entry without language."""
    found: list[Block] = []
    fence: int | None = None
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if fence is None and line.startswith("```"):
            fence = number
        elif fence is not None and line.rstrip() == "```":
            language = lines[fence - 1].removeprefix("```").strip()
            found.append(Block(language, fence + 1, "\n".join(lines[fence : number - 1]) + "\n"))
            fence = None
        elif fence is None and line.strip():
            found.append(Block("", number, line))
    assert fence is None, f"{page.name}:{fence}: a fence is not closed"
    return found


def run_block(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run a block in the page's namespace; returns what it prints."""
    known = set(names)
    code = compile(
        "\n" * (block.line - 1) + block.code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if code.co_flags & inspect.CO_COROUTINE:

            async def body() -> None:
                await types.FunctionType(code, names)()

            lutum.run(body)
        else:
            exec(code, names)
        for name in sorted(name for name in set(names) - known if name.startswith("test_")):
            if inspect.iscoroutinefunction(names[name]):
                lutum.run(partial(with_fixtures, names[name], names))
            else:
                names[name]()
    return out.getvalue()


async def with_fixtures(test: Any, names: dict[str, Any]) -> None:
    """Run a test of a page with the page's fixtures, which are async generators."""
    async with contextlib.AsyncExitStack() as stack:
        given = [
            await stack.enter_async_context(contextlib.asynccontextmanager(inspect.unwrap(names[name]))())
            for name in inspect.signature(test).parameters
        ]
        await test(*given)


def my_app() -> types.ModuleType:
    """What a page means by the reader's application."""
    module, table = types.ModuleType("my_app"), list[bytes]()

    def insert(transcript: lutum.Transcript) -> int:
        table.append(transcript.dump())
        return len(table) - 1

    def fetch(row: int) -> lutum.Transcript:
        return lutum.Transcript.load(table[row])

    vars(module).update(insert=insert, fetch=fetch)
    return module


def bare(text: str) -> list[str]:
    """The lines of a text without the spaces at their ends, which no page should have to keep."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The URL of the pages' provider, in a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(WireServer(answer)) as server,
    ):
        yield server.url


@pytest.fixture
def few_examples() -> Iterator[None]:
    """A property test on a page is there to be read; that it runs is enough."""
    before = settings.get_current_profile_name()
    settings.register_profile("docs", settings.get_profile(before), max_examples=10)
    settings.load_profile("docs")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_blocks_run(
    page: Path, backend: str, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The blocks of a page run in order, on either backend, and print what the page says."""
    monkeypatch.setattr(lutum, "run", partial(lutum.run, backend=backend))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not a key")
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "NOTAKEY")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    module = types.ModuleType("docs_page")
    vars(module)["__builtins__"] = builtins  # a block with a top-level await is called, not exec'd
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "my_app", my_app())
    blocks = blocks_of(page)
    for block, behind in zip(blocks, [*blocks[1:], Block("", 0, "")], strict=True):
        if block.language != "python":
            continue
        printed = run_block(block, page, vars(module))
        if behind.language == "text":
            assert bare(printed) == bare(behind.code), f"{page.name}:{behind.line}"
    for value in list(vars(module).values()):
        if isinstance(value, Store):  # a page that opens one without `async with`
            lutum.run(partial(value.__aexit__, None, None, None))


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_no_block_is_left_out(page: Path) -> None:
    """No block hides from the tests behind another spelling of its language."""
    languages = {block.language for block in blocks_of(page)}
    # The examples have tests of their own; their source is included when the pages are built.
    examples = {"{.py}"} if page.parent.name == "examples" else set[str]()
    assert languages <= {"", "python", "text", "sh", "json"} | examples


def test_the_page_on_adapters_shows_the_example() -> None:
    """Each block of code is a part of the example, but for the last, which checks it."""
    example = "".join(
        (ROOT / "examples" / "own_adapter" / name).read_text("utf-8") for name in ("dialect.py", "adapter.py")
    )
    page = ROOT / "docs" / "write-an-adapter.md"
    *shown, last = [block for block in blocks_of(page) if block.language == "python"]
    assert "check_adapter" in last.code
    assert len(shown) >= 7
    for block in shown:
        for part in re.split(r"\n{2,}(?=\S)", block.code.strip()):
            assert part in example, f"{page.name}:{block.line}: {part[:60]!r} is not in the example"


# The rows of the ancestor's behaviour, by the prefix of their ids: each is numbered from 01.
ROWS = {
    **{"BND": 28, "EXT": 8, "BTR": 5, "INP": 22, "BLD": 17, "EVN": 16, "RED": 23, "COL": 22},
    **{"SES": 20, "RND": 15, "AGL": 11, "TLI": 10, "TST": 16, "TAV": 13, "THK": 22, "HOK": 33},
    **{"CHK": 7, "BUD": 20, "USG": 12, "RTY": 15, "STR": 9, "CLA": 48, "CLP": 6, "OAI": 13},
    **{"OAR": 23, "OAC": 13, "OAP": 4, "ORT": 5, "MCK": 16, "TRC": 24, "TEL": 10, "EVL": 30},
    **{"EVR": 8, "ERR": 14, "SMK": 15, "DMO": 18, "EXM": 30, "LIM": 31, "DOC": 11},
}
PARITY = ROOT / "tests" / "parity.md"


def parity_rows() -> Iterator[tuple[list[str], str, str]]:
    """(ids, verdict, where or why) of each row of parity.md's tables."""
    for line in PARITY.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not re.match(r"\| [A-Z]{3}-\d\d", line):
            continue
        assert len(cells) == 4, f"parity.md: a row has four cells: {line}"
        yield list(ids_of(cells[0])), cells[2], cells[3]


def ids_of(cell: str) -> Iterator[str]:
    """`BND-01..03, 07` as BND-01, BND-02, BND-03, BND-07."""
    prefix, _, rest = cell.partition("-")
    for span in rest.split(","):
        match = re.fullmatch(r"(\d\d)(?:\.\.(\d\d))?", span.strip())
        assert match, f"parity.md: {cell}"
        first, last = int(match[1]), int(match[2] or match[1])
        assert last >= first, f"parity.md: {cell}"
        yield from (f"{prefix}-{number:02}" for number in range(first, last + 1))


def test_parity_decides_every_row_once() -> None:
    """Each of the ancestor's 663 rows has one verdict."""
    expected = {f"{prefix}-{n:02}" for prefix, count in ROWS.items() for n in range(1, count + 1)}
    assert len(expected) == 663
    found = [row for ids, _, _ in parity_rows() for row in ids]
    assert sorted(row for row in set(found) if found.count(row) > 1) == []
    assert sorted(expected - set(found)) == []
    assert sorted(set(found) - expected) == []


def test_parity_gives_a_place_or_a_reason() -> None:
    """A verdict is one of three; what is built names a file that is there."""
    for ids, verdict, why in parity_rows():
        assert verdict in ("built", "otherwise", "not yet"), f"{ids}: {verdict!r}"
        assert why, f"{ids}: no word where or why"
        for path in re.findall(r"`((?:lutum|adapters|tests|docs|README)[\w/.]*)`", why):
            assert (ROOT / path).exists(), f"{ids}: {path} is not there"
        if verdict == "built":
            assert re.search(r"`[\w/.]+\.(?:py|md)`|`(?:lutum|adapters)/[\w/]+/`", why), (
                f"{ids}: where? {why}"
            )


def test_the_section_that_an_error_names_is_there() -> None:
    """The error for a block that is left in another task sends its reader to a section that exists."""
    assert "\n## One task\n" in (ROOT / "docs" / "execution-model.md").read_text("utf-8")


def test_the_program_of_the_readme_is_typed() -> None:
    """It is the first program of the ladder, and the one that pyright and mypy check in tests/typing."""
    [program] = [block.code for block in blocks_of(ROOT / "README.md") if block.language == "python"]
    assert program == (ROOT / "tests" / "typing" / "readme.py").read_text("utf-8")
    [first] = [
        block.code for block in blocks_of(ROOT / "docs/ladder/one-call.md") if block.language == "python"
    ]
    assert program.replace("  # reads ANTHROPIC_API_KEY", "") == first
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 60
