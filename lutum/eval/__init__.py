"""Evaluation: evals over traces and artifacts, judges, live probes, and a runner for datasets.

An eval reads a trace and an artifact and returns a report. An objective turns a report into a score.
Combinators join evals. `run` runs a task on each case of a dataset, and `compare` compares two runs.
`pass_at_k` and `pass_hat_k` are unbiased estimates, and `run_branches` runs k branches of one session.

Only your tasks and judges send requests. A failed task or scorer is repeated only if you set `retry=`.
"""

from lutum.eval._assert import assert_score as assert_score
from lutum.eval._branches import Branches as Branches, EvalBranch as EvalBranch, run_branches as run_branches
from lutum.eval._compare import Comparison as Comparison, Difference as Difference, compare as compare
from lutum.eval._dataset import Case as Case, load_cases as load_cases
from lutum.eval._evals import Eval as Eval, PureEval as PureEval
from lutum.eval._grid import Arm as Arm, GridReport as GridReport, grid as grid, load_grid as load_grid
from lutum.eval._judge import JudgeEval as JudgeEval
from lutum.eval._objective import (
    Objective as Objective,
    maximize as maximize,
    minimize as minimize,
    pass_fail as pass_fail,
)
from lutum.eval._probe import (
    Complete as Complete,
    Probe as Probe,
    ProbeHandle as ProbeHandle,
    record_probe as record_probe,
    run_probe as run_probe,
)
from lutum.eval._record import EvalRecord as EvalRecord, evaluate as evaluate, record as record
from lutum.eval._report import (
    Disagreement as Disagreement,
    RunReport as RunReport,
    load_run as load_run,
)
from lutum.eval._rescore import rescore as rescore
from lutum.eval._results import Failure as Failure, TrialResult as TrialResult
from lutum.eval._run import run as run
from lutum.eval._score import Repeats as Repeats, Score as Score, Scored as Scored
from lutum.eval._scoring import Answer as Answer, Scorer as Scorer
from lutum.eval._statistics import (
    Interval as Interval,
    Rate as Rate,
    mean_pass_at_k as mean_pass_at_k,
    mean_pass_hat_k as mean_pass_hat_k,
    pass_at_k as pass_at_k,
    pass_hat_k as pass_hat_k,
)

__all__ = [
    "Answer",
    "Arm",
    "Branches",
    "Case",
    "Comparison",
    "Complete",
    "Difference",
    "Disagreement",
    "Eval",
    "EvalBranch",
    "EvalRecord",
    "Failure",
    "GridReport",
    "Interval",
    "JudgeEval",
    "Objective",
    "Probe",
    "ProbeHandle",
    "PureEval",
    "Rate",
    "Repeats",
    "RunReport",
    "Score",
    "Scored",
    "Scorer",
    "TrialResult",
    "assert_score",
    "compare",
    "evaluate",
    "grid",
    "load_cases",
    "load_grid",
    "load_run",
    "maximize",
    "mean_pass_at_k",
    "mean_pass_hat_k",
    "minimize",
    "pass_at_k",
    "pass_fail",
    "pass_hat_k",
    "record",
    "record_probe",
    "rescore",
    "run",
    "run_branches",
    "run_probe",
]
