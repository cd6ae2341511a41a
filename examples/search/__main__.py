"""Run one of the searches: `python examples/search tree_search`. The options of `_provider.py` may follow."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(file.stem for file in FOLDER.glob("[a-z]*.py"))

if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))
    from _provider import run

    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"usage: python {FOLDER} NAME [options]; the names are {', '.join(NAMES)}")
    search = importlib.import_module(sys.argv.pop(1))
    run(search.main, search.REPLIES)
