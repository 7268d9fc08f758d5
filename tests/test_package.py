from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import scperturbrl as spr
from scperturbrl._core import keys

SOURCE = Path(spr.__file__).parent
ROOMS = ("datasets", "get", "metrics", "pl", "pp", "tl", "verifiers")
FLOORS = {"_core": 1, "flow": 2, "verifiers": 2, "pp": 3, "datasets": 3, "data": 3, "rl": 3, "metrics": 3, "screen": 3}
FLOORS |= {"tl": 4, "pl": 4, "get": 4}
HEAVY = ("torch", "scanpy", "anndata", "pertpy", "scvi", "jax", "decoupler", "mudata", "matplotlib", "pandas", "numpy")

# words that are keys of an AnnData here and something else in these files
ALSO_A_WORD = {
    "scperturbrl": (
        "__init__.py",
        "__main__.py",
        "_core/serialize.py",
        "metrics/metric.py",
        "metrics/built_in.py",
    ),  # the package itself
    "split": (
        "pp/__init__.py",
        "pp/_split.py",
        "data/generator/stored.py",
    ),  # the function, and its entry in the setup record
    "evaluation": ("get/__init__.py", "pl/__init__.py", "_demo.py"),  # functions and a file of that name
    "layers": ("data/split/canary.py", "get/_read/populations.py"),  # part of an AnnData
    "pathway_network": ("pp/__init__.py",),  # the function
    "pathway_response": (
        "data/reference/*.py",
        "verifiers/_pathway_activity.py",
        "verifiers/base.py",
    ),  # field of the reference
    "control_mean": ("verifiers/*.py", "metrics/pair.py"),  # field of the reference and of a pair
    "screen": ("tl/__init__.py", "get/__init__.py", "pl/__init__.py"),  # functions of that name
    "train": ("data/split/manifest.py",),  # field of the manifest
    "validation": (
        "data/split/manifest.py",
        "get/_training_history.py",
        "pl/_training_history.py",
    ),  # the same, and a series
    "test": ("data/split/manifest.py",),
    "pathway": (
        "get/*.py",
        "get/_read/*.py",
        "pl/*.py",
        "pl/_draw/*.py",
        "datasets/_programs.py",
        "metrics/compute.py",
        "data/reference/pseudo_references.py",
    ),  # column of a tidy frame, kind of a gene set
    "generator": (
        "_core/distributed.py",
        "_core/provenance.py",  # field of the record of a layer
        "get/__init__.py",
        "get/_evaluation.py",
        "get/_verifier_correlation.py",
        "get/_held_out.py",
        "pl/_draw/looks.py",
        "pl/_page/report.py",
        "pl/_evaluation.py",
        "data/evaluation/models.py",
        "tl/_evaluate.py",
        "_demo_report.py",
    ),  # kind of a model
    "observed": (
        "get/*.py",
        "get/_read/*.py",
        "pl/*.py",
        "pl/_draw/*.py",
        "tl/_score.py",
        "data/scoring/scorer.py",
        "metrics/pair.py",
    ),  # a column, value of an option, name of an array
    "generated": ("get/*.py", "get/_read/*.py", "pl/*.py", "pl/_draw/*.py"),
    "origin": ("get/*.py", "get/_read/*.py", "pl/*.py", "pl/_draw/*.py"),  # column of a tidy frame
}


def files():
    return sorted(SOURCE.rglob("*.py"))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def imports(path, *, for_types=False):
    parsed = tree(path)
    guarded = {
        id(inner)
        for node in ast.walk(parsed)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(parsed):
        if id(node) in guarded and not for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public():
    return [(room, name) for room in ROOMS for name in importlib.import_module(f"scperturbrl.{room}").__all__]


def public_functions():
    found = [(room, name, getattr(getattr(spr, room), name)) for room, name in public()]
    return [pytest.param(room, item, id=f"{room}.{name}") for room, name, item in found if inspect.isfunction(item)]


def test_importing_the_package_is_cheap():
    code = (
        "import sys, time; started = time.process_time(); import scperturbrl; used = time.process_time() - started; "
        f"print(used, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown[1:] == []
    assert float(shown[0]) < 0.5


@pytest.mark.parametrize("room", ROOMS)
def test_looking_at_a_room_loads_no_optional_giant(room):
    code = f"import sys, scperturbrl; dir(scperturbrl.{room}); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pertpy", "scvi", "jax", "decoupler", "mudata"} & set(shown)


def test_the_rooms_are_exported():
    assert set(spr.__all__) == {*ROOMS, "Generator", "__version__"}
    assert dir(spr) == sorted(spr.__all__)
    assert spr.Generator.__name__ == "Generator"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", spr.__version__)


@pytest.mark.parametrize(("room", "name"), public())
def test_exported_names_exist(room, name):
    module = importlib.import_module(f"scperturbrl.{room}")
    assert getattr(module, name) is not None
    assert name in dir(module)


@pytest.mark.parametrize("room", ["", *(f".{room}" for room in ROOMS)])
def test_an_unknown_name_is_an_attribute_error(room):
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        importlib.import_module(f"scperturbrl{room}").nothing  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_what_types_see_is_what_the_table_exports(room):
    path = SOURCE / room / "__init__.py"
    guarded = set(imports(path, for_types=True)) - set(imports(path))
    seen = {name.rsplit(".", 1)[1] for name in guarded if name.startswith("scperturbrl.")}
    assert seen <= set(importlib.import_module(f"scperturbrl.{room}").__all__)


@pytest.mark.parametrize(("room", "function"), public_functions())
def test_public_functions_are_documented(room, function):
    text = inspect.getdoc(function) or ""
    sections = set(re.findall(r"^(\w+)\n-+$", text, flags=re.MULTILINE))
    takes = inspect.signature(function).parameters
    assert "Examples" in sections
    assert ("Parameters" in sections) or not takes
    assert sections & {"Returns", "Raises", "Yields"} or function.__annotations__["return"] not in {"None", None}
    described = text.split("Parameters\n----------", 1)[-1]
    for name in takes:
        assert re.search(rf"^\**{name}\b|^[\w, *]*\b{name}\b[\w, ]*$", described, flags=re.MULTILINE), name


@pytest.mark.parametrize(("room", "function"), public_functions())
def test_public_functions_are_annotated_and_take_at_most_two_arguments_by_position(room, function):
    parameters = list(inspect.signature(function).parameters.values())
    annotations = inspect.get_annotations(function)
    assert "return" in annotations
    assert [p.name for p in parameters if p.name not in annotations] == []
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # the three tensors of `combine` are one expression: scores, their scale and their weights
    assert len(by_position) <= (3 if function.__name__ == "combine" else 2)
    # features of perturbations are made of annotations and structures; no cell is looked at
    if room in {"pp", "tl", "pl", "get"} and not function.__name__.endswith("_embeddings"):
        assert parameters[0].name == "adata"


def literals(path):
    parsed = tree(path)
    docstrings = {
        id(node.value)
        for node in ast.walk(parsed)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    nodes = [node for node in ast.walk(parsed) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {node.value for node in nodes if id(node) not in docstrings}


def test_keys_are_written_down_once():
    names = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    patterns = {"score_", "_reward", "_source", "X_pca_", "_percentile", "_selected", "selection_"}
    makers = (keys.score, keys.reward, keys.source, keys.pca, keys.percentile, keys.selected, keys.selection)
    assert patterns == {make("\0").replace("\0", "") for make in makers}
    found = {
        (value, name_of(path))
        for path in files()
        if path.name != "keys.py"
        for value in literals(path) & (names | patterns)
        if not any(Path(name_of(path)).match(allowed) for allowed in ALSO_A_WORD.get(value, ()))
    }
    assert found == set()


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300


def statements(function):
    return sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_functions_are_short(path):
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    assert {node.name: statements(node) for node in functions if statements(node) >= 40} == {}


def rooms_of(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "scperturbrl" and len(parts) > 1 and parts[1] in FLOORS:
            yield parts[1]


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_stands_on_its_floor_or_lower_ones(room):
    for path in (SOURCE / room).rglob("*.py"):
        assert {other for other in rooms_of(path) if FLOORS[other] > FLOORS[room]} == set(), name_of(path)


def test_no_two_rooms_lean_on_each_other():
    graph = {
        room: {other for path in (SOURCE / room).rglob("*.py") for other in rooms_of(path)} - {room} for room in FLOORS
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(FLOORS)


def sub_rooms(room):
    return sorted(path.parent for path in (SOURCE / room).glob("*/__init__.py"))


def test_rooms_have_at_most_twenty_files():
    count = Counter(path.parent for path in files() if path.name != "__init__.py")
    assert {folder.relative_to(SOURCE).as_posix(): n for folder, n in count.items() if n > 20} == {}


@pytest.mark.parametrize("room", ["data", "flow", "metrics", "pl", "rl"])
def test_sub_rooms_do_not_lean_on_each_other(room):
    graph = {}
    for folder in sub_rooms(room):
        paths = list(folder.rglob("*.py"))
        parts = [name.split(".") for path in paths for name in imports(path)]
        graph[folder.name] = {part[2] for part in parts if part[:2] == ["scperturbrl", room] and len(part) > 3}
        graph[folder.name] -= {folder.name}
    assert set(TopologicalSorter(graph).static_order()) >= {folder.name for folder in sub_rooms(room)}


@pytest.mark.parametrize(
    ("room", "banned"),
    [
        *((room, ("anndata", "scanpy")) for room in ("flow", "verifiers", "rl", "metrics")),
        ("pl", ("scperturbrl.flow", "scperturbrl.rl")),
    ],
)
def test_rooms_of_tensors_and_pictures_stay_so(room, banned):
    for path in (SOURCE / room).rglob("*.py"):
        assert [name for name in imports(path, for_types=True) if name.startswith(banned)] == [], name_of(path)


def test_every_room_is_on_a_floor():
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(FLOORS)


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages([str(SOURCE)], "scperturbrl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
