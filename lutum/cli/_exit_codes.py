"""The exit codes of `lutum ask`. The other commands use some of them."""

from __future__ import annotations

ANSWERED, FAILED, WRONG_ARGUMENTS, INCOMPLETE, REFUSED_BY_BUDGET = 0, 1, 2, 3, 4
INTERRUPTED, CLOSED_PIPE = 130, 141

MEANINGS: dict[int, str] = {
    ANSWERED: "The answer is complete.",
    FAILED: "A turn failed (provider, network, timeout), or a file cannot be read.",
    WRONG_ARGUMENTS: "An option, the model or a file type is wrong, or the key is missing. Nothing was sent.",
    INCOMPLETE: "The answer was cut at the output limit, or the model refused.",
    REFUSED_BY_BUDGET: "The budget is spent, or has too little left.",
    INTERRUPTED: "Ctrl-C was pressed.",
    CLOSED_PIPE: "The reader of the output closed the pipe, as `| head -1` does.",
}
"""The meaning of each code. `lutum ask --help` and the documentation page of the command line print it."""
