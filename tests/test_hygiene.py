from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import scperturbrl

ROOT = Path(__file__).parents[1]
FILES = sorted(Path(scperturbrl.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.jit.load",
    "np.load",
    "numpy.load",
    "pd.read_pickle",
}


def executing(source):
    """What in `source` could run code that it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield ast.unparse(node.func)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allow_pickle"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_executes_what_it_reads(path):
    assert list(executing(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as cp",
        "torch.load('x')",
        "eval(text)",
        "np.load(p, allow_pickle=True)",
        "exec('x')",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert list(executing(source))


def test_warnings_are_errors_and_types_are_strict():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert settings["pytest"]["ini_options"]["filterwarnings"][0] == "error"
    strict = settings["mypy"]["overrides"][0]
    rooms = {"_core", "flow", "metrics", "rl", "verifiers"}
    assert set(strict["module"]) == {f"scperturbrl.{room}.*" for room in rooms}
    assert strict["disallow_any_generics"]
    assert strict["check_untyped_defs"]


def test_how_to_report_a_problem_is_written_down():
    assert "Reporting a problem" in (ROOT / "SECURITY.md").read_text()


def test_every_promise_names_a_test_that_exists():
    page = (ROOT / "docs" / "concepts" / "promises.md").read_text(encoding="utf-8")
    rows = [
        line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| Promise", "| Attack"))
    ]
    assert len(rows) >= 15
    for row in rows:
        files = re.findall(r"/blob/main/(tests/[\w/]+\.py)\)", row)
        assert files, row
        assert all((ROOT / file).is_file() for file in files), row
