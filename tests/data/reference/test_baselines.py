from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.reference import baselines as populations
from scperturbrl.data.reference.baselines import DOSE_BASELINES, TrainingEffects
from scperturbrl.metrics import combination_ridge_effect, ridge_effect


@pytest.fixture(scope="module")
def cells():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=40, n_singles=6, n_doubles=8, n_cells_per_condition=20, n_controls=60, n_programs=3, n_pathways=2
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.4)
    return Cells.of(adata)


def design(names, parts):
    return np.array([[part in name.split("+") for part in parts] for name in names], dtype=float)


@pytest.mark.parametrize(
    ("baseline", "predict"), [("additive_ridge", ridge_effect), ("combination_ridge", combination_ridge_effect)]
)
def test_ridges_are_those_of_the_metrics_and_fitted_once_for_all_conditions(cells, monkeypatch, baseline, predict):
    training, fits = TrainingEffects.of(cells), []
    parts = sorted({part for name in training.conditions for part in name.split("+")})
    names = cells.conditions("test")
    expected = predict(
        design(training.conditions, parts), training.effects, design_query=design(names, parts)
    ).effect  # fmt: skip
    count = lambda *args, **kwargs: fits.append(1) or predict(*args, **kwargs)
    monkeypatch.setattr(populations, predict.__name__, count)
    found = [training.predict(cells, name, baseline) for name in names]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(names) > 1
    assert len(fits) == 1


@pytest.mark.parametrize("baseline", ["additive_ridge", "combination_ridge"])
def test_a_copy_without_a_condition_does_not_know_it(cells, baseline):
    training = TrainingEffects.of(cells)
    name = next(name for name in training.conditions if "+" in name)
    kept = np.array([other != name for other in training.conditions])
    fewer = {
        "conditions": [other for other in training.conditions if other != name],
        "effects": training.effects[kept],
        "groups": training.groups[kept],
    }
    known = training.predict(cells, name, baseline)
    found = replace(training, **fewer).predict(cells, name, baseline)
    np.testing.assert_array_equal(found, TrainingEffects(**fewer).predict(cells, name, baseline))
    assert np.abs(found - known).max() > 1e-3


@pytest.fixture(scope="module")
def contexts():
    """Pairs that buffer each other, of which training sees none in cell type B."""
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60, n_singles=6, n_doubles=8, n_cells_per_condition=60, n_controls=200, n_programs=6, n_pathways=4,
        cell_types=("A", "B"), fraction_additive=0.0, fraction_buffered=1.0, fraction_epistatic=0.0, seed=0,
    )  # fmt: skip
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    double = adata.obs["perturbation"].astype(str).str.contains("+", regex=False)
    pairs = adata.obs["perturbation"].astype(str)[double].unique()
    adata.obs["part"] = "train"
    adata.obs.loc[double & (adata.obs["cell_type"] == "B"), "part"] = "test"
    adata.obs.loc[double & (adata.obs["cell_type"] == "A") & adata.obs["perturbation"].isin(pairs[:2]), "part"] = (
        "validation"
    )
    spr.pp.split(adata, holdout="column", column="part")
    return adata


def test_a_context_without_combinations_is_told_by_others_how_much_they_do(contexts):
    cells = Cells.of(contexts)
    training, names = TrainingEffects.of(cells), cells.conditions("test")
    error = {}
    for baseline in ("additive_ridge", "combination_ridge"):
        found = np.stack([training.predict(cells, name, baseline) for name in names])
        means = [cells.expression[cells.codes == row].mean(0) for row in cells.rows(names)]
        control = [cells.expression[cells.codes == cells.control_row(row)].mean(0) for row in cells.rows(names)]
        error[baseline] = np.square(found - (np.asarray(means) - np.asarray(control)).reshape(found.shape)).sum()
    assert error["combination_ridge"] < 0.5 * error["additive_ridge"]


def test_nor_is_the_straight_line_of_the_generator_blind_to_it(contexts):
    spr.tl.fit_generator(contexts, n_steps=20, width=16, n_latent=6, progress=False)
    linear = read_generator(contexts, "generator").generator.linear
    assert 0.1 < linear.additivity[0] < 0.9
    own = [float(value) for value in linear.additivity[1:]]
    assert float(linear.additivity[0]) in own
    assert all(value < 0.9 for value in own)


def test_dose_baselines_use_the_doses_of_the_perturbation_in_its_own_context(dosed):
    cells, effects = dosed
    found = {
        name: [effects.predict(cells, f"A | dose=10 | line={line}", name) for line in "xy"] for name in DOSE_BASELINES
    }
    known = dict(zip(effects.conditions, effects.effects, strict=True))
    mine = [known[f"A | dose={dose} | line=x"] for dose in (1, 1000)]
    np.testing.assert_allclose(found["nearest_dose"][0], mine[0], atol=1e-6)
    np.testing.assert_allclose(found["interpolated_dose"][0], (2 * mine[0] + mine[1]) / 3, atol=1e-6)
    # measured in the other context only
    np.testing.assert_allclose(found["nearest_dose"][1], mine[0], atol=1e-6)


@pytest.fixture
def dosed():
    rows = [
        ("control", 0, "x"),
        ("control", 0, "y"),
        ("A", 1, "x"),
        ("A", 10, "x"),
        ("A", 1000, "x"),
        ("A", 10, "y"),
        ("B", 10, "y"),
    ]
    obs = pd.DataFrame([row for row in rows for _ in range(4)], columns=["perturbation", "dose", "line"])
    obs.index = [f"c{i}" for i in obs.index]
    obs["split"] = np.where((obs["perturbation"] == "A") & (obs["dose"] == 10), "test", "train")
    adata = AnnData(np.random.default_rng(0).gamma(2, size=(len(obs), 5)).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata, covariate_keys=["line"], dose_key="dose")
    cells = Cells.of(adata)
    return cells, TrainingEffects.of(cells)
