from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.contexts import context_effects, context_line, fit_contexts, is_new_context
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.reference.baselines import TrainingEffects
from scperturbrl.flow.linear_part import LinearPart

SHARED = {"fraction_shared": 1.0, "fraction_scaled": 0.0, "dispersion": 6.0, "library_size": 2500}


def screen(held_out, *, n_steps, seed=0, **options):
    """A generator of contexts of which one has control cells only."""
    adata = spr.datasets.simulated_contexts(n_programs=9, n_pathways=6, **SHARED, seed=seed, **options)
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=[held_out], seed=0)
    spr.tl.fit_generator(adata, n_steps=n_steps, width=32, n_latent=10, progress=False)
    return adata


@pytest.fixture(scope="module")
def fitted():
    return screen("B2", n_steps=20, n_genes=80, n_singles=4, n_cell_types=2, n_cells_per_condition=30, n_controls=60)


@pytest.fixture
def world(fitted):
    return read_generator(fitted, "generator"), Cells.of(fitted)


def profiles(cells, table):
    control = [cells.table.index.get_loc(f"control | cell_type={group}") for group in table["group"]]
    return torch.as_tensor(
        np.stack([cells.block(np.flatnonzero(cells.codes == row)).mean(0) for row in control]), dtype=torch.float32
    )


def test_new_is_a_context_without_perturbed_training_cells(world):
    stored, cells = world
    new = is_new_context(stored, cells.table)
    assert set(cells.table["group"][new]) == {"B2"}
    assert new.sum() == (cells.table["group"] == "B2").sum()
    stored.generator.linear.context_control = torch.zeros(0, 80)
    assert not is_new_context(stored, cells.table).any()


def test_effects_are_those_of_the_baseline(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")]
    found, known = context_effects(stored, table, profiles(cells, table))
    assert known.all()
    assert len(table) == 4
    training = TrainingEffects.of(cells)
    expected = np.stack([training.predict(cells, name, "context_line") for name in table.index])
    space = stored.generator.space
    torch.testing.assert_close(
        found, space.project(torch.as_tensor(expected, dtype=torch.float32)), atol=0.02, rtol=0.02
    )


def test_without_a_share_of_the_line_it_is_the_mean_shift(world):
    stored, cells = world
    linear = stored.generator.linear
    linear.context_line.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert context_line(stored).share == 0
    table = cells.table.loc[cells.conditions("test")[:1]]
    place = 1 + stored.vocabulary.tokens.index(table["parts"].iloc[0][0])
    measured = linear.context_effect[:, place]
    measured = measured[measured[:, 0] > -1e20]
    assert len(measured) >= 2
    found, _ = context_effects(stored, table, profiles(cells, table))
    torch.testing.assert_close(found, stored.generator.space.project(measured.mean(0, keepdim=True)))


def test_effects_of_parts_are_added_and_unknown_parts_make_all_unknown(world):
    stored, cells = world
    names = cells.conditions("test")[:3]
    table = cells.table.loc[names].copy()
    first, second = (parts[0] for parts in table["parts"].iloc[:2])
    alone, _ = context_effects(stored, table, profiles(cells, table))
    table["parts"] = [(first, second), (first, "NOPE"), ()]
    found, known = context_effects(stored, table, profiles(cells, table))
    assert known.tolist() == [True, False, False]
    torch.testing.assert_close(found[0], alone[0] + alone[1])
    assert not found[1:].any()


def test_an_effect_that_was_not_measured_anywhere_is_unknown(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")[:1]]
    place = 1 + stored.vocabulary.tokens.index(table["parts"].iloc[0][0])
    stored.generator.linear.context_effect[:, place] = -1e30
    assert not context_effects(stored, table, profiles(cells, table))[1].any()


@pytest.mark.parametrize("held_out", ["B2", "A1"])
def test_effects_in_a_new_context_are_as_large_as_the_true_ones(held_out):
    adata = screen(
        held_out,
        n_steps=250,
        n_genes=120,
        n_singles=6,
        n_cell_types=2,
        n_cells_per_condition=60,
        n_controls=120,
        effect_size=1.5,
    )
    new, true = spr.tl.predict(adata, n_cells=200), adata.uns["truth"]["mean_effects"]
    control = ((adata.obs["perturbation"] == "control") & (adata.obs["cell_type"] == held_out)).to_numpy()
    along, size = 0.0, 0.0
    names = new.obs["condition"].unique()
    assert len(names) == 6
    for name in names:
        made = new.X[(new.obs["condition"] == name).to_numpy()].mean(0).A1 - adata.X[control].mean(0).A1
        along += made @ true[name].to_numpy()
        size += np.square(true[name].to_numpy()).sum()
    assert 0.8 < along / size < 1.2


def test_doses_are_brought_to_the_full_dose_before_they_are_carried():
    rng = np.random.default_rng(0)
    full, amount = rng.normal(size=(2, 5)), np.array([0.5, 1.0, 0.5, 1.0])
    linear = LinearPart(2, 1, 3, n_genes=5)
    stored = SimpleNamespace(
        generator=SimpleNamespace(linear=linear), vocabulary=SimpleNamespace(groups=("x", "y"), tokens=("drug",))
    )
    reference = SimpleNamespace(
        control_mean=np.zeros((4, 5), dtype=np.float32), effect=amount[:, None] * np.repeat(full, 2, axis=0)
    )
    table = pd.DataFrame({"group": ["x", "x", "y", "y"], "parts": [("drug",)] * 4})
    fit_contexts(stored, reference, table, amount)
    np.testing.assert_allclose(linear.context_effect[:, 1].numpy(), full, rtol=1e-5)
