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
from scperturbrl.data.reference.context_baseline import ContextEffects
from scperturbrl.data.reference.moments import MeasuredEffects, measured_effects
from scperturbrl.flow.linear_part import LinearPart
from scperturbrl.metrics import context_ridge_effect

SHARED = {"fraction_shared": 1.0, "fraction_scaled": 0.0, "dispersion": 6.0, "library_size": 2500}


def screen(held_out, *, n_steps, seed=0, contexts=None, **options):
    """A generator of contexts (all, or those in `contexts`) of which one has control cells only."""
    adata = spr.datasets.simulated_contexts(n_programs=9, n_pathways=6, **SHARED, seed=seed, **options)
    if contexts is not None:
        adata = adata[adata.obs["cell_type"].isin(contexts)].copy()
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


def test_effects_are_halfway_between_context_line_and_context_ridge_of_denoised_effects(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")]
    found, known = context_effects(stored, table, profiles(cells, table))
    assert known.all()
    assert len(table) == 4
    names = cells.conditions("train") + cells.conditions("validation")
    measured = measured_effects(cells, np.isin(cells.split, ["train", "validation"]), names)
    training = ContextEffects.of(cells, names, measured.effect)
    denoised = dict(zip(names, measured.denoised(), strict=True))
    expected = []
    for _, row in table.iterrows():
        groups = [g for g in training.contexts if f"{row['parts'][0]} | cell_type={g}" in denoised]
        controls = np.stack([training.controls[training.contexts.index(g)] for g in groups])
        effects = np.stack([denoised[f"{row['parts'][0]} | cell_type={g}"] for g in groups])
        query = profiles(cells, table.loc[[row.name]])[0].numpy()
        line = training.line.predict(controls, effects, control_query=query)
        expected.append((line + context_ridge_effect(controls, effects, control_query=query)) / 2)
    torch.testing.assert_close(found, torch.as_tensor(np.stack(expected), dtype=torch.float32), atol=0.02, rtol=0.02)


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


def bare(groups, n_genes):
    """A generator without anything but a linear part in gene space, for one drug."""
    linear = LinearPart(len(groups), 1, n_genes, n_genes=n_genes, n_contexts=len(groups))
    space = SimpleNamespace(loadings=lambda: torch.eye(n_genes))
    vocabulary = SimpleNamespace(groups=tuple(groups), contexts=tuple(groups), tokens=("drug",))
    return SimpleNamespace(generator=SimpleNamespace(linear=linear, space=space), vocabulary=vocabulary)


def test_the_error_of_transferred_effects_is_that_of_contexts_left_out():
    rng = np.random.default_rng(0)
    controls, names = 2 + rng.normal(scale=0.3, size=(40, 50)), [f"c{i}" for i in range(40)]
    shared = rng.normal(size=50)
    size = {}
    for own in (0.1, 1.0):
        effect = shared + own * rng.normal(size=(40, 50))
        stored = bare(names, 50)
        measured = MeasuredEffects(controls, effect, np.full((40, 50), 1e-6))
        table = pd.DataFrame({"group": names, "parts": [("drug",)] * 40})
        fit_contexts(stored, measured, effect, table, np.ones(40))
        linear = stored.generator.linear
        size[own] = float(linear.context_error)
        explained = 1 - own**2 / np.square(shared).mean()
        assert float(linear.context_explained) == pytest.approx(max(explained, 0), abs=0.3)
    # the mean of 39 contexts errs by about the own part of the effect: its squared size relative to that of the shared part
    wanted = {own: own**2 / np.square(shared).mean() for own in size}
    # shrunk towards .1 as if by eight further contexts
    for own, error in size.items():
        assert error == pytest.approx(np.exp((40 * np.log(wanted[own]) + 8 * np.log(0.1)) / 48), rel=0.35)


def test_an_effect_that_was_not_measured_anywhere_is_unknown(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")[:1]]
    place = 1 + stored.vocabulary.tokens.index(table["parts"].iloc[0][0])
    stored.generator.linear.context_effect[:, place] = -1e30
    assert not context_effects(stored, table, profiles(cells, table))[1].any()


# in the last case there is a single other context, whose noise is not averaged away
@pytest.mark.parametrize(
    ("held_out", "contexts", "least"), [("B2", None, 0.8), ("A1", None, 0.8), ("A1", ["A1", "A2"], 0.65)]
)
def test_effects_in_a_new_context_are_as_large_as_the_true_ones(held_out, contexts, least):
    adata = screen(
        held_out,
        contexts=contexts,
        n_steps=100,
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
    assert least < along / size < 1.2


def test_from_a_single_context_rates_change_by_the_same_factor_and_the_error_is_twice_the_prior_value():
    rng = np.random.default_rng(0)
    controls, effect = 2 + rng.normal(scale=0.3, size=(2, 6)), rng.normal(scale=0.3, size=(1, 6))
    stored, table = bare("a", 6), pd.DataFrame({"group": ["a"], "parts": [("drug",)]})
    fit_contexts(stored, MeasuredEffects(controls[:1], effect, np.full((1, 6), 1e-6)), effect, table, np.ones(1))
    found, known = context_effects(stored, table.assign(group=["new"]), torch.as_tensor(controls[1:]).float())
    assert known.all()
    expected = context_ridge_effect(controls[:1], effect, control_query=controls[1])
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4)
    assert float(stored.generator.linear.context_error) == pytest.approx(0.2)


def test_doses_are_brought_to_the_full_dose_before_they_are_carried():
    rng = np.random.default_rng(0)
    full, amount = rng.normal(size=(2, 5)), np.array([0.5, 1.0, 0.5, 1.0])
    stored, effect = bare("xy", 5), amount[:, None] * np.repeat(full, 2, axis=0)
    measured = MeasuredEffects(np.zeros((4, 5)), effect, np.full((4, 5), 0.01))
    table = pd.DataFrame({"group": ["x", "x", "y", "y"], "parts": [("drug",)] * 4})
    fit_contexts(stored, measured, effect, table, amount)
    np.testing.assert_allclose(stored.generator.linear.context_effect[:, 1].numpy(), full, rtol=1e-5)


def test_effects_in_a_validation_context_are_used_for_others_but_not_for_itself():
    rng = np.random.default_rng(0)
    stored, controls, effects = bare("abcv", 6), 2 + rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    stored.vocabulary.groups = ("a", "b", "c")
    table = pd.DataFrame({"group": list("abcv"), "parts": [("drug",)] * 4})
    fit_contexts(stored, MeasuredEffects(controls, effects, np.full((4, 6), 1e-6)), effects, table, np.ones(4))
    asked, profiles_ = table.iloc[[3, 3]].assign(group=["v", "new"]), torch.as_tensor(controls[[3, 3]]).float()
    found, known = context_effects(stored, asked, profiles_)
    assert known.all()
    own, line = controls[3], context_line(stored)
    for row, used in ((0, [0, 1, 2]), (1, [0, 1, 2, 3])):
        halves = [
            line.predict(controls[used], effects[used], control_query=own),
            context_ridge_effect(controls[used], effects[used], control_query=own),
        ]
        np.testing.assert_allclose(found[row], np.mean(halves, axis=0), rtol=1e-4, atol=1e-5)
