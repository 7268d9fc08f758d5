from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.doses import dose_effects, fit_doses
from scperturbrl.data.generator.linear import linear_weights
from scperturbrl.data.generator.means import linear_effects
from scperturbrl.data.generator.stored import positions, read_generator
from scperturbrl.flow.linear_part import LinearPart
from scperturbrl.metrics import interpolated_dose_effect


def conditions(rows):
    """Condition table of (perturbation, group, dose)."""
    table = pd.DataFrame(rows, columns=["perturbation", "group", "dose"])
    table.index = [f"{p} | {g} | {d:g}" for p, g, d in rows]
    table["parts"] = [tuple(p.split("+")) for p in table["perturbation"]]
    return table.assign(n_parts=table["parts"].str.len(), split="train")


@pytest.fixture
def trained():
    return conditions([("A", "x", 1.0), ("A", "x", 100.0), ("A", "y", 1.0), ("B", "x", 1.0), ("A+B", "x", 1.0)])


@pytest.fixture
def stored(trained):
    linear = LinearPart(2, 2, 3, n_conditions=len(trained))
    names = list(trained.index)
    return SimpleNamespace(
        generator=SimpleNamespace(linear=linear), conditions=trained, training_conditions=lambda: names
    )


def test_between_doses_effects_are_interpolated_and_beyond_them_the_nearest_is_used(stored, trained):
    effects = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    fit_doses(stored, trained, effects)
    asked = conditions([("A", "x", 10.0), ("A", "x", 0.1), ("A", "x", 1000.0)])
    found, known, between = dose_effects(stored, asked)
    assert known.all()
    assert between.tolist() == [True, False, False]
    expected = interpolated_dose_effect(
        ["A", "A"], effects[:2], doses_train=[1, 100], labels_query=["A"] * 3, doses_query=[10, 0.1, 1000]
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_other_groups_combinations_and_trained_conditions_have_none(stored, trained):
    fit_doses(stored, trained, torch.ones(5, 3))
    asked = conditions([("C", "x", 10.0), ("B", "y", 10.0), ("A+B", "x", 10.0), ("A", "x", 0.0), ("A", "x", 1.0)])
    found, known, between = dose_effects(stored, asked)
    assert not known.any()
    assert not between.any()
    assert not found.any()


def test_without_doses_nothing_is_stored(stored, trained):
    fit_doses(stored, trained.assign(dose=0.0), torch.ones(5, 3))
    assert not stored.generator.linear.condition_effect.any()


def test_an_unmeasured_dose_is_shifted_towards_the_interpolated_effect():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=80, n_singles=4, n_doubles=0, doses=(0.1, 1.0, 10.0), n_cells_per_condition=30, n_controls=60, seed=0
    )
    spr.pp.setup_anndata(adata, dose_key="dose")
    names = sorted(set(adata.obs["perturbation"].astype(str)) - {"control"})
    asked = (adata.obs["perturbation"] == names[0]) & (adata.obs["dose"] == 1)
    adata.obs["side"] = np.where(asked, "test", "train")
    spr.pp.split(adata, holdout="column", column="side")
    spr.tl.fit_generator(adata, n_steps=20, width=16, n_latent=6, progress=False)
    stored, cells = read_generator(adata, "generator"), Cells.of(adata)
    table = cells.table.loc[cells.conditions("test")]
    effect, known = linear_effects(stored, table, stored.vocabulary.batch(table))
    place, own = positions(stored), stored.conditions
    doses = own[(own["perturbation"] == names[0]) & (own["split"] == "train")]
    assert sorted(doses["dose"]) == [0.1, 10.0]
    halfway = stored.generator.linear.condition_effect[[place[name] for name in doses.index]].mean(0)
    assert known.all()
    torch.testing.assert_close(effect[0], halfway, rtol=1e-4, atol=1e-5)
    # no validation condition, so the prior value
    assert linear_weights(stored, cells, table, seed=0) == pytest.approx([0.5])
    assert stored.fitted["linear"]["dose_weight"] == pytest.approx(0.5)
