from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from anndata import AnnData

from scperturbrl import datasets
from scperturbrl.datasets._public import _harmonise

LOADERS = {
    "norman_2019": "norman_2019",
    "kang_2018": "kang_2018",
    "combosciplex": "combosciplex",
    "adamson_2016": "adamson_2016_upr_perturb_seq",
    "replogle_2022_rpe1": "replogle_2022_rpe1",
    "replogle_2022_k562_essential": "replogle_2022_k562_essential",
}


def stand_in(column, labels):
    adata = AnnData(np.arange(2.0 * len(labels), dtype=np.float32).reshape(len(labels), 2))
    adata.obs[column] = labels
    adata.obs[column] = adata.obs[column].astype("category")
    return adata


@pytest.fixture
def pertpy(monkeypatch):
    package, data = ModuleType("pertpy"), ModuleType("pertpy.data")
    package.data = data
    monkeypatch.setitem(sys.modules, "pertpy", package)
    monkeypatch.setitem(sys.modules, "pertpy.data", data)
    return data


@pytest.mark.parametrize(
    ("name", "column", "published", "harmonised"),
    [
        ("norman_2019", "perturbation_name", ["control", "KLF1", "KLF1+BAK1"], ["control", "KLF1", "KLF1+BAK1"]),
        ("kang_2018", "label", ["ctrl", "stim", "ctrl"], ["control", "IFNB1", "control"]),
        (
            "combosciplex",
            "condition",
            ["control+control", "control+Givinostat", "Givinostat+Dasatinib"],
            ["control", "Givinostat", "Givinostat+Dasatinib"],
        ),
        (
            "adamson_2016",
            "perturbation",
            ["63(mod)_pBA580", "SEC61B_pDS017", "Gal4-4(mod)_pBA582", "C7orf26_pDS004"],
            ["control", "SEC61B", "control", "C7orf26"],
        ),
        ("replogle_2022_rpe1", "perturbation", ["non-targeting", "RPL3"], ["control", "RPL3"]),
        ("replogle_2022_k562_essential", "perturbation", ["RPL3", "control"], ["RPL3", "control"]),
    ],
)
def test_labels_are_harmonised(pertpy, name, column, published, harmonised):
    setattr(pertpy, LOADERS[name], lambda: stand_in(column, published))
    adata = getattr(datasets, name)()
    assert adata.obs["perturbation"].tolist() == harmonised
    assert adata.obs["perturbation_published"].tolist() == published
    assert adata.obs["perturbation"].cat.categories[0] == "control"
    assert set(adata.obs["perturbation"].cat.categories) == set(harmonised)


@pytest.mark.parametrize("unassigned", ["*", "", None])
def test_cells_without_a_guide_are_dropped(pertpy, unassigned):
    labels = ["63(mod)_pBA580", unassigned, "SEC61B_pDS017"]
    pertpy.adamson_2016_upr_perturb_seq = lambda: stand_in("perturbation", labels)
    adata = datasets.adamson_2016()
    assert adata.obs["perturbation"].tolist() == ["control", "SEC61B"]
    assert adata.X.tolist() == [[0, 1], [4, 5]]
    assert not adata.is_view


def test_expression_is_left_alone():
    adata = _harmonise(stand_in("label", ["ctrl", "x"]), perturbation="label", control="ctrl")
    assert adata.X.tolist() == [[0, 1], [2, 3]]


def test_harmonising_twice_changes_nothing():
    once = _harmonise(stand_in("label", ["a+ctrl", "ctrl", "a+b"]), perturbation="label", control="ctrl")
    labels = once.obs["perturbation"].tolist()
    again = _harmonise(once, perturbation="perturbation", control="control")
    assert again.obs["perturbation"].tolist() == labels == ["a", "control", "a+b"]


def test_missing_column_is_named():
    with pytest.raises(KeyError, match="no column 'condition'.*'label'"):
        _harmonise(stand_in("label", ["ctrl"]), perturbation="condition", control="ctrl")


def test_missing_controls_are_named():
    with pytest.raises(ValueError, match="'label'.*no control.*DMSO"):
        _harmonise(stand_in("label", ["ctrl"]), perturbation="label", control="DMSO")


def test_offline_error_says_where_the_file_goes(pertpy):
    def offline():
        msg = "name resolution failed"
        raise OSError(msg)

    pertpy.norman_2019 = offline
    with pytest.raises(ConnectionError, match="norman_2019.*name resolution failed.*norman_2019.h5ad.*datasetdir"):
        datasets.norman_2019()


def test_other_errors_are_not_taken_for_a_lost_connection(pertpy):
    def broken():
        raise TypeError

    pertpy.norman_2019 = broken
    with pytest.raises(TypeError):
        datasets.norman_2019()


def test_a_loader_of_another_screen_is_refused_before_the_download(pertpy):
    def wrong_file():
        url = "gasperini_2019_atscale.h5ad"
        pytest.fail(f"downloaded {url}")

    pertpy.replogle_2022_k562_essential = wrong_file
    with pytest.raises(RuntimeError, match="gasperini_2019_atscale.*Update pertpy"):
        datasets.replogle_2022_k562_essential()


def test_loading_leaves_the_warning_filters_alone(pertpy):
    pertpy.kang_2018 = lambda: stand_in("label", ["ctrl", "stim"])
    before = list(warnings.filters)
    datasets.kang_2018()
    assert warnings.filters == before


@cache
def pertpy_functions():
    # Read, not imported: importing pertpy takes seconds.
    folder = Path(importlib.util.find_spec("pertpy").origin).parent
    source = (folder / "data" / "_datasets.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    return {node.name: ast.get_source_segment(source, node) for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", LOADERS.values())
def test_installed_pertpy_has_the_loader(name):
    source = pertpy_functions()[name]
    wrong = name == "replogle_2022_k562_essential" and "gasperini_2019" in source
    assert wrong or f"pertpy/{name}.h5ad" in source
