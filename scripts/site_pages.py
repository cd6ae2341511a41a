"""Write the pages that are made of other files: docs/errors.md, docs/examples, and lines of the reference.

    python scripts/site_pages.py             # the errors, and new public names in the reference
    python scripts/site_pages.py --examples  # the examples too: each is run, which takes two minutes

The source of an example is included when the pages are built. `tests/test_site_pages.py` fails when a page is
not what this script writes, or when an output lacks what the example's own test expects.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

ERRORS = """\
# Errors A to Z

Each entry is an error in three lines: its class and message, the cause, and what to do. The command line
prints these lines, and `lutum.explain(exc)` returns all three. A traceback contains them too. The tests raise
each error. The [reference](reference/lutum.md#errors) contains the tree of classes.

To find an error, search this page for words from its message.
"""

INDEX = """\
# Examples

Each example is a program that you can copy. It runs offline, with a scripted provider in the same file. With
`--provider claude` and a key it runs with a real one. Copy its `async def main(llm)`. The outputs are from
offline runs. Paths, times and durations differ between runs.

"""

ALONE = {
    "web_stop": "It streams to a client, so it has no output of its own. It needs `starlette` and `uvicorn`.",
    "web_stream": "It serves a page, so it has no output of its own. It needs `starlette` and `uvicorn`.",
    "durable_dbos": "It needs `dbos`, and its output contains the log of that engine.",
    "queue_dbos": "It needs `dbos`, and its output contains the log of that engine.",
}
TYPED = {
    "chat": ["Which is longest?", "/undo", "/undo", "Which is widest?", "/quit"],
    "approval": ["y", '{"to":"Bo","euros":"ten"}', '{"to":"Bo","euros":10}', "n not before May"],
}


def errors() -> str:
    """Return docs/errors.md."""
    entries = defaultdict[str, list[tuple[str, str]]](list)
    for entry in re.split(r"^# ", (ROOT / "tests" / "errors.txt").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = entry.partition("\n")
        kind = text.partition(":")[0].strip()
        name = kind if re.fullmatch(r"[A-Za-z]+", kind) else "Other"
        entries[name].append((title.strip(), text.strip()))
    lines = [ERRORS]
    for name in sorted(entries, key=str.lower):
        lines.append(f"\n## {name}\n")
        for title, text in sorted(entries[name]):
            lines.append(f"\n### {title[0].upper()}{title[1:]}\n\n```text\n{text}\n```\n")
    return "".join(lines)


def sections() -> dict[str, list[str]]:
    """The examples by the headings of examples/README.md."""
    found = dict[str, list[str]]()
    for line in (ROOT / "examples" / "README.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            found[line[3:]] = []
        elif name := re.match(r"- \[`([\w/]+?)(?:\.py|/)`\]", line):
            found[list(found)[-1]].append(name[1])
    return {title: names for title, names in found.items() if names}


def slug(title: str) -> str:
    """The name of a page."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def index() -> str:
    """Return docs/examples/index.md."""
    lines = [INDEX]
    for title, names in sections().items():
        links = ", ".join(f"[`{name}`]({slug(title)}.md#{name.lower()})" for name in names)
        lines.append(f"- **[{title}]({slug(title)}.md)**: {links}\n")
    lines.append(
        "\nThe notebook `examples/notebook.ipynb` is for Jupyter; see [Notebooks](../sync.md#a-notebook).\n"
    )
    return "".join(lines)


def page(title: str, names: list[str], outputs: dict[str, str]) -> str:
    """Return the page of a section."""
    lines = [f"# {title}\n"]
    for name in names:
        lines.append(f"\n## {name}\n\n")
        folder = ROOT / "examples" / name
        if folder.is_dir():
            lines.append(f"A program of several files in `examples/{name}`.\n")
            lines += [
                f'\n`{file.name}`:\n\n```{{.py}}\n--8<-- "examples/{name}/{file.name}"\n```\n'
                for file in sorted(folder.glob("*.py"))
            ]
            continue
        lines.append(f'```{{.py}}\n--8<-- "examples/{name}.py"\n```\n')
        if name in outputs:
            lines.append(f"\nIt prints:\n\n```text\n{outputs[name]}\n```\n")
        else:
            lines.append(f"\n{ALONE[name]}\n")
    return "".join(lines)


def output(name: str) -> str:
    """Run an example in a folder of its own; returns what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
        run = subprocess.run(
            [sys.executable, str(ROOT / "examples" / f"{name}.py")],
            input="".join(f"{line}\n" for line in TYPED.get(name, ())),
            capture_output=True,
            text=True,
            cwd=folder,
            env=environ,
            timeout=120,
        )
        if run.returncode:
            raise SystemExit(f"{name}: exit code {run.returncode}\n{run.stdout}\n{run.stderr}")
        text = run.stdout.replace(folder, "...")
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


def recorded(file: Path) -> dict[str, str]:
    """The outputs that a page has."""
    if not file.exists():
        return {}
    text = file.read_text("utf-8")
    return dict(
        re.findall(
            r"^## (\w+)\n(?:(?!^## ).)*?It prints:\n\n```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL
        )
    )


def pages(outputs: dict[str, str] | None = None) -> dict[Path, str]:
    """Return every page by its path, with the outputs that it has, or with new ones."""
    made = {DOCS / "errors.md": errors(), DOCS / "examples" / "index.md": index()}
    for title, names in sections().items():
        file = DOCS / "examples" / f"{slug(title)}.md"
        made[file] = page(title, names, recorded(file) if outputs is None else outputs)
    return made


MODULES = (
    "lutum",
    "lutum.dialect",
    "lutum.eval",
    "lutum.mcp",
    "lutum.sse",
    "lutum.store",
    "lutum.testing.wire",
    "lutum.trace",
    "lutum.transport",
    "lutum_claude",
    "lutum_gemini",
    "lutum_openai",
    "lutum_openai.chat",
    "lutum_openai.responses",
    "lutum_openrouter",
)
# Names of `lutum` with a page of their own: the adapters' on the page of their package, and its modules.
ELSEWHERE = re.compile(r"(Aws|Claude|Gemini|OpenAI|OpenRouter)\w+|[a-z]+")


def missing(module: str) -> list[str]:
    """Return the public names of a module that no page of the reference has."""
    pages = [page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md")]
    there = set(re.findall(r"^::: ([\w.]+)$", "\n".join(pages), re.MULTILINE))
    names = [name for name in importlib.import_module(module).__all__ if f"{module}.{name}" not in there]
    last = {name.rpartition(".")[2] for name in there} | {name.split(".")[1] for name in there}
    return [name for name in names if module != "lutum" or not (ELSEWHERE.fullmatch(name) and name in last)]


def complete(module: str) -> None:
    """Add the missing names of a module to its page."""
    name = re.sub(r"[._]", "-", re.sub(r"^(lutum_openai)\..*", r"\1", module))
    page = DOCS / "reference" / f"{name}.md"
    lines = [f"\n::: {module}.{name}\n" for name in missing(module)]
    page.write_text(page.read_text("utf-8").rstrip() + "\n" + "".join(lines), encoding="utf-8")


def main() -> None:
    outputs = None
    for module in MODULES:
        complete(module)
    if "--examples" in sys.argv[1:]:
        names = [name for names in sections().values() for name in names]
        single = [name for name in names if (ROOT / "examples" / f"{name}.py").exists()]
        outputs = {name: output(name) for name in single if name not in ALONE}
    (DOCS / "examples").mkdir(exist_ok=True)
    for file, text in pages(outputs).items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
