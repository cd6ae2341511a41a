"""The evaluation of the agent: cases in `cases.jsonl`, each on a shop of its own, with checks of the result.

A case may require that a tool is called, that the last SELECT has certain rows, that a probe of the database
has certain rows afterwards, and that no table is read from end to end. Only the requirements of the case are
checked, and a case without any requirement does not pass.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lutum
import lutum.eval
from lutum.eval import Case, Eval, JudgeEval, PureEval, Scored, pass_fail
from lutum.trace import Trace

from .agent import Accept, Agent, AgentHooks, Decision
from .database import Databases, Kind, Write
from .scripted import make_shop

CASES = Path(__file__).with_name("cases.jsonl")

Question = Case[dict[str, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """The result of a case."""

    said: str
    found: list[list[str]] | None
    """The rows of the last SELECT."""
    holds: list[list[str]] | None
    """The rows of the case's probe."""
    scans: list[str]
    sql: list[str]


@dataclass(frozen=True)
class Checks:
    """The result of each check; None if the case does not require it."""

    tool: bool | None = None
    found: bool | None = None
    holds: bool | None = None
    no_scan: bool | None = None

    @property
    def passed(self) -> bool:
        """Whether at least one check was made, and none failed."""
        made = [check for check in (self.tool, self.found, self.holds, self.no_scan) if check is not None]
        return bool(made) and all(made)


@AgentHooks.approve_mode
async def always(reason: str) -> bool:
    """Grant writable mode to every request."""
    return True


@AgentHooks.approve_write
async def accept(write: Write) -> Decision:
    """Accept every write that passes the rules."""
    return Accept()


@AgentHooks.objection
async def not_everything(database: str, kind: Kind, sql: str) -> str | None:
    """Object to a statement that deletes or updates a whole table."""
    whole = kind in ("delete", "update") and " where " not in f" {' '.join(sql.split()).lower()} "
    return "a statement without WHERE changes the whole table" if whole else None


RULES = AgentHooks(always, accept, not_everything)


async def attempt(case: Question, llm: lutum.Lutum) -> Outcome:
    """Ask the question of a case, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        make_shop(Path(name))
        databases = Databases(Path(name))
        try:
            answer = await Agent(llm, databases, RULES).ask(case.input["question"])
            shop = databases.get("shop")
            selects = [run.sql for run in answer.statements if run.kind == "select"]
            probe: str | None = case.input.get("probe")
            return Outcome(
                said=answer.text,
                found=shop.select(selects[-1], 100).rows if selects else None,
                holds=shop.select(probe, 100).rows if probe else None,
                scans=[table for sql in selects for table in shop.scans(sql)],
                sql=[run.sql for run in answer.statements],
            )
        finally:
            databases.close()


@PureEval.of
def checks(trace: Trace, answer: lutum.eval.Answer[dict[str, Any], Any, Outcome]) -> Checks:
    """Compare the called tools, the found rows and the probe with the requirements of the case."""
    case, outcome = answer.case.input, answer.output
    return Checks(
        tool=bool(trace.find("tool", tool=case["tool"])) if "tool" in case else None,
        found=outcome.found == case["found"] if "found" in case else None,
        holds=outcome.holds == case["holds"] if "holds" in case else None,
        no_scan=None if case.get("may_scan", True) else not outcome.scans,
    )


@dataclass
class Verdict:
    """What a judge finds."""

    consistent: bool
    why: str


consistency: JudgeEval[Any, Verdict] = JudgeEval(
    Verdict,
    lambda trace, answer: (
        "Does the answer say what the rows say, and nothing that they do not?\n"
        f"Question: {answer.case.input['question']}\nSQL: {answer.output.sql}\n"
        f"Rows: {answer.output.found or answer.output.holds}\nAnswer: {answer.output.said}"
    ),
    setup=lambda turn: turn.max_output_tokens(200),
)


def both(left: Scored[Any], right: Scored[Any]) -> Scored[Any]:
    """Return the lower of two scores, with both reports."""
    return Scored((left.report, right.report), min(left.score, right.score))


async def evaluate(llm: lutum.Lutum, into: Path | None = None, *, judged: bool = False) -> bool:
    """Run all cases, print the report and the failed cases; returns whether all passed."""
    score: Eval[Any, Scored[Any]] = checks.scored_by(pass_fail(lambda found: found.passed)).lift()
    if judged:
        score = score.combine(consistency.scored_by(pass_fail(lambda verdict: verdict.consistent)), both)
    report = await lutum.eval.run(
        lutum.eval.load_cases(CASES), attempt, score=score, llm=llm, limit=4, into=into, progress=False
    )
    print(report)
    for result in report.results:
        if not result.passed():
            print(f"failed: {result.case}: {result.failure or result.report}")
    return all(result.passed() for result in report.results)
