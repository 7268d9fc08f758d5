import subprocess
import sys

import pandas as pd
import pytest
import torch

import scperturbrl.verifiers as spv
from scperturbrl.verifiers import registry


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    return spv.Verifier("mean", lambda cells, reference: cells.mean(-1), "Mean", "Mean expression.", (0, torch.inf))


def test_importing_the_package_loads_no_torch():
    code = "import sys, scperturbrl.verifiers as v; assert 'torch' not in sys.modules; v.Verifier; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", spv.__all__)
def test_every_exported_name_exists(name):
    assert getattr(spv, name) is not None
    assert name in dir(spv)


def test_a_module_does_not_hide_the_function_it_defines():
    assert all(callable(getattr(spv, name)) for name in spv.DEFAULT)


def test_defaults_are_registered_and_named_after_themselves():
    assert set(spv.DEFAULT) <= set(spv.names())
    assert [v.name for v in spv.resolve()] == list(spv.DEFAULT)


def test_get_passes_settings_on():
    assert spv.get("pearson_topk", n_genes=20, n_cells=3).params == {"reference": "cells", "n_genes": 20, "n_cells": 3}


@pytest.mark.parametrize(
    ("name", "near"), [("pearson", "pearson_topk"), ("pathway", "pathway_activity"), ("zzz", "rmse_topk")]
)
def test_an_unknown_name_lists_near_ones(name, near):
    with pytest.raises(KeyError, match=near):
        spv.get(name)


def test_a_verifier_and_a_factory_can_be_registered(own):
    assert spv.register(own) is own
    assert spv.get("mean") is own

    @spv.register
    def shifted(by=1.0):
        return spv.Verifier(
            "shifted", lambda x, r: x.mean(-1) + by, "Shifted", "Shifted mean.", (0, 9), params={"by": by}
        )

    assert spv.get("shifted", by=2).params == {"by": 2}
    assert spv.names()[-2:] == ["mean", "shifted"]


def test_a_taken_name_needs_overwrite(own):
    spv.register(own)
    with pytest.raises(ValueError, match="'mean' exists"):
        spv.register(own)
    spv.register(own, overwrite=True)


@pytest.mark.parametrize("item", [3, dict])
def test_other_things_are_not_registered(own, item):
    with pytest.raises(TypeError, match="neither"):
        spv.register(item)


def test_resolve_takes_names_verifiers_and_single_ones(own):
    assert spv.resolve(["rmse_topk", own])[1] is own
    assert spv.resolve(own) == [own]
    assert spv.resolve("rmse_topk")[0].name == "rmse_topk"


def test_resolve_refuses_two_of_one_name():
    with pytest.raises(ValueError, match="share the name rmse_topk"):
        spv.resolve(["rmse_topk", spv.rmse_topk(n_genes=20)])


def test_resolve_refuses_an_empty_list():
    with pytest.raises(ValueError, match="`verifiers` is empty"):
        spv.resolve([])


def test_show_has_one_row_per_verifier():
    table = spv.show()
    assert isinstance(table, pd.DataFrame)
    assert table["name"].tolist() == spv.names()
    assert list(table) == ["name", "label", "range", "needs", "differentiable", "safeguard", "description"]
    assert table.set_index("name").loc["de_spearman", "differentiable"] == False  # noqa: E712
