"""The version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed package, for `--version` and reports."""
    try:
        return version("lutum")
    except PackageNotFoundError:
        return "(not installed)"
