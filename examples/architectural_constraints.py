"""A linter for the code that a model writes: code that breaks the layering is sent back once, with the
findings. Copy it when generated code has to follow the rules of a code base."""

import ast

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply("import sqlite3\ndef names(db: sqlite3.Connection) -> list[str]: ..."),
    Reply("from app.store import Store\ndef names(store: Store) -> list[str]: ..."),
]
RULES = """\
You write the view layer of an application. Answer with Python code only, without a fence.
- Import nothing but app.store and app.text.
- Annotate every parameter and every return value."""


def lint(code: str) -> list[str]:
    """Return the findings, with line numbers."""
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    found = list[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=[ast.alias(name=module), *_]) | ast.ImportFrom(module=str(module)):
                if module not in ("app.store", "app.text"):
                    found.append(f"line {node.lineno}: the view layer may not import {module}")
            case ast.FunctionDef(name=name, returns=None):
                found.append(f"line {node.lineno}: {name} does not say what it returns")
            case ast.arg(arg=name, annotation=None):
                found.append(f"line {node.lineno}: parameter {name} has no annotation")
            case _:
                pass
    return found


async def main(llm: lutum.Lutum) -> None:
    session = lutum.Session(llm)
    session.push_system(RULES)
    session.push_user("Write names(), which lists the names of all users.")
    turn = session.text_turn().max_output_tokens(1_000)
    draft = await turn.collect()
    if findings := lint(draft.text):
        print(*findings, sep="\n")
        fork = session.fork()  # so that the session gets only the question and the good answer
        fork.commit_text(draft)
        fork.push_user("\n".join(["The linter found:", *findings, "Mend only that."]))
        draft = await fork.text_turn().max_output_tokens(1_000).temperature(0).collect()
        if findings := lint(draft.text):
            return print("no draft passed the linter:", *findings, sep="\n")
    session.push_turn(draft.turn)
    print(draft.text)


if __name__ == "__main__":
    run(main, REPLIES)
