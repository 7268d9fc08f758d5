from __future__ import annotations

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells import Cells
from scperturbrl.data.populations import TrainingEffects
from scperturbrl.data.recentring import fit_recentring, linear_effects, linear_weights, recentred
from scperturbrl.data.registry import Setup
from scperturbrl.data.stored_generator import read_generator


@pytest.fixture(scope="module")
def fitted():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=80, n_singles=8, n_doubles=8, n_cells_per_condition=40, n_controls=150, seed=1
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.25, seed=0)
    spr.tl.fit_generator(adata, n_steps=60, width=32, n_latent=10)
    return adata


@pytest.fixture
def world(fitted):
    return read_generator(fitted, "generator"), Cells.of(fitted, Setup.of(fitted))


def test_the_linear_part_is_the_additive_ridge_of_the_baselines(world):
    stored, cells = world
    names = cells.conditions("test")
    table = cells.table.loc[names]
    found, known = linear_effects(stored, table, stored.vocabulary.batch(table))
    assert known.all()
    baseline = np.stack([TrainingEffects.of(cells).predict(cells, name, "additive_ridge") for name in names])
    space = stored.generator.space
    expected = torch.as_tensor(baseline, dtype=torch.float32) @ space.components / space.scale
    # the baseline chooses its penalty over all genes, the linear part over the components
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_only_conditions_that_were_not_trained_on_are_shifted(world):
    stored, cells = world
    weight = linear_weights(stored, cells.table)
    held_out = set(cells.conditions("test")) | set(cells.conditions("validation"))
    assert set(cells.table.index[weight > 0]) == held_out
    shift = recentred(stored, cells, cells.table, seed=0).shift
    assert (shift.abs().sum(1) > 0).tolist() == (weight > 0).tolist()


def test_generated_means_land_the_chosen_share_of_the_way(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")[:1]]
    stored.generator.linear.weight.fill_(0.25)
    quarter = recentred(stored, cells, table, seed=0).shift
    stored.generator.linear.weight.fill_(0.5)
    torch.testing.assert_close(recentred(stored, cells, table, seed=0).shift, 2 * quarter)


def test_the_weight_is_recorded_with_what_it_rests_on(fitted):
    record = fitted.uns["generator"]["params"]["linear"]
    assert record["n_validation"] > 0
    assert 0 <= record["weight"] <= 0.5
    assert record["linear_r2"] > 0.2
    assert record["flow_r2"] < 1


def test_the_weight_does_not_depend_on_test_cells(fitted, world):
    stored, cells = world
    before = float(stored.generator.linear.weight)
    spoilt = fitted.copy()
    test = (spoilt.obs["split"] == "test").to_numpy()
    spoilt.X = spoilt.X.toarray()
    spoilt.X[test] = spoilt.X[test][::-1] * 0.5
    fit_recentring(stored, Cells.of(spoilt, Setup.of(spoilt)), seed=0)
    assert float(stored.generator.linear.weight) == before


def test_without_prior_the_flow_is_left_alone(fitted):
    spr.tl.fit_generator(fitted, n_steps=20, width=32, n_latent=10, prior="none", key_added="plain")
    assert fitted.uns["plain"]["weights"]["linear.weight"] == 0
    new = spr.tl.predict(fitted, n_cells=5, key="plain")
    assert (new.uns["prediction"]["conditions"]["linear_weight"] == 0).all()
    assert (spr.tl.predict(fitted, n_cells=5).uns["prediction"]["conditions"]["linear_weight"] > 0).all()


def test_an_unknown_prior_is_refused(fitted):
    with pytest.raises(ValueError, match="prior"):
        spr.tl.fit_generator(fitted, n_steps=2, prior="additive")
