from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.adapters.base import NotApplicable
from benchmarks.known_singles import known_singles


def screen(**fractions):
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60,
        n_singles=6,
        n_doubles=8,
        n_cells_per_condition=60,
        n_controls=200,
        n_programs=6,
        n_pathways=4,
        **fractions,
    )
    spr.pp.setup_anndata(adata)
    # both kinds are among them
    spr.pp.split(adata, values=["GENE027+GENE054", "GENE027+GENE056", "GENE054+GENE056"])
    return adata


def means(adata, name):
    return np.asarray(adata.X[(adata.obs["perturbation"] == name).to_numpy()].mean(0)).ravel()


def test_additive_doubles_are_those_of_the_simulator():
    adata = screen(fraction_additive=1.0, fraction_buffered=0.0, fraction_epistatic=0.0)
    made = known_singles(adata, n_cells=400, seed=0)
    held_out = set(adata.obs.loc[adata.obs["split"] == "test", "perturbation"])
    assert set(made.obs["perturbation"]) == held_out
    assert (made.obs["perturbation"].value_counts() == 400).all()
    control = means(adata, "control")
    for name in held_out:
        own, real = means(made, name) - control, means(adata, name) - control
        assert np.square(own - real).sum() < 0.1 * np.square(real).sum()


def test_it_knows_how_doubles_interact_on_average_but_not_each():
    adata = screen(fraction_additive=0.5, fraction_buffered=0.5, fraction_epistatic=0.0)
    made, pairs = known_singles(adata, n_cells=400, seed=0), adata.uns["truth"]["interaction"]
    control = means(adata, "control")
    larger = {
        name: np.square(means(made, name) - control).sum() > np.square(means(adata, name) - control).sum()
        for name in made.obs["perturbation"].unique()
    }
    assert larger == {name: pairs.loc[name, "type"] == "buffered" for name in larger}


def test_cells_are_normalised_and_the_same_for_a_seed():
    adata = screen()
    made = known_singles(adata, n_cells=20, seed=1)
    np.testing.assert_allclose(np.expm1(made.X.toarray()).sum(1), 1e4, rtol=1e-4)
    assert list(made.var_names) == list(adata.var_names)
    assert (known_singles(adata, n_cells=20, seed=1).X != made.X).nnz == 0
    assert (known_singles(adata, n_cells=20, seed=2).X != made.X).nnz > 0


def test_real_data_have_no_truth():
    adata = screen()
    del adata.uns["truth"]
    with pytest.raises(NotApplicable, match="simulated"):
        known_singles(adata, n_cells=20, seed=0)


def test_held_out_singles_are_no_question_for_it():
    adata = screen()
    spr.pp.split(adata, holdout="perturbations", fraction=0.3)
    with pytest.raises(NotApplicable, match="held-out doubles"):
        known_singles(adata, n_cells=20, seed=0)
