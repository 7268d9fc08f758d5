from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
DATA = Path(os.environ.get("SCPERTURBRL_DATA", ROOT.parent / "shared" / "data"))
READ = re.compile(r'DATA / (?:"(networks)" / )?"([^"]+)"')
SECONDS_PER_CELL = 240

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell["outputs"]]


def files_needed(path):
    """Files below the data folder that the code reads."""
    code = "\n".join("".join(cell["source"]) for cell in code_cells(path))
    return [Path(*filter(None, found)) for found in READ.findall(code)]


@each_notebook
def test_is_committed_with_outputs_and_nothing_of_the_machine(path):
    assert "image/png" in {kind for output in outputs(path) for kind in output.get("data", {})}
    assert not [output for output in outputs(path) if output["output_type"] == "error"]
    assert not [cell for cell in code_cells(path) if cell["metadata"]]
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 650_000


@each_notebook
def test_is_listed_in_the_documentation(path):
    assert f"tutorials/{path.stem}\n" in (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")


@pytest.mark.tutorials
@pytest.mark.filterwarnings("ignore")
@each_notebook
def test_runs(path, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    absent = [str(file) for file in files_needed(path) if not (DATA / file).exists()]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    monkeypatch.setenv("SCPERTURBRL_DATA", str(DATA.resolve()))
    # the kernel chooses a backend that shows pictures, unless told otherwise
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=resources).execute()
    # every cell ran and left its mark; nbclient raises where one failed
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
