from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import scperturbrl as spr
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.datasets import plant_effects, simulated_perturbseq


@pytest.fixture(scope="module")
def controls():
    screen = simulated_perturbseq(
        n_genes=120, n_singles=1, n_doubles=0, n_cells_per_condition=1, n_controls=3000, cell_types=("T", "B"), seed=2
    )
    own = screen[(screen.obs["perturbation"] == "control").to_numpy()].copy()
    return anndata.AnnData(own.layers["counts"], obs=own.obs[["cell_type"]], var=own.var)


@pytest.fixture(scope="module")
def planted(controls):
    return plant_effects(controls, n_singles=4, n_doubles=2, context_key="cell_type", n_cells_per_condition=150, seed=1)


def setup_of(adata, **options):
    spr.pp.setup_anndata(adata, **options)
    return condition_table(adata, Setup.of(adata))[0]


def test_same_seed_same_object(controls):
    one, two = (plant_effects(controls, seed=4) for _ in range(2))
    assert (one.layers["counts"] != two.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(one.uns["truth"]["mean_effects"], two.uns["truth"]["mean_effects"])
    assert (one.layers["counts"] != plant_effects(controls, seed=5).layers["counts"]).nnz > 0


def test_cells_are_those_of_the_user_with_fewer_counts(controls, planted):
    assert planted.obs_names.equals(controls.obs_names)
    assert planted.var_names.equals(controls.var_names)
    assert (planted.obs["cell_type"] == controls.obs["cell_type"]).all()
    counts = planted.layers["counts"]
    assert (counts.toarray() <= controls.X.toarray()).all()
    assert np.array_equal(counts.data, np.rint(counts.data))
    assert 0.3 < counts.sum() / controls.X.sum() < 0.9


def test_every_context_has_every_condition_and_controls(planted):
    table = pd.crosstab(planted.obs["perturbation"], planted.obs["cell_type"])
    assert (table.drop("control") == 150).all(axis=None)
    assert (table.loc["control"] == 1500 - 6 * 150).all()
    conditions = planted.uns["truth"]["conditions"]
    found = setup_of(planted.copy(), covariate_keys=["cell_type"])
    assert set(conditions.index) == set(found.index[~found["is_control"]])


def test_counts_change_by_the_true_factor(controls, planted):
    truth, counts = planted.uns["truth"], planted.to_df(layer="counts")
    before, obs = controls.to_df(), planted.obs
    kept = truth["kept"]["kept"]
    idle = (obs["perturbation"] == "control") | ~obs["responder"]
    expected = before[idle].sum() * kept
    assert ((counts[idle].sum() - expected) / np.sqrt(expected * (1 - kept) + 1)).abs().max() < 5
    z = []
    for name, row in truth["conditions"].iterrows():
        own = obs["responder"] & (obs["perturbation"] == row["perturbation"]) & (obs["cell_type"] == row["cell_type"])
        chance = kept * np.exp(truth["effects"][name])
        assert chance.max() <= 1 + 1e-12
        expected = before[own].sum() * chance
        variance = expected * (1 - chance).clip(lower=0)
        z.append(((counts[own].sum() - expected) / np.sqrt(variance))[variance > 5])
    z = np.concatenate(z)
    assert np.abs(z).max() < 6
    assert z.std() == pytest.approx(1, abs=0.1)


def test_thinned_poisson_counts_are_poisson():
    # all cells have the same rates, so that what remains must be Poisson of the true mean
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.linspace(1, 6, 40), (4000, 40)).astype(np.float32)
    cells = anndata.AnnData(sparse.csr_matrix(counts))
    options = {"n_singles": 2, "n_doubles": 0, "fraction_nonresponding": 0.0, "n_cells_per_condition": 1300}
    adata = plant_effects(cells, **options)
    truth = adata.uns["truth"]
    for name in truth["effects"]:
        own = adata.layers["counts"].toarray()[(adata.obs["perturbation"] == name).to_numpy()]
        mean = np.linspace(1, 6, 40) * truth["kept"]["kept"] * np.exp(truth["effects"][name])
        dispersion = ((own - mean.to_numpy()) ** 2 / mean.to_numpy()).mean(0)
        np.testing.assert_allclose(own.mean(0), mean, atol=5 * np.sqrt(6 / 1300))
        assert dispersion.mean() == pytest.approx(1, abs=0.03)
        zeros = stats.poisson(mean).pmf(0)
        np.testing.assert_allclose((own == 0).mean(0), zeros, atol=0.06)


def test_measured_effects_have_the_true_size(planted):
    cells, obs, truth = planted.to_df(), planted.obs, planted.uns["truth"]
    found = []
    for name, row in truth["conditions"].iterrows():
        own = obs["cell_type"] == row["cell_type"]
        measured = cells[own & (obs["perturbation"] == row["perturbation"])].mean()
        measured = measured - cells[own & (obs["perturbation"] == "control")].mean()
        true = truth["mean_effects"][name]
        found.append(float(true @ measured / (true @ true)))
    assert np.mean(found) == pytest.approx(1, abs=0.05)
    assert np.all((np.array(found) > 0.75) & (np.array(found) < 1.25))


def test_contexts_differ_only_by_the_modulation_of_programs(controls):
    same = plant_effects(controls, n_singles=3, n_doubles=1, context_key="cell_type", context_spread=0)
    effects = same.uns["truth"]["effects"].to_numpy().reshape(120, 4, 2)
    np.testing.assert_array_equal(effects[:, :, 0], effects[:, :, 1])
    other = plant_effects(controls, n_singles=3, n_doubles=1, context_key="cell_type", context_spread=1.0)
    assert not np.allclose(*np.moveaxis(other.uns["truth"]["effects"].to_numpy().reshape(120, 4, 2), 2, 0))
    assert (other.uns["truth"]["context_modulation"].mean() - 1).abs().max() < 1e-12


def test_doses_scale_effects_and_controls_have_none(controls):
    adata = plant_effects(controls, n_singles=3, n_doubles=1, doses=(0.1, 1, 10), max_fold=50)
    truth = adata.uns["truth"]
    assert set(adata.obs["dose"]) == {0, 0.1, 1, 10}
    assert (adata.obs.loc[adata.obs["perturbation"] == "control", "dose"] == 0).all()
    found = setup_of(adata.copy(), dose_key="dose")
    assert set(truth["conditions"].index) == set(found.index[~found["is_control"]])
    for name in truth["singles"].index:
        size = [truth["effects"][f"{name} | dose={dose}"].abs().sum() for dose in ("0.1", "1", "10")]
        assert size == sorted(size)


def test_additive_doubles_are_the_sum_of_their_singles(controls):
    adata = plant_effects(
        controls,
        n_singles=4,
        n_doubles=3,
        fraction_additive=1.0,
        fraction_buffered=0.0,
        fraction_epistatic=0.0,
        max_fold=100,
    )
    effects = adata.uns["truth"]["effects"]
    for double, row in adata.uns["truth"]["interaction"].iterrows():
        np.testing.assert_allclose(effects[double], effects[row["first"]] + effects[row["second"]], atol=1e-12)


def test_no_rate_rises_beyond_the_largest_fold_and_no_gene_loses_more(controls):
    truth = plant_effects(controls, effect_size=2, max_fold=3).uns["truth"]
    assert truth["effects"].max(axis=None) == pytest.approx(np.log(3))
    assert truth["kept"]["kept"].min() == pytest.approx(1 / 3)


def test_nothing_is_planted_with_an_effect_size_of_zero(controls):
    adata = plant_effects(controls, effect_size=0)
    assert (adata.layers["counts"] != controls.X).nnz == 0
    assert (adata.uns["truth"]["mean_effects"] == 0).all(axis=None)


def test_the_users_cells_are_left_alone(controls):
    before = controls.copy()
    plant_effects(controls)
    assert (before.X != controls.X).nnz == 0
    pd.testing.assert_frame_equal(before.obs, controls.obs)
    assert not controls.uns


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"layer": "raw"}, KeyError, "no `layers\\['raw'\\]`"),
        ({"context_key": "donor"}, KeyError, "'donor'"),
        ({"control_fraction": 1.0}, ValueError, "`control_fraction`"),
        ({"max_fold": 1}, ValueError, "`max_fold`"),
        ({"context_spread": -1}, ValueError, "`context_spread`"),
        ({"n_singles": 0}, ValueError, "`n_singles`"),
        ({"fraction_additive": 0.9}, ValueError, "`fraction_additive`"),
        (
            {"n_singles": 40, "n_doubles": 700, "context_key": "cell_type", "control_fraction": 0.9},
            ValueError,
            "Context 'B' has 1500 cells",
        ),
    ],
)
def test_a_bad_argument_is_named(controls, change, error, words):
    with pytest.raises(error, match=words):
        plant_effects(controls, **(change if "n_doubles" in change else change | {"n_doubles": 0}))


def test_normalised_values_and_few_genes_are_refused(controls):
    logs = anndata.AnnData(controls.X.log1p(), obs=controls.obs, var=controls.var)
    with pytest.raises(ValueError, match="does not hold raw counts.*`layer`"):
        plant_effects(logs)
    with pytest.raises(ValueError, match="has 30 genes; at least 40"):
        plant_effects(controls[:, :30])


def test_round_trip(controls, tmp_path):
    adata = plant_effects(controls, context_key="cell_type", doses=(1, 2), n_singles=3, n_doubles=1)
    adata.write_h5ad(tmp_path / "planted.h5ad")
    truth = anndata.read_h5ad(tmp_path / "planted.h5ad").uns["truth"]
    np.testing.assert_array_equal(truth["effects"], adata.uns["truth"]["effects"])
    assert list(truth["conditions"].index) == list(adata.uns["truth"]["conditions"].index)
    assert list(truth["kept"].index) == list(adata.var_names)
