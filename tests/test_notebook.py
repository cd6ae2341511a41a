"""The notebook of the examples runs from top to bottom, in a kernel of its own and without a network."""

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="runs notebooks")
nbformat = pytest.importorskip("nbformat", reason="reads notebooks")
pytest.importorskip("ipykernel", reason="is the kernel")

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def shown(cell: Any) -> str:
    """What stands below a cell: what it printed, and its last value."""
    return "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


# Jupyter's own: its folders, its event loop, and what its kernel manager leaves to the collector.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell awaits at its top level and shows what its text says; nothing is left open."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error::ResourceWarning")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    below = [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert below == [
        "",
        "The Nile, the Danube and the Mekong.",
        "'It is 6,650 km long.'",
        "It is 6,650 km long.\n1 item more on the branch\nTrue exact\n",
        "",
    ]
