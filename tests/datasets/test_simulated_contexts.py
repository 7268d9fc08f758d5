from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scperturbrl as spr
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.datasets import simulated_contexts
from scperturbrl.datasets._contexts import expected_log

SMALL = {"n_genes": 60, "n_singles": 4, "n_cells_per_condition": 5, "n_controls": 8}


@pytest.fixture(scope="module")
def contexts():
    return simulated_contexts(n_genes=200, n_singles=8, n_cells_per_condition=80, n_controls=250, seed=3)


def slopes(adata):
    """Size of every measured effect along the true one."""
    cells, obs = adata.to_df(), adata.obs
    truth, found = adata.uns["truth"], {}
    for name, row in truth["conditions"].iterrows():
        own = obs["cell_type"] == row["cell_type"]
        measured = cells[own & (obs["perturbation"] == row["perturbation"])].mean()
        measured = measured - cells[own & (obs["perturbation"] == "control")].mean()
        true = truth["mean_effects"][name]
        found[name] = float(true @ measured / (true @ true))
    return pd.Series(found)


def test_same_seed_same_object():
    one, two = simulated_contexts(**SMALL, seed=5), simulated_contexts(**SMALL, seed=5)
    assert (one.layers["counts"] != two.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(one.uns["truth"]["mean_effects"], two.uns["truth"]["mean_effects"])
    assert (one.layers["counts"] != simulated_contexts(**SMALL, seed=6).layers["counts"]).nnz > 0


def test_every_cell_type_has_controls_and_every_perturbation(contexts):
    table = pd.crosstab(contexts.obs["perturbation"], contexts.obs["cell_type"])
    assert list(table) == ["A1", "A2", "A3", "B1", "B2", "B3"]
    assert (table.loc["control"] == 250).all()
    assert (table.drop("control") == 80).all(axis=None)
    assert (contexts.obs["lineage"].astype(str) == contexts.obs["cell_type"].str[0].astype(str)).all()


def test_conditions_have_the_names_that_the_package_gives_them(contexts):
    adata = contexts.copy()
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    table, _ = condition_table(adata, Setup.of(adata))
    truth = adata.uns["truth"]
    assert set(truth["conditions"].index) == set(table.index[~table["is_control"]])
    for name in ("effects", "mean_effects"):
        assert list(truth[name]) == list(truth["conditions"].index)
    assert list(truth["program_activity"].index) == list(truth["conditions"].index)


def test_measured_effects_have_the_true_size(contexts):
    found = slopes(contexts)
    assert found.mean() == pytest.approx(1, abs=0.03)
    assert found.between(0.8, 1.2).all()


def test_expected_logarithms_are_sums_over_the_negative_binomial():
    for mean, library_size, theta in ((0.05, 500, 1.0), (3.0, 6000, 3.0), (80.0, 300, 10.0)):
        counts = np.arange(3000)
        weight = stats.nbinom(theta, theta / (theta + mean)).pmf(counts)
        exact = (weight * np.log1p(1e4 * counts / library_size)).sum()
        assert expected_log([mean], library_size, theta)[0] == pytest.approx(exact, rel=1e-3)


def test_shared_scaled_and_specific_effects_are_what_they_are_called(contexts):
    truth = contexts.uns["truth"]
    types, conditions, effects = truth["cell_types"], truth["conditions"], truth["effects"]
    assert types["factor"].mean() == pytest.approx(1)
    assert conditions.groupby("kind").size().to_dict() == {"shared": 24, "scaled": 12, "specific": 12}
    for name, single in truth["singles"].iterrows():
        own = conditions[conditions["perturbation"] == name]
        change = effects[own.index].to_numpy()
        if single["kind"] == "shared":
            assert np.ptp(change, axis=1).max() < 1e-12
        elif single["kind"] == "scaled":
            unit = change / types["factor"].loc[own["cell_type"]].to_numpy()
            np.testing.assert_allclose(unit, unit[:, :1] @ np.ones((1, 6)), atol=1e-12)
        else:
            inside = (types["lineage"].loc[own["cell_type"]] == single["lineage"]).to_numpy()
            others = effects.index != name
            assert inside.sum() == 3
            assert (change[others][:, ~inside] == 0).all()
            assert np.abs(change[others][:, inside]).max() > 0.3
            assert (np.abs(change[~others]) > 1e-3).all()


def test_cell_types_of_a_lineage_are_relatives(contexts):
    control = contexts[(contexts.obs["perturbation"] == "control").to_numpy()]
    profile = control.to_df().groupby(control.obs["cell_type"], observed=True).mean().T
    distance = {(a, b): float(((profile[a] - profile[b]) ** 2).sum() ** 0.5) for a in profile for b in profile if a < b}
    near = [value for (a, b), value in distance.items() if a[0] == b[0]]
    far = [value for (a, b), value in distance.items() if a[0] != b[0]]
    assert min(far) > max(near)


@pytest.mark.parametrize("ratio", [0.5, (0.25, 4)])
def test_treated_cells_have_the_depth_that_was_asked_for(ratio):
    adata = simulated_contexts(**SMALL | {"n_cells_per_condition": 200, "n_controls": 400}, depth_ratio=ratio)
    depth = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    control = depth[(adata.obs["perturbation"] == "control").to_numpy()].mean()
    for row in adata.uns["truth"]["conditions"].itertuples():
        own = (adata.obs["perturbation"] == row.perturbation) & (adata.obs["cell_type"] == row.cell_type)
        assert depth[own.to_numpy()].mean() / control == pytest.approx(row.depth_ratio, rel=0.12)
    drawn = adata.uns["truth"]["conditions"]["depth_ratio"]
    if ratio == 0.5:
        assert (drawn == 0.5).all()
    else:
        assert drawn.min() < 0.5
        assert drawn.max() > 2
        assert drawn.between(0.25, 4).all()


def test_depth_leaves_biology_and_true_effects_alone():
    one, two = simulated_contexts(**SMALL), simulated_contexts(**SMALL, depth_ratio=(0.25, 4))
    for name in ("effects", "mean_effects", "cell_type_baseline"):
        pd.testing.assert_frame_equal(one.uns["truth"][name], two.uns["truth"][name])
    assert one.layers["counts"].sum() != two.layers["counts"].sum()


def test_without_effects_nothing_happens():
    adata = simulated_contexts(**SMALL, effect_size=0)
    assert (adata.uns["truth"]["effects"] == 0).all(axis=None)
    assert (adata.uns["truth"]["mean_effects"] == 0).all(axis=None)


@pytest.mark.parametrize(("n_genes", "library_size"), [(70, 100), (300, 200), (1000, 1000)])
def test_shallow_panels_can_be_made(n_genes, library_size):
    sizes = {"n_genes": n_genes, "library_size": library_size}
    for adata in (
        simulated_contexts(**SMALL | sizes),
        spr.datasets.simulated_perturbseq(n_singles=8, n_doubles=4, n_cells_per_condition=20, n_controls=100, **sizes),
    ):
        counts = adata.layers["counts"]
        assert counts.shape[1] == n_genes
        assert counts.sum() / counts.shape[0] == pytest.approx(library_size, rel=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_lineages", 0),
        ("n_lineages", 27),
        ("n_cell_types", 0),
        ("n_cells_per_condition", 1.5),
        ("n_controls", 0),
        ("n_genes", 10),
        ("fraction_shared", 1.2),
        ("fraction_shared", 0.9),
        ("depth_ratio", 0),
        ("depth_ratio", (2, 1)),
        ("depth_ratio", (1, 2, 3)),
        ("depth_ratio", "deep"),
        ("library_size", -1),
    ],
)
def test_a_bad_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        simulated_contexts(**{name: value})


def test_round_trip(tmp_path):
    adata = simulated_contexts(**SMALL, depth_ratio=(0.5, 2))
    adata.write_h5ad(tmp_path / "contexts.h5ad")
    again = anndata.read_h5ad(tmp_path / "contexts.h5ad")
    truth = again.uns["truth"]
    assert truth["parameters"]["depth_ratio"].tolist() == [0.5, 2]
    np.testing.assert_array_equal(truth["mean_effects"], adata.uns["truth"]["mean_effects"])
    assert list(truth["conditions"].index) == list(adata.uns["truth"]["conditions"].index)
