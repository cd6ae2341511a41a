"""An error in three lines: what happened, its cause, and what to do next."""

from __future__ import annotations

from lutum._values.errors import LutumError


def explain(error: BaseException) -> str:
    """Return what happened, the cause and what to do next, in three lines.

    The first line is the class and the message. It may contain words of the provider or the model. The other
    two lines come from the attributes `whose` and `advice` of the error. The traceback of each lutum error
    contains these two lines too.
    """
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return "\n".join((what, *_explanation(error)))


def _explanation(error: BaseException) -> tuple[str, str]:
    if isinstance(error, LutumError):
        return error.explanation
    if isinstance(error, OSError):
        return (
            "Cause: the file or the operating system.",
            "What to do: check the path, and that you may read and write there.",
        )
    return "Cause: most likely lutum itself.", "What to do: report it, with the traceback."
