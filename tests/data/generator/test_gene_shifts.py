from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.controls import control_pool
from scperturbrl.data.generator.gene_shifts import gene_shifts
from scperturbrl.data.generator.linear import recentred
from scperturbrl.data.generator.means import predicted_means
from scperturbrl.data.generator.stored import read_generator


@pytest.fixture(scope="module")
def world():
    adata = spr.datasets.simulated_contexts(
        n_genes=80, n_singles=4, n_cell_types=2, n_cells_per_condition=30, n_controls=60, n_programs=9, n_pathways=6
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["B2"], seed=0)
    spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=4, progress=False)
    return read_generator(adata, "generator"), Cells.of(adata)


def means_of(world, table):
    return predicted_means(*world, table, np.ones(len(table), dtype=bool), seed=0, device="cpu")


def shifts_of(world, table):
    return gene_shifts(*world, table, means_of(world, table), seed=0, device="cpu")


def test_means_of_genes_come_closer_to_the_transferred_effects(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")]
    means, pool = means_of(world, table), control_pool(stored, cells, table)
    batch = replace(
        stored.vocabulary.batch(table),
        shift=means.linear - means.control,
        translated=torch.ones(len(table), dtype=torch.bool),
    )
    index, rng = torch.arange(len(table)), torch.Generator().manual_seed(1)
    control, _ = pool.draw(index, 1000, rng)
    before = torch.log1p(control.counts * control.unit[:, None]).view(len(table), 1000, -1).mean(1)
    errors = []
    # halfway, then the whole way
    for times in (0, 1, 2):
        own = replace(batch, gene_shift=times * shifts_of(world, table))
        made, _ = stored.generator.sample_cells(
            control.latent, control, control.unit, own, index.repeat_interleave(1000), rng
        )
        gap = made.view(len(table), 1000, -1).mean(1) - before - means.transferred
        errors.append(float(gap.square().mean()))
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.2 * errors[0]


def test_the_shift_of_a_condition_does_not_depend_on_the_others(world):
    cells = world[1]
    table = cells.table.loc[cells.conditions("test")]
    torch.testing.assert_close(shifts_of(world, table)[2:3], shifts_of(world, table.iloc[2:3]), atol=2e-2, rtol=2e-2)


def test_only_conditions_in_new_contexts_are_shifted_by_the_weight_of_the_linear_part(world):
    stored, cells = world
    found = recentred(stored, cells, cells.table, seed=0)
    held_out = torch.as_tensor(cells.table.index.isin(cells.conditions("test")))
    assert found.gene_shift.shape == (len(cells.table), 80)
    assert (found.gene_shift[held_out].abs().sum(1) > 0).all()
    assert not found.gene_shift[~held_out].any()


def test_an_effect_that_no_context_tells_moves_no_gene(world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")]
    # as if the first perturbation had been measured in combinations only
    effects = stored.generator.linear.context_effect
    place = 1 + stored.vocabulary.tokens.index(table["parts"].iloc[0][0])
    kept = effects[:, place].clone()
    effects[:, place] = -1e30
    found = recentred(stored, cells, table, seed=0)
    effects[:, place] = kept
    assert not found.gene_shift[0].any()
    assert (found.gene_shift[1:].abs().sum(1) > 0).all()
    assert found.shift.isfinite().all()


def test_without_new_contexts_nothing_is_shifted(world):
    stored, cells = world
    names = cells.conditions("train") + cells.conditions("validation")
    assert recentred(stored, cells, cells.table.loc[names], seed=0).gene_shift is None
