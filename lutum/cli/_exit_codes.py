"""The exit codes of `lutum ask`. The other commands use some of them."""

from __future__ import annotations

ANSWERED, FAILED, WRONG_ARGUMENTS, INCOMPLETE, REFUSED_BY_BUDGET = 0, 1, 2, 3, 4
INTERRUPTED, CLOSED_PIPE = 130, 141

MEANINGS: dict[int, str] = {
    ANSWERED: "The answer is whole.",
    FAILED: "A turn failed (provider, network, time), or a file cannot be read.",
    WRONG_ARGUMENTS: "The arguments are wrong: no such option, model or file type, no key. Nothing was sent.",
    INCOMPLETE: "The answer was cut at the output limit, or the model refused.",
    REFUSED_BY_BUDGET: "The budget is spent, or has too little left.",
    INTERRUPTED: "Ctrl-C was pressed.",
    CLOSED_PIPE: "The reader of the output has left, as in `| head -1`.",
}
"""The meaning of each code. `lutum ask --help` and the documentation page of the command line print it."""
