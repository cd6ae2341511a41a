"""The checks: `nox` runs the usual ones, `nox -s NAME` one, `nox -l` lists them."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)  # read from the classifiers
NEXT = ["3.14", "3.14t"]  # tested where they are installed, not promised yet
LINT = nox.project.dependency_groups(PYPROJECT, "lint")
DOCS = nox.project.dependency_groups(PYPROJECT, "docs")

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "docs", "wheel"]

# Run in a virtual environment that holds the wheel and its hard dependencies.
ONLY_OURS = """
from importlib.metadata import version
from importlib.util import find_spec

import lutum

for stray in ("adapters", "benchmarks", "docs", "examples", "tests", "hypothesis", "pytest"):
    assert find_spec(stray) is None, f"{stray} can be imported"
for package in ("lutum", "lutum_claude", "lutum_clouds", "lutum_gemini", "lutum_openai", "lutum_openrouter"):
    assert find_spec(package) is not None, f"{package} cannot be imported"
print("lutum", version("lutum"), "from", lutum.__file__)
"""


@nox.session(python=[*PYTHONS, *NEXT])
def tests(session: nox.Session) -> None:
    """Run all tests, the slow ones too, against the built package, on each Python that is here."""
    session.install(".[test]")
    session.run("pytest", "-m", "", *session.posargs)


@nox.session(python=PYTHONS[0], venv_backend="uv", default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests on the lowest version of each dependency that pyproject.toml declares."""
    session.install(".[test]", "--resolution=lowest-direct")
    session.run("pytest", "-m", "", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def nightly(session: nox.Session) -> None:
    """Run the tests with many more hypothesis examples, 200,000 mutated streams, 100,000 mutated HTTP answers
    through sockets, and a soak.

    The soak is 50,000 turns on each loop; `nox -s nightly -- tests/test_soak.py` runs it alone.
    """
    session.install(".[test]", "uvloop; sys_platform != 'win32'")
    more = {
        "HYPOTHESIS_PROFILE": "nightly",
        "LUTUM_MUTATIONS": "200000",
        "LUTUM_ANSWERS": "100000",
        "LUTUM_SOAK": "50000",
        "LUTUM_SCHEDULES": "200",
    }
    session.run("pytest", "-m", "", *session.posargs, env=more)


@nox.session(python=PYTHONS[0], default=False)
def soak(session: nox.Session) -> None:
    """Kill the store's programs 200 times a database, and play 100 rounds of four processes on one ledger."""
    session.install(".[test]")
    kills = {"LUTUM_KILLS": "200", "LUTUM_SOAK_ROUNDS": "100"}
    session.run(
        "pytest",
        "-m",
        "",
        "tests/store/test_kills.py",
        "tests/redis/test_redis_processes.py",
        *session.posargs,
        env=kills,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layering."""
    session.install(*(tool for tool in LINT if tool.startswith("ruff")))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Check types with pyright and mypy, both strict."""
    session.install("-e", ".[test]", *LINT)
    session.run("pyright")
    session.run("pyright", "--pythonplatform", "Windows", "lutum/store", "lutum/eval")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into site/, with warnings as errors; their Python blocks are run by `tests`."""
    session.install(*DOCS)
    session.run("zensical", "build", "--strict", "--clean")
    session.run("python", "scripts/finish_site.py")


@nox.session(python=PYTHONS[0], default=False)
def bench(session: nox.Session) -> None:
    """Measure against the peers, write benchmarks/RESULTS.md, and fail where a figure is missed."""
    session.install(
        ".[redis]", "redis", "aiohttp", "anthropic", "google-genai", "litellm", "matplotlib", "openai"
    )
    session.install("pydantic-ai-slim[anthropic,openai]", "langgraph-checkpoint-sqlite", "psycopg[binary]")
    session.run("python", "benchmarks/run.py", *session.posargs)


@contextmanager
def local_index(wheels: Path) -> Iterator[str]:
    """Serve the wheels of a folder as a package index on the loopback; yields its URL."""
    for file in list(wheels.glob("*.whl")):
        place = wheels / "simple" / re.sub(r"[-_.]+", "-", file.name.partition("-")[0]).lower()
        place.mkdir(parents=True, exist_ok=True)
        file.rename(place / file.name)
    handler = partial(SimpleHTTPRequestHandler, directory=wheels)  # its list of a folder is an index's page
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
        server.shutdown()


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, use it where only its hard dependencies are installed, and check its types."""
    session.install("build", "check-wheel-contents", "uv", *LINT)
    tmp = Path(session.create_tmp()).resolve()
    for old in tmp.glob("*.whl"):
        old.unlink()
    session.run("python", "-m", "build", "--wheel", "--outdir", str(tmp))
    [built] = tmp.glob("*.whl")
    session.run("check-wheel-contents", str(built))

    # By name, as a user installs it, from an index on this machine that has it and its hard dependencies.
    session.run("python", "-m", "venv", "--clear", str(tmp / "venv"))
    bin_ = tmp / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    links = tmp / "links"
    shutil.rmtree(links, ignore_errors=True)
    download = ("-m", "pip", "download", "-q", "--only-binary", ":all:", "--dest", str(links))
    session.run(str(bin_ / "python"), *download, str(built), external=True)
    with local_index(links) as url:
        install = ("-m", "pip", "install", "-q", "--isolated", "--no-cache-dir", "--index-url", url, "lutum")
        session.run(str(bin_ / "python"), *install, external=True)
        # -I: without it the current directory, which is the repository, could be imported too.
        session.run(str(bin_ / "python"), "-I", "-c", ONLY_OURS, external=True)
        session.run(str(bin_ / "lutum"), "demo", external=True)
        uvx = ("uvx", "--no-config", "--no-cache", "--default-index", url, "--python", str(bin_ / "python"))
        session.run(*uvx, "lutum", "demo")

    # Its typing tests, and a type for each public name. The types of extras are read too.
    session.install(f"{built}[mcp,otel,postgres,prices,redis,testing]", "httpx2>=2")
    session.install("--no-deps", "--target", str(tmp / "installed"), "--upgrade", str(built))
    session.run("python", "scripts/wheel_types.py", str(tmp / "installed"))


@nox.session(python=PYTHONS[0], default=False)
def sdk_types(session: nox.Session) -> None:
    """Check request bodies and recorded streams against the official SDKs, as they are released now.

    Quick, but no part of the usual checks: a release of theirs must not hold up a change of ours.
    """
    session.install(".[test]", "openai", "anthropic", "google-genai")
    session.run("pytest", "-m", "", "-s", "tests/sdk", *session.posargs, env={"LUTUM_SDK": "1"})


# What each independent server needs, and how its model of random weights is made, if it has one of its own.
PEERS = {
    "llama": (("llama-cpp-python[server]", "gguf", "numpy"), "make_gguf.py", "random.gguf"),
    "llamacpp": (("xllamacpp", "gguf", "numpy"), "make_gguf.py", "random.gguf"),
    "transformers": (("torch==2.13.0", "transformers[serving]"), "make_llama.py", "random"),
    "litellm": (("litellm[proxy]",), None, None),
}


@nox.session(python=PYTHONS[0], venv_backend="venv", default=False)
def peers(session: nox.Session) -> None:
    """Speak to independent servers, each in an environment of its own that is kept for the next time.

    The first run compiles llama.cpp, which takes ten minutes on two cores. Linux and macOS.
    """
    root = (Path(session.cache_dir) / "peers").resolve()
    for name, (packages, script, model) in PEERS.items():
        python = root / name / "bin" / "python"
        if not python.exists():
            session.run("python", "-m", "venv", str(root / name))
        session.run(str(python), "-m", "pip", "install", "-q", *packages, external=True)
        if script and model and not (root / model).exists():
            session.run(str(python), f"tests/peers/{script}", str(root / model), external=True)
    session.install(".[test]")
    session.run("pytest", "-m", "", "tests/peers", *session.posargs, env={"LUTUM_PEERS": str(root)})
