from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.baselines import TrainingEffects
from scperturbrl.data.reference.context_baseline import ContextEffects


@pytest.fixture(scope="module")
def cells():
    adata = spr.datasets.simulated_contexts(
        n_genes=60,
        n_singles=4,
        n_cell_types=2,
        n_cells_per_condition=20,
        n_controls=30,
        n_programs=6,
        n_pathways=4,
        library_size=2000,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    held_out = adata.obs["cell_type"] == "B2"
    # one perturbation that was measured in two contexts only
    rare = sorted(set(adata.obs["perturbation"]) - {"control"})[0]
    held_out |= (adata.obs["perturbation"] == rare) & (adata.obs["cell_type"] == "B1")
    adata.obs["side"] = np.where(held_out & (adata.obs["perturbation"] != "control"), "test", "train")
    spr.pp.split(adata, holdout="column", column="side")
    return Cells.of(adata)


def mean(cells, name):
    return cells.block(np.flatnonzero(cells.codes == cells.table.index.get_loc(name))).mean(0)


@pytest.fixture(scope="module")
def collected(cells):
    names = cells.conditions("train", min_cells=2)
    control = {name: mean(cells, "control | cell_type=" + cells.table.loc[name, "group"]) for name in names}
    effects = np.stack([mean(cells, name) - control[name] for name in names])
    return ContextEffects.of(cells, names, effects), dict(zip(names, effects, strict=True))


def test_effects_and_profiles_are_ordered_by_context_and_perturbation(cells, collected):
    found, effects = collected
    assert found.contexts == ["A1", "A2", "B1"]
    assert set(found.profiles) == {*found.contexts, "B2"}
    for k, context in enumerate(found.contexts):
        np.testing.assert_allclose(found.controls[k], mean(cells, f"control | cell_type={context}"), atol=1e-5)
        for p, perturbation in enumerate(found.perturbations):
            name = f"{perturbation} | cell_type={context}"
            expected = effects.get(name, np.full(60, np.nan))
            np.testing.assert_allclose(found.effects[k, p], expected, atol=1e-6)
    assert np.isnan(found.effects).all(2).sum() == 1


def test_the_context_asked_for_does_not_speak_for_itself(collected):
    found, _ = collected
    perturbation = found.perturbations[1]
    others = [0, 2]
    expected = found.line.predict(found.controls[others], found.effects[others, 1], control_query=found.profiles["A2"])
    nothing = np.full(60, 9.0)
    np.testing.assert_array_equal(found.predict("A2", [perturbation], nothing), expected)
    spoilt = found.effects.copy()
    spoilt[1] = 1e3
    again = ContextEffects(found.contexts, found.perturbations, found.controls, spoilt, found.profiles, line=found.line)
    np.testing.assert_array_equal(again.predict("A2", [perturbation], nothing), expected)


def test_parts_are_added_and_what_is_unknown_is_left_to_another_baseline(collected):
    found, _ = collected
    first, second = found.perturbations[1:3]
    nothing = np.full(60, 9.0)
    alone = [found.predict("B2", [part], nothing) for part in (first, second)]
    np.testing.assert_allclose(found.predict("B2", [first, second], nothing), alone[0] + alone[1])
    assert found.predict("B2", [first, "NOPE"], nothing) is nothing
    only = ContextEffects(
        found.contexts[:1],
        found.perturbations,
        found.controls[:1],
        found.effects[:1],
        found.profiles,
        line=found.line,
    )
    # measured in the context that is asked for and in no other
    assert only.predict(found.contexts[0], [first], nothing) is nothing
    np.testing.assert_allclose(only.predict("B2", [first], nothing), found.effects[0, 1])


def test_the_baseline_of_evaluations_is_this_one(cells, collected):
    found, _ = collected
    training = TrainingEffects.of(cells)
    name = cells.conditions("test")[-1]
    expected = found.predict(cells.table.loc[name, "group"], cells.table.loc[name, "parts"], np.zeros(60))
    np.testing.assert_allclose(training.predict(cells, name, "context_line"), expected, atol=1e-4)
