from __future__ import annotations

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.linear import fit_recentring, linear_weights, magnitudes, recentred
from scperturbrl.data.generator.means import linear_effects, predicted_means, trained_shifts
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.reference.baselines import TrainingEffects


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


def test_the_linear_part_is_the_combination_ridge_of_the_baselines(world):
    stored, cells = world
    names = cells.conditions("test")
    table = cells.table.loc[names]
    found, known = linear_effects(stored, table, stored.vocabulary.batch(table))
    assert known.all()
    baseline = np.stack([TrainingEffects.of(cells).predict(cells, name, "combination_ridge") for name in names])
    space = stored.generator.space
    expected = torch.as_tensor(baseline, dtype=torch.float32) @ space.components / space.scale
    # the baseline chooses its penalty over all genes, the linear part over the components
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_conditions_that_were_not_trained_on_go_towards_the_line_and_the_others_to_their_own_mean(world):
    stored, cells = world
    weight = linear_weights(stored, cells, cells.table, seed=0)
    held_out = set(cells.conditions("test")) | set(cells.conditions("validation"))
    assert set(cells.table.index[weight > 0]) == held_out
    shift = recentred(stored, cells, cells.table, seed=0).shift
    trained = cells.table.index.isin(cells.conditions("train"))
    torch.testing.assert_close(shift[trained], trained_shifts(stored, cells.table)[trained])
    assert (shift[weight > 0].abs().sum(1) > 0).all()
    assert not shift[cells.table["is_control"].to_numpy()].any()


def test_generated_means_land_the_chosen_share_of_the_way(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")[:1]]
    stored.generator.linear.magnitude.fill_(1)
    stored.generator.linear.weight.fill_(0.25)
    quarter = recentred(stored, cells, table, seed=0).shift
    stored.generator.linear.weight.fill_(0.5)
    torch.testing.assert_close(recentred(stored, cells, table, seed=0).shift, 2 * quarter)


def test_effects_of_unseen_combinations_are_as_large_as_the_magnitude_says(world):
    stored, cells = world
    linear = stored.generator.linear
    table = cells.table.loc[cells.conditions("test")]
    linear.weight.fill_(0.5)

    def effects(magnitude):
        linear.magnitude.fill_(magnitude)
        means = predicted_means(stored, cells, table, np.ones(len(table), dtype=bool), seed=0, device="cpu")
        return means.flow + recentred(stored, cells, table, seed=0).shift - means.control

    whole = effects(1.0)
    torch.testing.assert_close(effects(0.8), 0.8 * whole)
    told = magnitudes(stored, cells.table)
    assert set(cells.table.index[told < 1]) == {*cells.conditions("test"), *cells.conditions("validation")}
    linear.weight.zero_()
    torch.testing.assert_close(effects(0.8), 0.8 * effects(1.0))


def test_what_was_chosen_is_told(fitted, world):
    linear = world[0].generator.linear
    told = fitted.uns["generator"]["fitted"]["linear"]
    assert told["magnitude"] == pytest.approx(float(linear.magnitude))
    assert told["additivity"] == pytest.approx(float(linear.additivity[0]))
    assert told["weight"] == pytest.approx(float(linear.weight))


@pytest.mark.parametrize(("additivity", "most"), [(1.0, 0.5), (0.7, 0.8), (0.2, 1.0)])
def test_the_more_combinations_fall_short_of_their_sum_the_more_the_straight_line_is_trusted(
    world, monkeypatch, additivity, most
):
    stored, cells = world
    asked = []
    weight = lambda *means, **limits: asked.append(limits) or 0.3
    monkeypatch.setattr("scperturbrl.data.generator.linear.recentring_weight", weight)
    stored.generator.linear.additivity.fill_(additivity)
    fit_recentring(stored, cells, seed=0)
    assert asked[0] == pytest.approx({"prior": most - 0.25 if most < 1 else 1.0, "most": most})
    # new perturbations
    assert asked[1] == {"prior": 1.0, "most": 1.0, "evidence": 8.0}


def test_the_straight_line_decides_at_most_half_of_what_is_no_combination(world):
    stored, cells = world
    stored.generator.linear.weight.fill_(0.8)
    # a single that training did not have, though its perturbation is known from combinations
    names = cells.conditions("train")
    single = next(
        name for name in names if "+" not in name and any(name in other.split("+") for other in names if "+" in other)
    )
    stored.conditions = stored.conditions.drop(index=single)
    table = cells.table.loc[[single, cells.conditions("test")[0]]]
    assert linear_weights(stored, cells, table, seed=0) == pytest.approx([0.5, 0.8])


def test_buffered_combinations_lower_the_additivity():
    found = {}
    for name, fraction in (("additive", 0.0), ("buffered", 1.0)):
        adata = spr.datasets.simulated_perturbseq(
            n_genes=80, n_singles=8, n_doubles=12, n_cells_per_condition=40, n_controls=150, seed=2,
            fraction_additive=1 - fraction, fraction_buffered=fraction, fraction_epistatic=0.0,
        )  # fmt: skip
        spr.pp.setup_anndata(adata)
        spr.pp.split(adata, holdout="combinations", fraction=0.25, seed=0)
        spr.tl.fit_generator(adata, n_steps=5, width=32, n_latent=10, progress=False)
        found[name] = adata.uns["generator"]["fitted"]["linear"]["additivity"]
    # buffered pairs of the simulator do 0.3 to 0.65 of the sum
    assert 0.3 < found["buffered"] < 0.8 < found["additive"] <= 1


def test_a_new_context_has_no_magnitude():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60,
        n_singles=4,
        n_doubles=0,
        n_cells_per_condition=20,
        n_controls=80,
        cell_types=("T", "B", "M"),
        seed=0,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"], seed=0)
    spr.tl.fit_generator(adata, n_steps=20, width=16, n_latent=6, progress=False)
    stored, cells = read_generator(adata, "generator"), Cells.of(adata, Setup.of(adata))
    assert stored.fitted["linear"]["magnitude"] == 1
    assert (linear_weights(stored, cells, cells.table, seed=0) > 0).any()
    stored.generator.linear.magnitude.fill_(0.5)
    assert (magnitudes(stored, cells.table) == 1).all()


def test_the_weight_is_recorded_with_what_it_rests_on(fitted):
    record = fitted.uns["generator"]["fitted"]["linear"]
    assert record["n_validation"] > 0
    assert 0 <= record["weight"] <= 1
    assert record["linear_r2"] > 0.2
    assert record["flow_r2"] < 1


def test_the_weight_does_not_depend_on_test_cells(fitted, world):
    stored, cells = world
    linear = stored.generator.linear
    fit_recentring(stored, cells, seed=0)
    before = float(linear.weight), float(linear.magnitude)
    spoilt = fitted.copy()
    test = (spoilt.obs["split"] == "test").to_numpy()
    spoilt.X = spoilt.X.toarray()
    spoilt.X[test] = spoilt.X[test][::-1] * 0.5
    fit_recentring(stored, Cells.of(spoilt, Setup.of(spoilt)), seed=0)
    assert (float(linear.weight), float(linear.magnitude)) == before


def test_without_prior_the_flow_is_left_alone(fitted):
    spr.tl.fit_generator(fitted, n_steps=20, width=32, n_latent=10, prior="none", key_added="plain")
    assert fitted.uns["plain"]["weights"]["linear.weight"] == 0
    new = spr.tl.predict(fitted, n_cells=5, key="plain")
    assert (new.uns["prediction"]["conditions"]["linear_weight"] == 0).all()
    assert (spr.tl.predict(fitted, n_cells=5).uns["prediction"]["conditions"]["linear_weight"] > 0).all()


def test_an_unknown_prior_is_refused(fitted):
    with pytest.raises(ValueError, match="prior"):
        spr.tl.fit_generator(fitted, n_steps=2, prior="additive")
