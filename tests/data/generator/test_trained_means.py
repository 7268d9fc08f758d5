from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator import trained_means
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.means import trained_shifts
from scperturbrl.data.generator.stored import positions, read_generator
from scperturbrl.data.generator.trained_means import set_trained_means

pytestmark = pytest.mark.usefixtures("all_cells_for_means")

N = 600


@pytest.fixture(scope="module")
def fitted():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60,
        n_singles=5,
        n_doubles=4,
        n_cells_per_condition=80,
        n_controls=150,
        n_programs=6,
        n_pathways=4,
        library_size=2000,
        effect_size=1.5,
        dispersion=6.0,
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, seed=0)
    spr.tl.fit_generator(adata, n_steps=300, width=24, n_latent=8)
    return adata


@pytest.fixture
def world(fitted):
    return read_generator(fitted, "generator"), Cells.of(fitted)


def generated(stored, cells, names):
    """Cells ``(C, N, G)`` of the conditions `names`, of other random numbers than those of the fit."""
    table, codes = cells.table.loc[names], np.repeat(np.arange(len(names)), N)
    controls = draw_controls(cells, table["group"].to_numpy()[codes].tolist(), None, seed=5)
    made = generate_cells(stored, cells, table, codes, controls, seed=5, device=torch.device("cpu"))
    return made.toarray().reshape(len(names), N, -1)


def real(cells, name):
    return cells.block(np.flatnonzero(cells.codes == cells.table.index.get_loc(name)))


def gaps(stored, cells, names, encode):
    """Squared distance of the means of generated and of real cells of each condition, as a multiple of its expected noise."""
    found = []
    for name, block in zip(names, generated(stored, cells, names), strict=True):
        made, own = encode(block), encode(real(cells, name))
        # of both means, and of the 128 cells by which the shift was found
        noise = own.var(0).sum() / len(own) + made.var(0).sum() * (1 / N + 1 / 128)
        found.append(float(np.square(made.mean(0) - own.mean(0)).sum() / noise))
    return np.array(found)


def test_means_of_trained_conditions_agree_within_their_error(world):
    stored, cells = world
    encode = lambda block: stored.generator.space.encode(torch.as_tensor(block)).numpy()
    names = cells.conditions("train", min_cells=10)
    assert gaps(stored, cells, names, encode).max() < 2.5
    with torch.no_grad():
        for weights in stored.generator.velocity.parameters():
            weights *= 1.15
    spoilt = gaps(stored, cells, names, encode)
    set_trained_means(stored, cells, seed=3)
    corrected = gaps(stored, cells, names, encode)
    assert corrected.max() < 2.5
    assert spoilt.mean() > 2 * corrected.mean()


def test_every_gene_has_the_mean_of_the_training_cells(world):
    stored, cells = world
    names = cells.conditions("train", min_cells=10)
    made, own = generated(stored, cells, names), [real(cells, name) for name in names]
    gap = made.mean((0, 1)) - np.mean([block.mean(0) for block in own], 0)
    error = np.sum([block.var(0) / len(block) for block in own], 0) / len(own) ** 2 + made.var(1).mean(0) / N / len(own)
    # all conditions start from the same control cells
    control = real(cells, "control")
    error += control.var(0) / len(control)
    assert np.mean(np.square(gap) / error) < 2
    assert np.abs(gap).max() < 0.2


def test_conditions_that_were_not_trained_on_have_no_shift(world):
    stored, cells = world
    shifts = trained_shifts(stored, cells.table)
    trained = cells.table.index.isin(cells.conditions("train", min_cells=10)) & ~cells.table["is_control"].to_numpy()
    # a gap within its noise is none
    assert (shifts[trained] != 0).any(1).sum() >= 2
    assert not shifts[~trained].any()
    assert set(cells.table["is_control"][~trained]) == {True, False}
    assert set(positions(stored)) == set(cells.table.index[trained])
    renamed = cells.table.rename(index=lambda name: name + " | cell_type=new")
    assert not trained_shifts(stored, renamed).any()


def test_held_out_cells_do_not_matter_and_nothing_else_changes(fitted):
    found = []
    for spoil in (False, True):
        adata = fitted.copy()
        if spoil:
            held_out = np.flatnonzero(adata.obs["split"] != "train")
            order = np.arange(adata.n_obs)
            order[held_out] = np.flatnonzero(adata.obs["perturbation"] == "control")[: len(held_out)]
            adata.X = adata.X[order]
        stored = read_generator(adata, "generator")
        before = {name: value.clone() for name, value in stored.generator.state_dict().items()}
        cells = Cells.of(adata)
        set_trained_means(stored, cells, seed=1)
        after = stored.generator.state_dict()
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert changed == {"linear.trained_shift"}
        found.append(after)
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name])


def test_a_shift_is_found_anew_each_time(world):
    stored, cells = world
    set_trained_means(stored, cells, seed=2)
    once = stored.generator.linear.trained_shift.clone()
    stored.generator.linear.trained_shift.fill_(7.0)
    set_trained_means(stored, cells, seed=2)
    torch.testing.assert_close(stored.generator.linear.trained_shift, once)


@pytest.mark.parametrize("n_jobs", [2, 5])
def test_workers_change_no_bit(world, n_jobs, monkeypatch):
    stored, cells = world
    # several parts to deal out
    monkeypatch.setattr(trained_means, "N_AT_ONCE", 2048)
    found = []
    before = sc.settings.n_jobs
    try:
        for sc.settings.n_jobs in (1, n_jobs):
            set_trained_means(stored, cells, seed=2)
            found.append(stored.generator.linear.trained_shift.clone())
    finally:
        sc.settings.n_jobs = before
    assert torch.equal(*found)
