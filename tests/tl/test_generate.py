from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import scperturbrl as spr


def test_slots_are_as_documented(fitted, dense):
    before = fitted.copy()
    assert spr.tl.generate(fitted) is None
    layer = fitted.layers["generator"]
    assert layer.format == "csr"
    assert layer.dtype == np.float32
    assert layer.shape == fitted.shape
    assert np.isfinite(layer.data).all()
    assert set(fitted.obs.columns) - set(before.obs.columns) == {"generator_source"}
    assert set(fitted.obsm) - set(before.obsm) == {"X_pca_generator"}
    assert list(fitted.obs_names) == list(before.obs_names)
    np.testing.assert_array_equal(dense(fitted.X), dense(before.X))
    training = (fitted.obs["split"] == "train").to_numpy()
    pca = PCA(fitted.obsm["X_pca_generator"].shape[1]).fit(dense(fitted.X)[training])
    expected = pca.transform(dense(layer))
    np.testing.assert_allclose(np.abs(fitted.obsm["X_pca_generator"][:, :5]), np.abs(expected[:, :5]), atol=1e-3)


def test_control_rows_hold_the_control_cell(fitted, dense):
    spr.tl.generate(fitted)
    control = (fitted.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_array_equal(dense(fitted.layers["generator"])[control], dense(fitted.X)[control])
    assert (fitted.obs["generator_source"][control] == fitted.obs_names[control]).all()


def test_cells_start_from_training_controls_of_their_own_cell_type_and_batch(context):
    spr.tl.generate(context)
    source = context.obs.loc[context.obs["generator_source"]]
    perturbed = (context.obs["perturbation"] != "control").to_numpy()
    assert (source["perturbation"] == "control").all()
    for column in ("cell_type", "batch"):
        np.testing.assert_array_equal(source[column], context.obs[column])
    # without needless repeats: no control cell is used twice before all of its kind were used once
    used = context.obs[perturbed].groupby(["cell_type", "batch"], observed=True)["generator_source"].value_counts()
    spread = used.groupby(level=["cell_type", "batch"], observed=True).agg(["min", "max"])
    assert (spread["max"] - spread["min"] <= 1).all()


def test_without_control_cells_of_a_batch_those_of_the_cell_type_are_used(context):
    context = context[(context.obs["perturbation"] != "control") | (context.obs["batch"] == "x")].copy()
    spr.tl.generate(context)
    source = context.obs.loc[context.obs["generator_source"]]
    assert (source["batch"] == "x").all()
    np.testing.assert_array_equal(source["cell_type"], context.obs["cell_type"])


def test_a_cell_type_without_control_cells_is_named(context):
    kept = (context.obs["perturbation"] != "control") | (context.obs["cell_type"] != "B")
    context = context[kept].copy()
    with pytest.raises(ValueError, match=r"no control cells with covariates 'B'.*'T'"):
        spr.tl.generate(context)


def test_seeds(fitted, dense):
    for key, seed in (("a", 1), ("b", 1), ("c", 2)):
        spr.tl.generate(fitted, key_added=key, seed=seed)
    layers = {key: dense(fitted.layers[key]) for key in "abc"}
    np.testing.assert_array_equal(layers["a"], layers["b"])
    assert not np.array_equal(layers["a"], layers["c"])
    assert "generator" not in fitted.layers


def test_the_same_seed_pairs_the_same_controls_for_every_generator(fitted):
    spr.tl.fit_generator(fitted, init_from="generator", key_added="longer", n_steps=3)
    for key in ("generator", "longer"):
        spr.tl.generate(fitted, key=key, seed=4)
    pd.testing.assert_series_equal(fitted.obs["generator_source"], fitted.obs["longer_source"], check_names=False)


def test_nothing_of_the_own_cell_goes_in(fitted, dense):
    spoilt = fitted.copy()
    values = dense(spoilt.X)
    rows = np.flatnonzero(spoilt.obs["split"] == "test")
    values[rows] = values[rows[::-1]]
    spoilt.X = values
    for adata in (fitted, spoilt):
        spr.tl.generate(adata)
    np.testing.assert_array_equal(dense(fitted.layers["generator"]), dense(spoilt.layers["generator"]))


def test_cells_have_the_depth_of_their_control_cell(screen, dense):
    spr.tl.generate(screen)
    perturbed = (screen.obs["perturbation"] != "control").to_numpy()
    total = np.expm1(dense(screen.layers["generator"])).sum(1)
    assert np.median(total[perturbed]) == pytest.approx(1e4, rel=0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key": "generator_rl"}, KeyError, r"no generator 'generator_rl'.*'generator'"),
        ({"key": "scperturbrl"}, KeyError, r"no generator 'scperturbrl'"),
    ],
)
def test_errors_name_value_and_remedy(fitted, options, error, message):
    with pytest.raises(error, match=message):
        spr.tl.generate(fitted, **options)


def test_other_genes_are_noticed(fitted):
    fewer = fitted[:, :-2].copy()
    with pytest.raises(ValueError, match=r"genes of `adata` changed.*pp\.setup_anndata"):
        spr.tl.generate(fewer)
    spr.pp.setup_anndata(fewer)
    spr.pp.split(fewer)
    with pytest.raises(
        ValueError, match=rf"60 genes, `adata` has 58.*missing.*{fitted.var_names[-1]}.*adata\[:, genes\]"
    ):
        spr.tl.generate(fewer)
    turned = fitted[:, ::-1].copy()
    spr.pp.setup_anndata(turned)
    spr.pp.split(turned)
    with pytest.raises(ValueError, match="in another order"):
        spr.tl.generate(turned)
