from __future__ import annotations

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator import controls as room
from scperturbrl.data.generator.controls import control_cells, control_pool, draw_controls
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.latent.cells import Controls, encode_rows


@pytest.fixture(scope="module")
def fitted():
    adata = spr.datasets.simulated_contexts(n_genes=80, n_cells_per_condition=20, n_controls=60)
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", fraction=0.2, seed=0)
    spr.tl.fit_generator(adata, n_steps=20, width=16, n_latent=6, progress=False)
    return adata


@pytest.fixture
def world(fitted):
    return read_generator(fitted, "generator"), Cells.of(fitted)


def groups_of(cells, n=5):
    table = cells.table[~cells.table["is_control"]]
    return table.groupby("group", sort=False).head(1).iloc[:n]


def test_control_cells_are_read_with_their_counts_and_less_noise(world):
    stored, cells = world
    table = groups_of(cells)
    rows = draw_controls(cells, table["group"].tolist(), None, seed=0)
    found = control_cells(stored, cells, rows)(torch.arange(len(rows)))
    latent = encode_rows(cells, rows, stored.generator.space)
    torch.testing.assert_close(found.latent, latent)
    np.testing.assert_allclose(np.log1p((found.counts * found.unit[:, None]).numpy()), cells.block(rows), atol=1e-4)
    for i, row in enumerate(rows):
        own = np.flatnonzero(cells.codes == cells.codes[row])
        centre = encode_rows(cells, own, stored.generator.space).mean(0)
        expected = centre + stored.generator.denoise * (latent[i] - centre)
        torch.testing.assert_close(found.denoised[i], expected, rtol=1e-4, atol=1e-4)


def test_the_pool_has_the_control_cells_of_every_condition(world):
    stored, cells = world
    table = groups_of(cells)
    pool = control_pool(stored, cells, table)
    for i, row in enumerate(cells.rows(table.index)):
        own = Controls.of(cells).rows
        own = own[cells.codes[own] == cells.control_row(row)]
        run = slice(int(pool.start[i]), int(pool.start[i] + pool.count[i]))
        torch.testing.assert_close(pool.latent[run], encode_rows(cells, own, stored.generator.space))
        counts = pool.counts.dense(torch.arange(run.start, run.stop))
        np.testing.assert_allclose(np.log1p((counts * pool.unit[run, None]).numpy()), cells.block(own), atol=1e-4)


def test_of_many_control_cells_some_stand_for_all(world, monkeypatch):
    monkeypatch.setattr(room, "MOST", 10)
    pool = control_pool(*world, groups_of(world[1]))
    assert pool.count.tolist() == [10] * len(pool.count)
    assert len(pool.latent) == pool.count.sum()


def test_no_control_cell_is_drawn_again_before_all_were(world):
    _, cells = world
    group = groups_of(cells)["group"].iloc[0]
    rows = draw_controls(cells, [group] * 100, None, seed=1)
    values, times = np.unique(rows, return_counts=True)
    assert len(values) == 60
    assert set(times) == {1, 2}
