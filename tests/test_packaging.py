"""What is installed, what importing it costs, and who may import whom."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points, requires
from importlib.resources import files
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).parents[1] / "adapters"
PACKAGES = ["lutum", "lutum_claude", "lutum_clouds", "lutum_gemini", "lutum_openai", "lutum_openrouter"]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_is_light(package: str) -> None:
    """Neither an HTTP client nor a backend nor anything optional is loaded by an import."""
    heavy = ["httpcore", "httptools", "httpx", "hypothesis", "opentelemetry", "pydantic", "rich", "trio"]
    program = f"import sys, {package}; print(*[name for name in {heavy} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_shipped(package: str) -> None:
    """Type checkers believe the annotations of an installed package that has this file."""
    assert files(package).joinpath("py.typed").is_file()


def test_adapters_are_found_by_entry_point() -> None:
    """Each entry point of the group loads, to an object of the name it gives."""
    found = {entry.name: entry for entry in entry_points(group="lutum.adapters")}
    assert "claude" in found
    for entry in found.values():
        assert entry.load().__name__ == entry.attr


def test_hard_dependencies() -> None:
    """What everybody must install."""
    hard = {line.split(">=")[0] for line in requires("lutum") or () if "extra ==" not in line}
    assert hard == {
        "anyio",
        "certifi",
        "httpcore",
        "httptools",
        "httpx",
        "msgspec",
        "trio",
        "typing-extensions",
    }


def imported_by(source: Path) -> set[str]:
    """The dotted name of everything that a file imports by an absolute name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(
    "source", sorted(ADAPTERS.rglob("*.py")), ids=lambda path: path.relative_to(ADAPTERS).as_posix()
)
def test_adapters_use_public_names(source: Path) -> None:
    """An adapter of ours can do no more than a third party's: it imports no private name of lutum."""
    private = [
        name
        for name in imported_by(source)
        if name.startswith("lutum.") and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []
