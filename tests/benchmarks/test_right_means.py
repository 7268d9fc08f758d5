from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.adapters.base import NotApplicable
from benchmarks.right_means import measured_singles, right_means

from scperturbrl.data.generator.stored import read_generator


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.4)
    spr.tl.fit_generator(adata, n_steps=20, width=16, n_latent=6)
    return adata


def test_every_held_out_condition_has_the_mean_of_half_its_cells(screen):
    made = right_means(screen, "generator", n_cells=200, seed=0)
    space = read_generator(screen, "generator").generator.space
    encode = lambda cells: space.encode(torch.as_tensor(np.asarray(cells))).numpy().mean(0)
    labels, rows = screen.obs["perturbation"].astype(str), made.obs["perturbation"].astype(str)
    held_out = labels[screen.obs["split"] == "test"].unique()
    assert set(rows) == set(held_out)
    predicted = spr.tl.predict(screen, n_cells=200)
    for name in held_out:
        half = encode(screen.X[(labels == name).to_numpy()].toarray()[::2])
        own = encode(made.X[(rows == name).to_numpy()])
        before = encode(predicted.X[(predicted.obs["perturbation"].astype(str) == name).to_numpy()].toarray())
        assert np.abs(own - half).max() < 0.3 * np.abs(before - half).max()


def test_its_cells_are_normalised_counts(screen):
    made = right_means(screen, "generator", n_cells=20, seed=1)
    assert made.shape == (20 * made.obs["perturbation"].nunique(), screen.n_vars)
    assert made.X.min() == 0
    assert list(made.var_names) == list(screen.var_names)
    assert (right_means(screen, "generator", n_cells=20, seed=1).X == made.X).all()


def test_measured_singles_land_on_the_weighted_sum_of_their_effects(screen):
    made = measured_singles(screen, "generator", n_cells=200, seed=0)
    space = read_generator(screen, "generator").generator.space
    encode = lambda cells: space.encode(torch.as_tensor(cells.toarray() if hasattr(cells, "toarray") else cells)).mean(
        0
    )
    mean = lambda name: encode(screen.X[(screen.obs["perturbation"] == name).to_numpy()])
    pairs, control = screen.uns["truth"]["interaction"], mean("control")
    weight = pairs[["first_weight", "second_weight"]].to_numpy().mean()
    for name in made.obs["perturbation"].unique():
        expected = weight * sum(mean(part) - control for part in name.split("+"))
        own = encode(made.X[(made.obs["perturbation"] == name).to_numpy()]) - control
        assert (own - expected).norm() < 0.2 * expected.norm()


def test_without_the_truth_nobody_knows_how_much_doubles_do(screen):
    other = screen.copy()
    del other.uns["truth"]
    with pytest.raises(NotApplicable, match="simulated"):
        measured_singles(other, "generator", n_cells=20, seed=0)
