"""Check the types of lutum's wheel as checkers of its users see them: `wheel_types.py FOLDER`.

FOLDER has the wheel, installed with `pip install --no-deps --target FOLDER`; its dependencies come from the
environment that runs this. Two checks:

- `pyright --verifytypes` finds a type for each public name of each package. `--ignoreexternal` leaves out
  types from elsewhere, because some of the standard library's own stubs (`numbers.pyi`) are not complete.
- pyright and mypy, both strict, accept tests/typing. It is copied out of the repository first, so that the
  wheel is found and not the source.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("lutum", "lutum_claude", "lutum_clouds", "lutum_gemini", "lutum_openai", "lutum_openrouter")


def is_complete(package: str, wheel: Path, folder: Path, env: dict[str, str]) -> bool:
    """Whether each public name of a package has a known type; prints those that have none."""
    command = ["pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)["typeCompleteness"]
    known = report["exportedSymbolCounts"]["withKnownType"]
    print(f"{package}: {known} public names have a type, {report['completenessScore']:.1%}")
    for symbol in report["symbols"]:
        if not symbol["isTypeKnown"] or symbol.get("isTypeAmbiguous"):
            for diagnostic in symbol["diagnostics"]:
                print(f"  {symbol['name']}: {diagnostic['message']}")
    if not Path(report["packageRootDirectory"]).is_relative_to(wheel):
        print(f"  the package is in {report['packageRootDirectory']}, not in {wheel}")
        return False
    return bool(report["completenessScore"] == 1 and known)


def main(wheel: Path) -> int:
    """Run the checks; return the exit status."""
    python = Path(sys.executable)
    # pyright asks the first `python` on the path where packages are; mypy asks this one.
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(wheel)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        complete = [is_complete(package, wheel, folder, env) for package in PACKAGES]
        shutil.copytree(ROOT / "tests" / "typing", folder / "typed")
        accepted = [
            subprocess.run(command, cwd=folder, env=env, check=False).returncode == 0
            for command in (["pyright", "typed"], ["mypy", "--strict", "typed"])
        ]
    return 0 if all([*complete, *accepted]) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
