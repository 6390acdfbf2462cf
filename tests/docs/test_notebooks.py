"""Notebooks run from the top, hold no output, and use the public API only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@each_notebook
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_it_runs_from_the_top(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # also where the package is not installed
    notebook = read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@each_notebook
def test_it_is_stored_without_output(path):
    assert [cell for cell in code(path) if cell.outputs or cell.execution_count] == []


@each_notebook
def test_it_imports_only_sim_of_ours(path):
    text = "\n".join(cell.source for cell in code(path))
    assert re.findall(r"^\s*(?:from|import)\s+(sim\.\S+)", text, re.MULTILINE) == []
    assert "import sim" in text
