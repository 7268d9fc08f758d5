from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

CONTEXT = ["pearson_topk", "energy_witness", "plausibility", "identity_retention"]


def judged(adata, **options):
    """Raw scores, reward and percentile of every real cell, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata, bank_size=16)
        spr.tl.score(adata, **options)
    return adata.obsm["score_observed"].join(adata.obs[["observed_reward", "observed_percentile"]].astype(float))


def assert_same(found, expected, atol=1e-5):
    assert expected["observed_reward"].notna().sum() > 50
    pd.testing.assert_frame_equal(found.loc[expected.index], expected, rtol=0, atol=atol, check_index_type=False)


@pytest.fixture(scope="module")
def expected(ready_toy):
    return judged(ready_toy.copy(), percentile=True)


def test_the_order_of_cells_changes_nothing(toy, expected):
    shuffled = toy[np.random.default_rng(0).permutation(toy.n_obs)].copy()
    assert_same(judged(shuffled, percentile=True), expected)


def test_the_order_of_cells_after_the_reference_changes_nothing(toy):
    turned = toy[::-1].copy()
    for adata in (toy, turned):
        adata.layers["new"] = np.maximum(adata.X.toarray() - 0.1, 0)
        spr.tl.score(adata, layer="new")
    assert_same(*(adata.obs[["new_reward"]].set_axis(["observed_reward"], axis=1) for adata in (turned, toy)))


def test_the_order_of_genes_changes_nothing(toy, expected):
    turned = toy[:, np.random.default_rng(1).permutation(toy.n_vars)].copy()
    spr.pp.setup_anndata(turned)
    spr.pp.split(turned, validation_fraction=0.15)
    assert (turned.obs["split"].astype(str) == toy.obs["split"].astype(str)).all()
    assert_same(judged(turned, percentile=True), expected)


def test_other_conditions_do_not_matter(toy, expected):
    names = list(toy.varm["perturbation_effect"].columns)
    part = toy[toy.obs["perturbation"].isin(["control", *names[1::2]])].copy()
    found = judged(part, percentile=True)
    assert_same(found, expected.loc[part.obs_names])


def test_the_order_of_cells_changes_nothing_on_components(toy):
    turned = toy[::-1].copy()
    options = {"verifiers": CONTEXT, "percentile": True}
    assert_same(judged(turned, **options), judged(toy, **options), atol=1e-4)


def permuted(adata, seed):
    return adata[np.random.default_rng(seed).permutation(adata.n_obs)].copy()


def test_an_evaluation_does_not_depend_on_the_order_of_cells(fitted):
    made = spr.tl.predict(fitted, n_cells=50)
    options = {"n_cells": 40, "max_cells": 30}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        # names that occur twice, as after a concatenation, are told apart by what the cells hold
        made.obs_names = [f"cell{i // 2}" for i in range(made.n_obs)]
        turned = permuted(made, 1)
    tables = [
        spr.tl.evaluate(adata, predictions={"theirs": theirs}, **options)
        for adata, theirs in ((fitted, made), (permuted(fitted, 0), turned))
    ]
    assert set(tables[0]["kind"]) == {"generator", "prediction", "baseline", "ceiling"}
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)


def test_a_fit_draws_the_same_cells_whatever_their_order(toy):
    turned = permuted(toy, 0)
    for adata in (toy, turned):
        spr.tl.fit_generator(adata, n_steps=20, width=16, n_latent=6, n_blocks=1, progress=False)
    one, other = (adata.uns["generator"] for adata in (toy, turned))
    # of sampled counts one more or less moves the random numbers after it; what is fitted to denoised cells moves by a little
    sampled = {"linear.trained_shift", "denoise"}
    for name in one["weights"].keys() - sampled:
        np.testing.assert_allclose(one["weights"][name], other["weights"][name], atol=0.03, err_msg=name)
    for name, value in one["fitted"]["self_check"].items():
        if name.endswith(("_control", "_halves")):
            assert value == pytest.approx(other["fitted"]["self_check"][name], abs=1e-5)
