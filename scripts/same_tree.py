"""Check that a commit only moved and renamed: its syntax trees equal its parent's, but for names.

    python scripts/same_tree.py COMMIT [COMMIT ...]

Every Python file is reduced to its top-level statements, without imports and docstrings, each identifier and
each string that is a dotted name replaced by a placeholder. Both commits must have the same statements.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter

NAME = re.compile(r"[\w.]+(\.py)?")


class Blank(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "name", "attr", "arg", "asname", "module"):
            if isinstance(getattr(node, field, None), str):
                setattr(node, field, "x")
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and NAME.fullmatch(node.value):
            node.value = "x"
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    visit_ImportFrom = visit_Import  # type: ignore[assignment]


def git(*args: str) -> str:
    return subprocess.run(["git", *args], check=True, capture_output=True, text=True).stdout


def statements(commit: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in git("ls-tree", "-r", "--name-only", commit).splitlines():
        if path.endswith(".py") and path.startswith(("lutum/", "adapters/")):
            body = ast.parse(git("show", f"{commit}:{path}")).body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                del body[0]
            for statement in body:
                if not isinstance(statement, ast.Import | ast.ImportFrom):
                    found[ast.dump(Blank().visit(statement))] += 1
    return found


for commit in sys.argv[1:]:
    before, after = statements(f"{commit}^"), statements(commit)
    if before != after:
        gone, new = before - after, after - before
        sys.exit(
            f"{commit}: {len(gone)} statements gone, {len(new)} new:\n" + "\n".join([*gone, *new])[:2000]
        )
    print(commit, sum(after.values()), "statements, the same")
