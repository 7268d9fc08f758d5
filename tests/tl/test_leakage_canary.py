from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import scperturbrl as spr
from scperturbrl.data.split.canary import scrambled


@pytest.fixture
def adata():
    found = spr.datasets.toy()
    spr.pp.setup_anndata(found)
    spr.pp.split(found)
    return found


def training(adata):
    return adata[adata.obs["split"] == "train"]


def leaking(table):
    assert table["reproducible"].all()
    return set(table.index[table["leaks"]])


def genes_of_all_cells(adata):
    sc.pp.highly_variable_genes(adata, n_top_genes=20)
    return adata[:, adata.var["highly_variable"]].copy()


def genes_of_training_cells(adata):
    chosen = sc.pp.highly_variable_genes(training(adata), n_top_genes=20, inplace=False)["highly_variable"]
    return adata[:, chosen.to_numpy()].copy()


def test_genes_chosen_on_all_cells_leak(adata):
    assert "var_names" in leaking(spr.tl.leakage_canary(adata, genes_of_all_cells))
    assert not leaking(spr.tl.leakage_canary(adata, genes_of_training_cells))


@pytest.mark.parametrize("honest", [True, False])
def test_models_that_are_returned(adata, honest):
    def pipeline(cells):
        seen = training(cells) if honest else cells
        model = PCA(3, svd_solver="full").fit(seen.X.toarray())
        return {
            "model": [model.components_, {"mean": model.mean_}],
            "scale": StandardScaler().fit(seen.X.toarray()).scale_,
        }

    table = spr.tl.leakage_canary(adata, pipeline)
    assert set(table.index) == {"result/model/0", "result/model/1/mean", "result/scale"}
    assert table["learns"].all()
    assert table["leaks"].any() != honest


def test_scaling_in_place_shows_in_the_training_cells(adata):
    def pipeline(cells):
        cells.layers["scaled"] = np.asarray(cells.X.toarray() - cells.X.toarray().mean(0))

    assert leaking(spr.tl.leakage_canary(adata, pipeline)) == {"layers/scaled"}


def test_our_own_reference_does_not_leak(adata):
    table = spr.tl.leakage_canary(adata, spr.pp.reference)
    assert any(name.startswith("varm/perturbation_effect") for name in table.index)
    assert not leaking(table)
    assert table["learns"].any()


def test_a_pipeline_without_a_seed_is_told(adata):
    rng = np.random.default_rng()
    table = spr.tl.leakage_canary(adata, lambda cells: {"mean": training(cells).X.mean(0), "noise": rng.normal(size=3)})
    assert table["reproducible"].tolist() == [True, False]
    assert not table.loc["result/mean", "leaks"]


def test_a_pipeline_that_fits_nothing_is_refused(adata):
    with pytest.raises(ValueError, match="nothing was tested"):
        spr.tl.leakage_canary(adata, lambda cells: {"answer": 42})


def test_nothing_held_out_is_refused(adata):
    adata.obs["split"] = pd.Categorical(["train"] * adata.n_obs)
    with pytest.raises(ValueError, match="nothing to leak"):
        spr.tl.leakage_canary(adata, spr.pp.reference)


def test_the_data_stay_as_they_are(adata):
    before = adata.X.toarray().copy()
    spr.tl.leakage_canary(adata, genes_of_all_cells)
    np.testing.assert_array_equal(adata.X.toarray(), before)
    assert "highly_variable" not in adata.var


@pytest.mark.parametrize("dense", [False, True])
def test_scrambled_cells_keep_their_values_and_the_others_everything(adata, dense):
    if dense:
        adata.X = adata.X.toarray()
    rows = np.array([0, 5, 9])
    found = scrambled(adata, rows, seed=0)
    plain = lambda matrix: matrix.toarray() if sparse.issparse(matrix) else matrix
    for before, after in ((adata.X, found.X), (adata.layers["counts"], found.layers["counts"])):
        before, after = plain(before), plain(after)
        np.testing.assert_array_equal(np.sort(before, axis=1), np.sort(after, axis=1))
        changed = (before != after).any(1)
        assert np.flatnonzero(changed).tolist() == rows.tolist()
    ratio = plain(found.layers["counts"])[rows] > 0
    np.testing.assert_array_equal(ratio, plain(found.X)[rows] > 0)
